"""What a person may decide at a moment. Pure.

Whether he has the role for it is asked before (`twinloop.trust`); here is what the log allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from twinloop.contracts.changes import Hold, State
from twinloop.contracts.controls import Endorsed, Governance, refusal_to_enter
from twinloop.contracts.modes import Mode
from twinloop.twin.approve import forbidden
from twinloop.twin.assets import ApprovalPolicy
from twinloop.twin.ledger import Change


def refusal_to_veto(change: Change) -> str | None:
    """Why a change cannot be vetoed."""
    if change.state in (State.PROPOSED, State.SIMULATED):
        return None
    if change.state is State.APPROVED:
        return "it is released already: only the kill switch stops it"
    return f"it is {change.state.replace('_', ' ')} already"


def refusal_to_approve(change: Change, governance: Governance, now: datetime) -> str | None:
    """Why a person cannot release a change. Roles apart, a person may do what the mode allows and no more."""
    if change.state is State.PROPOSED:
        return "it is being forecast: ask again in a moment"
    if change.state is not State.SIMULATED:
        return f"it is {change.state.replace('_', ' ')} already"
    if now >= change.proposed.expires_at:
        return "its deadline has passed"
    return forbidden(change.proposed, governance)


def endorser(
    change: Change, endorsements: Sequence[Endorsed], who: str, policy: ApprovalPolicy
) -> Endorsed | str | None:
    """Whose agreement stands beside that of `who`; `None` when his own is enough, or a text when another
    person's is missing. A hold needs one person: stopping is never made harder."""
    if not policy.four_eyes or isinstance(change.proposed.action, Hold):
        return None
    others = [one for one in endorsements if one.by != who]
    if others:
        return others[0]
    return "a second person must agree"


def promotes(governance: Governance, mode: Mode) -> bool:
    """Whether `mode` allows more than what is in force."""
    return mode.rank > governance.actual.rank


def refusal_of_mode(governance: Governance, mode: Mode, uncalibrated: str | None) -> str | None:
    """Why a mode cannot be requested. Down always; up by one step, and to AUTO only while the twin's
    forecasts come true."""
    if not promotes(governance, mode):
        if mode is governance.actual is governance.requested and governance.pending is None:
            return f"the asset is in {mode} already"
        return None
    if governance.pending is not None and governance.requested is mode:
        return f"{mode} was requested already, and waits for the controller"
    wanted = Governance(
        requested=mode, actual=governance.actual, killed=governance.killed, manual=governance.manual
    )
    if (refused := refusal_to_enter(wanted)) is not None:
        return refused
    if mode is Mode.AUTO and uncalibrated is not None:
        return f"the twin's calibration is lost: {uncalibrated}"
    return None
