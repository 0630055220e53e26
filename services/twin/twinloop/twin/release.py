"""A released change as a signed command."""

from __future__ import annotations

from datetime import datetime, timedelta

from twinloop.contracts.changes import UNIT, Approved, Envelope, Proposed, SetParameter, signing_bytes
from twinloop.contracts.ids import event_id
from twinloop.trust.keys import Signer


def envelope(proposed: Proposed, approver: str, sequence: int, at: datetime, valid_s: float) -> Envelope:
    """The command that `proposed` becomes when `approver` releases it at `at`, as the release number
    `sequence` of its asset. It is valid for `valid_s`, however long a decision could have waited."""
    action = proposed.action
    return Envelope(
        command_id=proposed.change_id,
        asset=proposed.asset,
        action=action,
        unit=UNIT[action.parameter] if isinstance(action, SetParameter) else "",
        recipe=proposed.recipe,
        sequence=sequence,
        issued_at=at,
        expires_at=at + timedelta(seconds=valid_s),
        model=proposed.model,
        model_version=proposed.model_version,
        input_digest=proposed.input_digest,
        mode=proposed.mode,
        approver=approver,
        rollback_of=proposed.rollback_of,
    )


def released(proposed: Proposed, command: Envelope, reason: str, cause: str, signer: Signer) -> Approved:
    """The event that releases `command`, signed."""
    return Approved(
        event_id=event_id("approved", proposed.change_id),
        asset=proposed.asset,
        at=command.issued_at,
        observed_at=proposed.observed_at,
        trace_id=proposed.trace_id,
        caused_by=cause,
        change_id=proposed.change_id,
        approver=command.approver,
        reason=reason,
        envelope=command,
        signature=signer.sign(signing_bytes(command)),
        key_id=signer.key_id,
    )
