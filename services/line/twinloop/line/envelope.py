"""Whether a release is what it claims to be: signed, of this proposal, next in order, of the present. Pure.

In this order: the signature; that the envelope says the same as the proposal and the release around it; the
sequence number; the time. Nothing else of a release is looked at before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from twinloop.contracts.changes import UNIT, Approved, Proposed, SetParameter, signing_bytes
from twinloop.trust.errors import Forged
from twinloop.trust.keys import Trusted

CLOCK_SKEW: Final = timedelta(seconds=1)
"""How far ahead of this machine's clock the releasing one may be."""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a release is none. `forged`: nobody honest would have written it, so a person must look."""

    reason: str
    forged: bool = True


def objection(
    proposed: Proposed,
    approved: Approved,
    *,
    trusted: Trusted,
    handled: int,
    out_of_order: bool,
    now: datetime,
) -> Objection | None:
    """What speaks against `approved`, or `None`.

    `handled` is the highest sequence number of the asset that was handled before. One that is not higher is
    a replay; unless it was released in its order and overtaken by a hold, which waits for nothing.
    """
    envelope = approved.envelope
    try:
        trusted.verify(signing_bytes(envelope), approved.signature, approved.key_id)
    except Forged as error:
        return Objection(str(error))
    if differing := _differing(proposed, approved):
        return Objection(f"the envelope has another {differing} than the proposal")
    if envelope.sequence <= handled:
        return Objection(f"release {envelope.sequence} comes after {handled}", forged=out_of_order)
    if envelope.issued_at > now + CLOCK_SKEW:
        return Objection(f"it was released {(envelope.issued_at - now).total_seconds():.1f} s in the future")
    if envelope.expires_at <= envelope.issued_at:
        return Objection("it is valid at no time")
    return None


def _differing(proposed: Proposed, approved: Approved) -> str:
    """The name of what the envelope has otherwise, or ""."""
    envelope, action = approved.envelope, proposed.action
    unit = UNIT[action.parameter] if isinstance(action, SetParameter) else ""
    pairs = {
        "command id": (envelope.command_id, proposed.change_id),
        "change": (approved.change_id, proposed.change_id),
        "asset": (envelope.asset, proposed.asset),
        "action": (envelope.action, action),
        "unit": (envelope.unit, unit),
        "recipe": (envelope.recipe, proposed.recipe),
        "model": (envelope.model, proposed.model),
        "model version": (envelope.model_version, proposed.model_version),
        "input": (envelope.input_digest, proposed.input_digest),
        "rollback": (envelope.rollback_of, proposed.rollback_of),
        "mode": (envelope.mode, proposed.mode),
        "approver": (envelope.approver, approved.approver),
    }
    return next((name for name, (one, other) in pairs.items() if one != other), "")
