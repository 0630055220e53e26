"""What the controller remembers of a station: one value of the table `stations`, JSON, by asset.

All of it is a fold over `anomalies`, `genealogy` and `changes`; nothing in it is known from elsewhere.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from twinloop.contracts.changes import Action, Diagnosis, Parameter, State
from twinloop.contracts.events import Event, JointWelded
from twinloop.controller.policy import PARTS_KEPT

FINDINGS_KEPT = 32
WAITING_KEPT = 8
CLOSED_KEPT = 8


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part that was made, with the setpoints in force."""

    sequence: int
    made_at: datetime
    resistance_uohm: float
    power_w: float
    focus_mm: float

    def setpoint(self, parameter: Parameter) -> float:
        """Of `parameter`, in its unit."""
        return self.power_w if parameter is Parameter.LASER_POWER_W else self.focus_mm

    @classmethod
    def of(cls, joint: JointWelded) -> Part:
        """What is remembered of `joint`."""
        return cls(joint.sequence, joint.observed_at, joint.resistance_uohm, joint.power_w, joint.focus_mm)


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """What an anomalous part was diagnosed with. `reflection` is a part of the healthy one."""

    sequence: int
    observed_at: datetime
    event_id: str
    diagnosis: Diagnosis
    depth_mm: float
    reflection: float


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """What a proposal takes over from the anomaly that leads to it."""

    event_id: str
    sequence: int
    row: int
    observed_at: datetime
    trace_id: str
    model: str
    model_version: int
    input_digest: str


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """A change on its way, from `proposed` until nothing follows.

    `before_uohm` is the mean of the `before_parts` parts before it was proposed. `actual`, `applied_at` and
    `part_counter` are the line's read-back, told by the event `told_by`.
    """

    change_id: str
    state: State
    action: Action
    observed_at: datetime
    trace_id: str
    expires_at: datetime
    before_uohm: float
    before_parts: int
    actual: float | str | None = None
    applied_at: datetime | None = None
    part_counter: int = 0
    told_by: str = ""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """When a change was last applied, or ended without that: here the cooldown begins."""

    at: datetime
    part_counter: int
    hold: bool


class Station(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one asset. Tuples are oldest first.

    `waiting` are findings whose part is not known from the genealogy yet; `trigger` is the last anomaly that
    was folded. `intercept_mm` is the a of the
    run-to-run controller, last fed by part `fed_sequence`. `given_up` is the last change that nobody
    finished in time; `closed` are the last ones that ended. `saturated` names parameters at whose
    operator limit an alarm was raised.
    """

    asset: str
    parts: tuple[Part, ...] = ()
    recipe: str = ""
    findings: tuple[Finding, ...] = ()
    waiting: tuple[Finding, ...] = ()
    trigger: Trigger | None = None
    intercept_mm: float | None = None
    fed_sequence: int = 0
    in_flight: InFlight | None = None
    given_up: InFlight | None = None
    closed: tuple[str, ...] = ()
    settled: Settled | None = None
    saturated: tuple[Parameter, ...] = ()

    @property
    def newest(self) -> Part | None:
        """The last part made, as far as the genealogy tells."""
        return self.parts[-1] if self.parts else None

    def part(self, sequence: int) -> Part | None:
        """The part with this number, if it is still remembered."""
        return next((part for part in reversed(self.parts) if part.sequence == sequence), None)


class Refused(msgspec.Struct, frozen=True):
    """A guard refused what would have been proposed."""

    guard: str
    reason: str


class Diagnosed(msgspec.Struct, frozen=True):
    """An anomalous part was diagnosed."""

    diagnosis: Diagnosis


class Ignored(msgspec.Struct, frozen=True):
    """The event changed nothing. `why` is `repeated`, `late`, `foreign` or `illegal`."""

    why: str


class GaveUp(msgspec.Struct, frozen=True):
    """Nobody finished the change in time."""

    change_id: str
    state: State


Outcome = Event | Refused | Diagnosed | Ignored | GaveUp
"""What a decision leads to: events are published, the rest is counted."""


def kept(parts: tuple[Part, ...], part: Part) -> tuple[Part, ...]:
    """`parts` and the new one, the oldest dropped."""
    return (*parts, part)[-PARTS_KEPT:]
