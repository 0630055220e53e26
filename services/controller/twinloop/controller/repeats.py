"""What is refused, or would be proposed, from part to part for the same reason is written down once. Pure.

It is counted every time. It is written down again when it was not heard of for `AGAIN_PARTS` parts, and after
anything that makes it news: a proposal, and another mode.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from twinloop.contracts.changes import Action, Proposed, SetParameter
from twinloop.contracts.controls import ModeEntered, ModeShed
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import Given, Heard, Outcome, Refused, Station, Step, WouldPropose

AGAIN_PARTS: Final = 100
_KEPT: Final = 32


def marked(station: Station, outcomes: tuple[Outcome, ...], given: Given) -> Step:
    """`outcomes`, with what was written down before marked as such, and the station that remembers them."""
    if given.audit_away is not None:
        return station, outcomes  # nothing is written down, so nothing was
    heard, told = station.heard, list[Outcome]()
    now = 0 if station.newest is None else station.newest.sequence
    for one in outcomes:
        if isinstance(one, Refused | WouldPropose):
            what = _what(one, given.policy)
            known = next((was for was in heard if was.what == what), None)
            one = replace(one, again=known is not None and now - known.sequence < AGAIN_PARTS)
            heard = (*(was for was in heard if was.what != what), Heard(what=what, sequence=now))[-_KEPT:]
        elif isinstance(one, Proposed | ModeEntered | ModeShed):
            heard = ()
        told.append(one)
    return (station if heard == station.heard else replace(station, heard=heard)), tuple(told)


def _what(one: Refused | WouldPropose, policy: AssetPolicy) -> str:
    if isinstance(one, Refused):
        return f"{one.guard} {_kind(one.action)}"
    action = one.proposed.action
    if not isinstance(action, SetParameter):
        return f"would propose {_kind(action)}"
    # Another step is another proposal; the same one, estimated anew from each part, is not.
    steps = round((action.value - action.expected) / policy.limits(action.parameter).step)
    return f"would propose {_kind(action)} {action.expected:g} and {steps} steps"


def _kind(action: Action | None) -> str:
    return action.parameter if isinstance(action, SetParameter) else type(action).__name__
