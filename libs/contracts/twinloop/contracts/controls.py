"""Who may act on an asset: modes, the kill switch and overrides. Pure.

These events are in the same log as changes (topic `changes`), because their order matters: what was stopped
before it was issued is not issued. `govern` folds them; everyone who acts folds them for himself.

    a person requests a mode -> controller enters it (one step up, bumpless) -> in force
    anything sheds it; a person's lower request, the kill switch and an override do so at once

Requested and actual mode are kept apart: shedding changes what is in force and not what was asked for, and
only a new request leads up again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from twinloop.contracts.changes import Parameter
from twinloop.contracts.errors import ContractError
from twinloop.contracts.events import Event
from twinloop.contracts.modes import Mode, lower


class ControlEvent(Event, frozen=True, kw_only=True):
    """What every event here carries. `observed_at` is when the person or the machine said so."""


class ModeRequested(ControlEvent, frozen=True, kw_only=True, tag="mode_requested"):
    """`by`, a person, asks for `mode`. Written by `twin`. A lower mode than the one in force is in force."""

    mode: Mode
    by: str
    reason: str


class ModeEntered(ControlEvent, frozen=True, kw_only=True, tag="mode_entered"):
    """`controller` lets the asset into the mode that the event `request` asks for.

    The setpoints are those in force, which the estimator was back-calculated from. `model` and
    `model_version` are those of the newest verdict, if there was one: another version does not inherit the
    mode.
    """

    mode: Mode
    request: str
    power_w: float
    focus_mm: float
    model: str = ""
    model_version: int = 0


class ModeRefused(ControlEvent, frozen=True, kw_only=True, tag="mode_refused"):
    """`controller` does not let the asset into the mode that the event `request` asks for."""

    request: str
    reason: str


class ModeShed(ControlEvent, frozen=True, kw_only=True, tag="mode_shed"):
    """The service `by` takes the asset down to `mode`."""

    mode: Mode
    by: str
    reason: str


class KillSwitchSet(ControlEvent, frozen=True, kw_only=True, tag="kill_switch_set"):
    """Nothing is commanded any more. Written by `line`, where it was in force before this was written."""

    by: str
    reason: str


class KillSwitchCleared(ControlEvent, frozen=True, kw_only=True, tag="kill_switch_cleared"):
    """The asset may be promoted again, from SHADOW."""

    by: str
    reason: str


class Overridden(ControlEvent, frozen=True, kw_only=True, tag="overridden"):
    """An operator took the asset in hand at the machine: MANUAL, until a person gives it back.

    Written by `line`, which found `value` where `expected` was.
    """

    parameter: Parameter
    value: float
    expected: float
    reason: str


class OverrideCleared(ControlEvent, frozen=True, kw_only=True, tag="override_cleared"):
    """A person gives the asset back. Written by `twin`."""

    by: str
    reason: str


class Endorsed(ControlEvent, frozen=True, kw_only=True, tag="endorsed"):
    """One person agrees with a change that needs two. Written by `twin`."""

    change_id: str
    by: str
    reason: str


AnyControl = (
    ModeRequested
    | ModeEntered
    | ModeRefused
    | ModeShed
    | KillSwitchSet
    | KillSwitchCleared
    | Overridden
    | OverrideCleared
    | Endorsed
)

CONTROL_WRITERS: Final[dict[type[ControlEvent], frozenset[str]]] = {
    ModeRequested: frozenset({"twin"}),
    ModeEntered: frozenset({"controller"}),
    ModeRefused: frozenset({"controller"}),
    ModeShed: frozenset({"controller", "twin", "line"}),
    KillSwitchSet: frozenset({"line"}),
    KillSwitchCleared: frozenset({"line"}),
    Overridden: frozenset({"line"}),
    OverrideCleared: frozenset({"twin"}),
    Endorsed: frozenset({"twin"}),
}
"""The services that may write each."""


class IllegalControl(ContractError):
    """Raised when a control event does not follow from what is in force.

    Operator action: none when it is a repeat; otherwise a promotion overtook something that forbids it.
    """


class Governance(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force at an asset.

    `pending` is the event id of a request that waits to be entered. `since` is the event id of what last
    changed `actual`; `why` says so in words.
    """

    requested: Mode = Mode.SHADOW
    actual: Mode = Mode.SHADOW
    killed: bool = False
    manual: bool = False
    pending: str | None = None
    model: str = ""
    model_version: int = 0
    since: str | None = None
    why: str = "nothing was requested yet"


def govern(state: Governance, event: AnyControl) -> Governance:
    """What is in force after `event`. Raises `IllegalControl`; then nothing has changed."""
    match event:
        case ModeRequested():
            return _requested(state, event)
        case ModeEntered():
            return _entered(state, event)
        case ModeRefused():
            if state.pending != event.request:
                raise IllegalControl(f"request {event.request} does not wait")
            return _changed(state, pending=None)
        case ModeShed():
            return _shed(state, event.mode, event.event_id, f"{event.by}: {event.reason}")
        case KillSwitchSet():
            shed = _shed(state, Mode.SHADOW, event.event_id, f"kill switch by {event.by}: {event.reason}")
            return _changed(shed, killed=True)
        case KillSwitchCleared():
            return _changed(state, killed=False)
        case Overridden():
            shed = _shed(state, Mode.SHADOW, event.event_id, f"override: {event.reason}")
            return _changed(shed, manual=True)
        case OverrideCleared():
            return _changed(state, manual=False)
        case Endorsed():
            return state


def _requested(state: Governance, event: ModeRequested) -> Governance:
    why = f"{event.by}: {event.reason}"
    if event.mode.rank <= state.actual.rank:
        return msgspec.structs.replace(
            _shed(state, event.mode, event.event_id, why), requested=event.mode, pending=None
        )
    return _changed(state, requested=event.mode, pending=event.event_id)


def _entered(state: Governance, event: ModeEntered) -> Governance:
    if state.pending != event.request:
        raise IllegalControl(f"request {event.request} does not wait")
    if (reason := refusal_to_enter(state)) is not None:
        raise IllegalControl(reason)
    if event.mode is not state.requested:
        raise IllegalControl(f"{event.mode} was not requested")
    return _changed(
        state,
        actual=event.mode,
        pending=None,
        model=event.model,
        model_version=event.model_version,
        since=event.event_id,
        why=f"entered {event.mode}, as requested",
    )


def refusal_to_enter(state: Governance) -> str | None:
    """Why the requested mode cannot be entered, or `None`."""
    if state.killed:
        return "the kill switch is set: clear it first"
    if state.manual:
        return "an operator has the asset in hand: give it back first"
    if state.requested.rank != state.actual.rank + 1:
        return f"from {state.actual} to {state.requested} is more than one step"
    return None


def _shed(state: Governance, mode: Mode, event_id: str, why: str) -> Governance:
    """Down to `mode`; a request that waits is void. Not above `mode`: only the request is void."""
    if state.actual.rank <= mode.rank:
        return _changed(state, pending=None)
    return _changed(state, actual=lower(state.actual, mode), pending=None, since=event_id, why=why)


def _changed(state: Governance, **what: object) -> Governance:
    changed: Governance = msgspec.structs.replace(state, **what)
    return changed
