"""What the PLC of a station knows, and what time does to it. Pure.

Control is `Local` or `Remote`. `Remote` has to be taken, and lasts while heartbeats come: when none came for
`watchdog_s` the PLC takes its local setpoints, which are known to be safe, and goes on alone. It never goes
back to `Remote` by itself.

Time is the PLC's own uptime, in seconds, which never goes back: a wall clock that is set would stretch or
trip the watchdog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from twinloop.simulator.commands import Outcome
from twinloop.simulator.plc_faults import HEALTHY, PlcFaults

BEATS_PER_S = 10
"""How fast `Beat` grows."""
WATCHDOG_S = 1.5
"""How long `Remote` lasts without a heartbeat, where the plant's file does not say."""


class Mode(StrEnum):
    """The PackML states that this PLC knows."""

    EXECUTE = "Execute"
    HELD = "Held"


class ControlSource(StrEnum):
    """Who may change a setpoint."""

    LOCAL = "Local"
    REMOTE = "Remote"


class LocalReason(StrEnum):
    """Why control is `Local`."""

    NONE = ""
    STARTUP = "startup"
    WATCHDOG = "watchdog"
    OPERATOR = "operator"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Range:
    """The PLC's own limits of one setpoint, inclusive, and the most that one command may change it."""

    nominal: float
    low: float
    high: float
    max_step: float


def _nothing() -> Mapping[str, Outcome]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PlcState:
    """All that the PLC knows.

    `setpoints` are in force; `claimed` are those that the variables lie about. `local_setpoints` get in force
    when the watchdog falls. `results` and `controls` hold the newest answers by command id, oldest first, of
    changes and of who takes and gives control. `heard_s`: the uptime when control was last taken or a
    heartbeat came; `counter` the last heartbeat's.
    """

    ranges: Mapping[str, Range]
    setpoints: Mapping[str, float]
    local_setpoints: Mapping[str, float]
    recipe: str
    watchdog_s: float = WATCHDOG_S
    claimed: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = Mode.EXECUTE
    control: ControlSource = ControlSource.LOCAL
    local_reason: LocalReason = LocalReason.STARTUP
    maintenance_lock: bool = False
    high_alarm: bool = False
    uptime_s: float = 0.0
    beat: int = 0
    heard_s: float = 0.0
    counter: int | None = None
    last_sequence: int = 0
    last_command_id: str = ""
    results: Mapping[str, Outcome] = field(default_factory=_nothing)
    controls: Mapping[str, Outcome] = field(default_factory=_nothing)
    faults: PlcFaults = HEALTHY

    @property
    def shown(self) -> Mapping[str, float]:
        """The setpoints as the variables show them."""
        return {**self.setpoints, **self.claimed}

    @property
    def permissive(self) -> bool:
        """True while a remote command may change a setpoint at all."""
        return (
            self.control is ControlSource.REMOTE
            and self.mode is Mode.EXECUTE
            and not self.maintenance_lock
            and not self.high_alarm
        )


def tick(state: PlcState, uptime_s: float) -> PlcState:
    """The state at `uptime_s`: the beat goes on, and the watchdog falls when it is time."""
    uptime_s = max(uptime_s, state.uptime_s)
    beat = state.beat if state.faults.freeze_beat else max(state.beat, int(uptime_s * BEATS_PER_S))
    state = replace(state, uptime_s=uptime_s, beat=beat)
    if state.control is ControlSource.REMOTE and uptime_s - state.heard_s >= state.watchdog_s:
        state = to_local(state, LocalReason.WATCHDOG)
        state = replace(state, setpoints=dict(state.local_setpoints), claimed={})
    return state


def to_local(state: PlcState, reason: LocalReason) -> PlcState:
    """The same with `Local` control."""
    return replace(state, control=ControlSource.LOCAL, local_reason=reason)
