"""The line's part: the envelope, the guards, the command, and what the device holds then.

As `line` carries a change (`carry.py` there), without its waiting: the device answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from bench_loop.cell import Cell
from bench_loop.released import signer
from bench_loop.rules import ASSET, CONFIG, FOCUS, LIMIT, POWER
from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Envelope,
    Expired,
    Failed,
    Hold,
    Issued,
    SetParameter,
    State,
)
from twinloop.contracts.controls import AnyControl
from twinloop.contracts.ids import event_id
from twinloop.line.case import Case
from twinloop.line.envelope import objection
from twinloop.line.guard import refusal
from twinloop.line.ledger import Change, Ledger
from twinloop.line.limits import LineLimits, StationLimits
from twinloop.line.plc import Device
from twinloop.runtime.settings import load_toml
from twinloop.simulator import plc as device_rules
from twinloop.trust.keys import Trusted

_ROUNDING = 1e-9

Tell = Callable[[AnyChange | AnyControl], None]


@cache
def limits() -> StationLimits:
    """As the demo's line has them."""
    return load_toml(CONFIG / "line.toml", LineLimits).assets[ASSET]


@cache
def trusted() -> Trusted:
    """The twin's key."""
    return Trusted([signer().public])


class Line:
    """Of one cell. `tell` publishes, and lets everybody fold."""

    def __init__(self, cell: Cell, tell: Tell) -> None:
        self._cell = cell
        self._tell = tell
        self._ledger = Ledger()

    def fold(self, event: AnyChange | AnyControl) -> None:
        """An event of `changes`."""
        self._ledger.fold(event)

    def carry(self, change_id: str) -> None:
        """Bring a released change to its end."""
        change = self._ledger.change(change_id)
        if change is None or change.state is not State.APPROVED or change.approved is None:
            return
        envelope, now = change.approved.envelope, self._cell.now
        if now >= envelope.expires_at:
            self._tell(Expired(**_of(change, "expired", now), reason="released, but too late"))
            return
        case = Case(
            envelope,
            self._device(),
            self._ledger.standing(ASSET),
            limits(),
            now,
            objection=objection(
                change.proposed,
                change.approved,
                trusted=trusted(),
                handled=self._ledger.standing(ASSET).sequence,
                out_of_order=change.out_of_order,
                now=now,
            ),
            stopped=change.stopped,
        )
        if (refused := refusal(case)) is not None:
            self._failed(change, refused.guard, refused.reason)
            return
        self._command(change, envelope, now)

    def _command(self, change: Change, envelope: Envelope, now: datetime) -> None:
        sequence, made = self._cell.plc.last_sequence + 1, self._cell.counter
        self._tell(Issued(**_of(change, "issued", now), command_sequence=sequence, part_counter=made))
        outcome = self._cell.command(_called(envelope, sequence, now))
        if outcome.code is not device_rules.Code.GOOD:
            self._failed(change, "plc", f"the device said {outcome.code}")
            return
        device, action = self._device(), envelope.action
        tolerance = 0.0
        value: float | str = device.mode
        if isinstance(action, SetParameter):
            tolerance, value = limits().of(action.parameter).tolerance, device.value(action.parameter)
        if device.holds(action, tolerance + _ROUNDING):
            self._tell(Applied(**_of(change, "applied", now), actual=value, part_counter=made))
        else:
            self._failed(change, "read_back", f"the device holds {value}")

    def _failed(self, change: Change, guard: str, reason: str) -> None:
        self._tell(Failed(**_of(change, "failed", self._cell.now), guard=guard, reason=reason))

    def _device(self) -> Device:
        plc = self._cell.plc
        return Device(
            power_w=plc.shown[POWER],
            focus_mm=plc.shown[FOCUS],
            limit_uohm=plc.shown[LIMIT],
            part_counter=self._cell.counter,
            mode=str(plc.mode),
            recipe=plc.recipe,
            last_sequence=plc.last_sequence,
            last_command_id=plc.last_command_id,
            control_source=str(plc.control),
            local_reason=str(plc.local_reason),
            beat=plc.beat,
            maintenance_lock=plc.maintenance_lock,
            high_alarm=plc.high_alarm,
        )


def _called(
    envelope: Envelope, sequence: int, now: datetime
) -> device_rules.SetParameter | device_rules.Hold:
    """The call of the PLC's method."""
    name, action, until = envelope.command_id, envelope.action, envelope.expires_at
    if isinstance(action, Hold):
        return device_rules.Hold(name, action.reason, sequence, now, until)
    return device_rules.SetParameter(
        name, action.parameter, action.value, action.expected, sequence, envelope.recipe, now, until
    )


def _of(change: Change, state: str, now: datetime) -> dict[str, Any]:
    """What the events of a change say alike."""
    proposed = change.proposed
    return {
        "event_id": event_id(state, proposed.change_id),
        "asset": ASSET,
        "at": now,
        "observed_at": proposed.observed_at,
        "trace_id": proposed.trace_id,
        "change_id": proposed.change_id,
    }
