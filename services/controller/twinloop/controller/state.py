"""What the controller remembers of a station: one value of the table `stations`, JSON, by asset.

All of it is a fold over `anomalies`, `genealogy`, `changes` and `field-evidence`; nothing in it is known from
elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from twinloop.contracts.changes import Action, Diagnosis, Parameter, Proposed, State
from twinloop.contracts.controls import Governance
from twinloop.contracts.events import Event, JointWelded
from twinloop.contracts.field import FieldFinding
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.rules import PARTS_KEPT

FINDINGS_KEPT = 32
WAITING_KEPT = 8
CLOSED_KEPT = 8
CONTROLS_KEPT = 32
BAD_KEPT = 32
TRAVELS_KEPT = 48
FIELD_KEPT = 64


@dataclass(frozen=True, slots=True)
class Given:
    """What a decision is given beside the state and the event. `audit_away`: why nothing can be audited."""

    policy: AssetPolicy
    now: datetime
    audit_away: str | None = None


class Cause(msgspec.Struct, frozen=True):
    """What our own event follows from."""

    event_id: str
    observed_at: datetime
    trace_id: str

    @classmethod
    def of(cls, event: Event) -> Cause:
        """`event` is the cause."""
        return cls(event.event_id, event.observed_at, event.trace_id)


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part that was made, with the setpoints in force. What is not `trusted` is not measured by. What is
    `rejected` did not pass the quality gate, `limit_uohm`."""

    sequence: int
    made_at: datetime
    resistance_uohm: float
    power_w: float
    focus_mm: float
    trusted: bool = True
    limit_uohm: float = 55.0
    rejected: bool = False

    def scrap(self, limit_uohm: float) -> bool:
        """Whether it is: by the gate that was in force, or by `limit_uohm`."""
        return self.rejected or self.resistance_uohm > min(limit_uohm, self.limit_uohm)

    def setpoint(self, parameter: Parameter) -> float:
        """Of `parameter`, in its unit."""
        return {
            Parameter.LASER_POWER_W: self.power_w,
            Parameter.FOCUS_MM: self.focus_mm,
            Parameter.END_OF_LINE_LIMIT_UOHM: self.limit_uohm,
        }[parameter]

    @classmethod
    def of(cls, joint: JointWelded, *, trusted: bool = True) -> Part:
        """What is remembered of `joint`."""
        return cls(
            joint.sequence,
            joint.observed_at,
            joint.resistance_uohm,
            joint.power_w,
            joint.focus_mm,
            trusted,
            joint.limit_uohm,
            joint.rejected,
        )


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """What an anomalous part was diagnosed with. `reflection` is a part of the healthy one; by the deviations
    the sensors are heard together, once the part's setpoints are known."""

    sequence: int
    observed_at: datetime
    event_id: str
    diagnosis: Diagnosis
    depth_mm: float
    reflection: float
    depth: float = 0.0
    temperature: float = 0.0
    plasma: float = 0.0
    sound: bool = False


class Depth(msgspec.Struct, frozen=True, array_like=True):
    """What an anomalous part's depth was read as."""

    sequence: int
    depth_mm: float


class Bad(msgspec.Struct, frozen=True, array_like=True):
    """A part whose input was bad, or that was made and never told of."""

    sequence: int
    reason: str


class Travel(msgspec.Struct, frozen=True, array_like=True):
    """A setpoint was moved by `distance`, in the parameter's unit, never negative."""

    at: datetime
    parameter: Parameter
    distance: float


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

    `before_uohm` is the mean of the `before_parts` parts before it was applied, from part `since` on, which
    first spoke for it: parts before that were made under other conditions. `actual`, `applied_at` and
    `part_counter` are the line's read-back, told by the event `told_by`. `hold_told`: a person was called
    because this change was in the way of a hold.
    """

    change_id: str
    state: State
    action: Action
    observed_at: datetime
    trace_id: str
    expires_at: datetime
    before_uohm: float
    before_parts: int
    since: int = 0
    diagnosis: Diagnosis
    recipe: str
    model: str
    model_version: int
    input_digest: str
    rollback_of: str | None = None
    hold_told: bool = False
    actual: float | str | None = None
    applied_at: datetime | None = None
    part_counter: int = 0
    told_by: str = ""


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """When a change was last applied, or ended without that: here the cooldown begins."""

    at: datetime
    part_counter: int
    hold: bool


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A finding of the slow loop whose tighter quality gate no person was asked about yet.

    `refused` is the guard that objected last, `shadowed` whether it was told what would be proposed. After
    `until` nobody is asked any more.
    """

    finding: FieldFinding
    until: datetime
    refused: str = ""
    shadowed: bool = False


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """Something refused, or that would be proposed, was last said after part `sequence` (`repeats.py`)."""

    what: str
    sequence: int


class Station(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one asset. Tuples are oldest first.

    `waiting` are findings whose part is not known from the genealogy yet; `trigger` is the last anomaly that
    was folded. Input is judged by `depths` and `bad`. `intercept_mm` and `trend_mm` are the a and D of the
    run-to-run controller, last fed by part `fed_sequence`.

    `governance` is a fold over the control events, of which `controls` are the last ones' ids. `entered` is
    the last entry into a mode, `voice` the model and version that the mode belongs to. `shedding` is a shed
    that we told of and have not read back.

    `given_up` is the last change that nobody finished in time; `closed` are the last ones that ended.
    `travels` are the moves applied. `saturated` names parameters at whose limit an alarm was raised, `called`
    what a person was called about because nothing is done about it. `failures` changes failed in a row;
    `applied_after` is the last part made before a change was last applied, `scrap_told` the part at which
    scrap was last reason to stop. `heard` is what was refused, or would have been proposed, of late.

    `field_told` are the last findings of the slow loop that a person was called about, `field_asking` those
    that wait to be proposed. `field_change` is the change that follows from one. It is not `in_flight`: it
    waits for a person for days, and neither a setpoint of the process nor a stop waits for it.
    """

    asset: str
    parts: tuple[Part, ...] = ()
    recipe: str = ""
    findings: tuple[Finding, ...] = ()
    waiting: tuple[Finding, ...] = ()
    trigger: Trigger | None = None
    depths: tuple[Depth, ...] = ()
    bad: tuple[Bad, ...] = ()
    intercept_mm: float | None = None
    trend_mm: float = 0.0
    fed_sequence: int = 0
    governance: Governance = Governance()
    controls: tuple[str, ...] = ()
    entered: str | None = None
    voice: tuple[str, int] | None = None
    shedding: str | None = None
    in_flight: InFlight | None = None
    given_up: InFlight | None = None
    closed: tuple[str, ...] = ()
    settled: Settled | None = None
    travels: tuple[Travel, ...] = ()
    saturated: tuple[Parameter, ...] = ()
    called: tuple[Diagnosis, ...] = ()
    failures: int = 0
    applied_after: int | None = None
    scrap_told: int | None = None
    heard: tuple[Heard, ...] = ()
    field_told: tuple[str, ...] = ()
    field_asking: tuple[Asking, ...] = ()
    field_change: InFlight | None = None

    @property
    def newest(self) -> Part | None:
        """The last part made, as far as the genealogy tells."""
        return self.parts[-1] if self.parts else None

    def part(self, sequence: int) -> Part | None:
        """The part with this number, if it is still remembered."""
        return next((part for part in reversed(self.parts) if part.sequence == sequence), None)


class Refused(msgspec.Struct, frozen=True):
    """A guard refused what would have been proposed: for one reason, the first. `action` is what it was, and
    `again` whether the same was written down before."""

    guard: str
    reason: str
    action: Action | None = None
    again: bool = False


class WouldPropose(msgspec.Struct, frozen=True):
    """In SHADOW: what would be proposed in a mode that acts. `again`: the same was written down before."""

    proposed: Proposed
    again: bool = False


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


class BadInput(msgspec.Struct, frozen=True):
    """A part's input is bad; `what` is `quality`, `age`, `range`, `jump`, `frozen` or `missing`."""

    what: str
    sequence: int
    reason: str


class Found(msgspec.Struct, frozen=True):
    """The slow loop has found something about this station."""

    finding: FieldFinding


Outcome = Event | Refused | WouldPropose | Diagnosed | Ignored | GaveUp | BadInput | Found
"""What a decision leads to: events are published, the rest is counted."""

Step = tuple["Station", tuple[Outcome, ...]]
"""The station after an event, and what follows from it."""


def kept(parts: tuple[Part, ...], part: Part) -> tuple[Part, ...]:
    """`parts` and the new one, the oldest dropped."""
    return (*parts, part)[-PARTS_KEPT:]
