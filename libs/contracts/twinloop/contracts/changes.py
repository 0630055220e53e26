"""The life cycle of a change: a pure state machine over the events on `changes`.

    proposed -> simulated -> approved -> issued -> applied -> verified
                    |            |          |          |-> inconclusive | rolled_back
                    |-> rejected |          |-> failed
                    (expired from every state before issued; failed from approved and issued)

One service writes each transition, so no two can race for the same one. `Approved` and `Simulated` carry
what the next writer needs: the signed envelope is the command, and `line` decides on it by its own
configuration. Modes, the kill switch and overrides are in the same log: `twinloop.contracts.controls`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from twinloop.contracts.errors import ContractError
from twinloop.contracts.events import Event
from twinloop.contracts.modes import Mode
from twinloop.contracts.times import Instant


class State(StrEnum):
    """Where a change stands."""

    PROPOSED = "proposed"
    SIMULATED = "simulated"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    ISSUED = "issued"
    APPLIED = "applied"
    FAILED = "failed"
    VERIFIED = "verified"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"

    @property
    def final(self) -> bool:
        """Nothing follows."""
        return not _NEXT[self]


class IllegalTransition(ContractError):
    """Raised when an event does not follow from a change's state.

    Operator action: none when it is a repeat; otherwise a service other than the state's writer wrote it.
    """


_NEXT: Final[dict[State, frozenset[State]]] = {
    State.PROPOSED: frozenset({State.SIMULATED, State.REJECTED, State.EXPIRED}),
    State.SIMULATED: frozenset({State.APPROVED, State.REJECTED, State.EXPIRED}),
    State.APPROVED: frozenset({State.ISSUED, State.FAILED, State.EXPIRED}),
    State.ISSUED: frozenset({State.APPLIED, State.FAILED}),
    State.APPLIED: frozenset({State.VERIFIED, State.ROLLED_BACK, State.INCONCLUSIVE}),
    State.REJECTED: frozenset(),
    State.EXPIRED: frozenset(),
    State.FAILED: frozenset(),
    State.VERIFIED: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.INCONCLUSIVE: frozenset(),
}

WRITER: Final[dict[State, str]] = {
    State.PROPOSED: "controller",
    State.SIMULATED: "twin",
    State.APPROVED: "twin",
    State.REJECTED: "twin",
    State.ISSUED: "line",
    State.APPLIED: "line",
    State.FAILED: "line",
    State.EXPIRED: "line",
    State.VERIFIED: "controller",
    State.ROLLED_BACK: "controller",
    State.INCONCLUSIVE: "controller",
}
"""The one service that may write each state."""


class Parameter(StrEnum):
    """Setpoints that a change may touch, with their unit in the name."""

    LASER_POWER_W = "laser_power_w"
    FOCUS_MM = "focus_mm"
    END_OF_LINE_LIMIT_UOHM = "end_of_line_limit_uohm"
    """The station's quality gate: a joint that measures more at end of line is scrap."""


UNIT: Final[dict[Parameter, str]] = {
    Parameter.LASER_POWER_W: "W",
    Parameter.FOCUS_MM: "mm",
    Parameter.END_OF_LINE_LIMIT_UOHM: "µΩ",
}
"""The unit of each setpoint."""


class SetParameter(msgspec.Struct, frozen=True, kw_only=True, tag="set_parameter"):
    """Set `parameter` to `value`, provided the device still holds `expected` (compare-and-set)."""

    parameter: Parameter
    value: float
    expected: float


class Hold(msgspec.Struct, frozen=True, kw_only=True, tag="hold"):
    """Stop the station between parts and call a person."""

    reason: str


Action = SetParameter | Hold


class Diagnosis(StrEnum):
    """What is wrong with the process, as far as the signals tell."""

    DIRTY_WINDOW = "dirty_window"
    DEFOCUS = "defocus"
    GAP = "gap"
    MARGINAL_JOINTS = "marginal_joints"
    """Joints passed the end of the line and turned out weak in vehicles."""
    UNKNOWN = "unknown"


class ChangeEvent(Event, frozen=True, kw_only=True):
    """What every state of a change carries. `sequence` of the part that started it is in `evidence`."""

    change_id: str


class Proposed(ChangeEvent, frozen=True, kw_only=True, tag="proposed"):
    """`controller` proposes `action`, under the `mode` in force. Who decides must do so before `expires_at`.

    `evidence`: event ids of the anomalies that speak for it. `rollback_of`: the change whose setpoint this
    one takes back, if it does.
    """

    action: Action
    diagnosis: Diagnosis
    recipe: str
    reason: str
    evidence: tuple[str, ...]
    expires_at: Instant
    model: str
    model_version: int
    input_digest: str
    mode: Mode = Mode.AUTO
    rollback_of: str | None = None


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Joint resistance in micro-ohm over the next parts: expected value and a 95 % interval of single parts.

    `scrap`: probability that a joint exceeds the limit of its asset.
    """

    expected_uohm: float
    low_uohm: float
    high_uohm: float
    scrap: float = 0.0


class Simulated(ChangeEvent, frozen=True, kw_only=True, tag="simulated"):
    """`twin` has forecast what happens without and with the change. A hold has no forecast."""

    do_nothing: Forecast | None
    do_this: Forecast | None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A command, as it was released: all that `line` and the device may act on.

    `command_id` is the change's id. `unit` is that of a setpoint, "" for a hold. `sequence` counts the
    releases of the asset: a later one has a higher number. It is valid from `issued_at` until `expires_at`.
    """

    command_id: str
    asset: str
    action: Action
    unit: str
    recipe: str
    sequence: int
    issued_at: Instant
    expires_at: Instant
    model: str
    model_version: int
    input_digest: str
    mode: Mode
    approver: str
    rollback_of: str | None = None


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def signing_bytes(envelope: Envelope) -> bytes:
    """What is signed: the same bytes for equal envelopes, also after a journey through a topic."""
    return b"twinloop.envelope.v1\n" + _ENCODER.encode(envelope)


class Approved(ChangeEvent, frozen=True, kw_only=True, tag="approved"):
    """Released for the line. `approver` is a policy's name (`policy:...`) or a person.

    `signature` is the Ed25519 signature (RFC 8032, base64) over `signing_bytes(envelope)` by the key
    `key_id`.
    """

    approver: str
    reason: str
    envelope: Envelope
    signature: str
    key_id: str


class Rejected(ChangeEvent, frozen=True, kw_only=True, tag="rejected"):
    """Not to be done."""

    approver: str
    reason: str


class Issued(ChangeEvent, frozen=True, kw_only=True, tag="issued"):
    """`line` is about to call the device; written before the call, so an unknown outcome is never resent.

    `part_counter`: parts made by then."""

    command_sequence: int
    part_counter: int = 0


class Applied(ChangeEvent, frozen=True, kw_only=True, tag="applied"):
    """The device was read back and holds the commanded value (or state `Held`).

    `part_counter`: parts made when it was read; the change is in force on later parts.
    """

    actual: float | str
    part_counter: int


class Failed(ChangeEvent, frozen=True, kw_only=True, tag="failed"):
    """Refused by a guard or by the device, or read back otherwise. `guard` names who refused."""

    guard: str
    reason: str


class Expired(ChangeEvent, frozen=True, kw_only=True, tag="expired"):
    """Too old to be issued."""

    reason: str


class Verified(ChangeEvent, frozen=True, kw_only=True, tag="verified"):
    """Measured on `parts` parts made after it was applied: no worse than before, and within limits."""

    parts: int
    before_uohm: float
    after_uohm: float


class RolledBack(ChangeEvent, frozen=True, kw_only=True, tag="rolled_back"):
    """It made things worse; `restored_by` is the change that restores the last known good value."""

    restored_by: str
    reason: str


class Inconclusive(ChangeEvent, frozen=True, kw_only=True, tag="inconclusive"):
    """The parts after it do not show what it did."""

    reason: str


AnyChange = (
    Proposed
    | Simulated
    | Approved
    | Rejected
    | Issued
    | Applied
    | Failed
    | Expired
    | Verified
    | RolledBack
    | Inconclusive
)


def state_of(event: AnyChange) -> State:
    """The state that `event` brings a change into."""
    return State(str(event.__struct_config__.tag))


def advance(state: State | None, event: AnyChange) -> State:
    """The state after `event`; `None` is a change not yet proposed.

    Raises `IllegalTransition` when the event does not follow. A repeat of the present state is illegal
    too: readers drop repeats by `event_id` before they come here.
    """
    following = state_of(event)
    allowed = frozenset({State.PROPOSED}) if state is None else _NEXT[state]
    if following not in allowed:
        raise IllegalTransition(f"change {event.change_id}: {following} does not follow {state}")
    return following


def history(events: Iterable[AnyChange]) -> dict[str, list[AnyChange]]:
    """Events by change id, in the order given, repeats (same `event_id`) dropped."""
    changes: dict[str, list[AnyChange]] = {}
    seen: set[str] = set()
    for event in events:
        if event.event_id not in seen:
            seen.add(event.event_id)
            changes.setdefault(event.change_id, []).append(event)
    return changes
