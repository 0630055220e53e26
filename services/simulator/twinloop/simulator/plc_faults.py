"""What is wrong with the PLC itself: the adversary that the line service is tested against. Pure.

`plc.decide` obeys the faults of what it does; `fate` says what becomes of a call on its way there and back.
No fault lifts a limit: a setpoint stays in its range whatever is wrong, and moves at most one step (and the
`read_back_offset`) a command.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from twinloop.simulator.commands import Command, Heartbeat, Hold, SetParameter

_Seconds = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]


@dataclass(frozen=True)
class PlcFaults:
    """What is wrong with a PLC, from weld `start` of the campaign on, up to (not with) `until`.

    What it does with a write that it should obey:
    `refuse_writes`: answers `BadUserAccessDenied`. `ignore_writes`: answers `Good` with the value asked for,
    and nothing changes. `apply_fraction`: moves only this part of the way, and answers with the value asked
    for. `read_back_offset`, by parameter: the value that gets in force is off by this much (within the
    limits), while the answer repeats the value asked for.

    What it says of it: `echo_read_back`: the variables show the value asked for, whatever is in force; only
    the parts tell the truth. It needs one of the faults above that make a difference.

    What becomes of `SetParameter` and `Hold` on the way: `drop_commands`: never acted on, never answered.
    `drop_answers`: acted on, never answered. `act_after_s`: decided this much later, when they may have
    expired. `answer_after_s`: decided at once, answered this much later.

    Its pulse: `freeze_beat`: `Beat` stands still. `lose_heartbeats`: heartbeats are not taken notice of, nor
    answered.
    """

    start: Annotated[int, Field(ge=0)] = 0
    until: Annotated[int, Field(ge=0)] | None = None
    refuse_writes: bool = False
    ignore_writes: bool = False
    apply_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    read_back_offset: Mapping[
        Annotated[str, Field(pattern="^(laser_power_w|focus_mm|end_of_line_limit_uohm)$")],
        Annotated[float, Field(allow_inf_nan=False)],
    ] = field(default_factory=dict)
    echo_read_back: bool = False
    drop_commands: bool = False
    drop_answers: bool = False
    act_after_s: _Seconds = 0.0
    answer_after_s: _Seconds = 0.0
    freeze_beat: bool = False
    lose_heartbeats: bool = False

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        distorts = self.ignore_writes or self.apply_fraction < 1 or bool(self.read_back_offset)
        if self.echo_read_back and not distorts:
            raise ValueError(
                "echo_read_back hides nothing without ignore_writes, apply_fraction or read_back_offset"
            )

    def at(self, number: int) -> PlcFaults:
        """What is wrong at weld `number` of the campaign."""
        active = self.start <= number and (self.until is None or number < self.until)
        return self if active else HEALTHY

    def moved(self, parameter: str, actual: float, wanted: float, max_step: float) -> float:
        """Where a write from `actual` to `wanted` ends, before the limits."""
        if self.ignore_writes:
            return actual
        # Not computed for a whole way: the value asked for must get in force to the last bit.
        reached = wanted if self.apply_fraction == 1 else actual + self.apply_fraction * (wanted - actual)
        if abs(reached - actual) > max_step:  # what was shown was not what was in force
            reached = actual + math.copysign(max_step, reached - actual)
        return reached + self.read_back_offset.get(parameter, 0.0)


HEALTHY = PlcFaults()


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a call: whether and when it is acted on, and whether and when it is answered."""

    acts: bool = True
    acts_after_s: float = 0.0
    answers: bool = True
    answers_after_s: float = 0.0


def fate(faults: PlcFaults, command: Command) -> Fate:
    """What becomes of a call of this command."""
    if isinstance(command, Heartbeat):
        return Fate(acts=not faults.lose_heartbeats, answers=not faults.lose_heartbeats)
    if not isinstance(command, SetParameter | Hold):
        return Fate()
    return Fate(
        acts=not faults.drop_commands,
        acts_after_s=faults.act_after_s,
        answers=not (faults.drop_commands or faults.drop_answers),
        answers_after_s=faults.answer_after_s,
    )
