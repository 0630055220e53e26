"""Refused input, made into a record of `dead-letters`. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime

from twinloop.contracts.codec import Message, message
from twinloop.contracts.deadletters import DeadLetter
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import DEAD_LETTERS
from twinloop.ingest.errors import Refused
from twinloop.ingest.normalize import SERVICE

MAX_KEPT_BYTES = 4 * 1024 * 1024
"""Of a larger payload the beginning is kept: in base64 it must fit into a Kafka record."""
MAX_DETAIL_CHARS = 2000
"""The same of what is said about it, which may quote a name of any length."""


def dead_letter(
    refused: Refused,
    *,
    source: str,
    payload: bytes,
    at: datetime,
    asset: str = "",
    which: str = "",
    once: bool = False,
) -> Message:
    """The record. `once`: the same refusal of the same source gets the same id, whenever it comes.

    `which` tells inputs apart of which the same, or nothing, is kept. It must be a keyed hash.
    """
    digest = hashlib.sha256(payload).hexdigest()
    detail = refused.detail[:MAX_DETAIL_CHARS]
    if len(payload) > MAX_KEPT_BYTES:
        detail += f" (the first {MAX_KEPT_BYTES} of {len(payload)} bytes are kept, SHA-256 {digest})"
    moment = "" if once else at.isoformat()
    letter = DeadLetter(
        event_id=event_id("dead_letter", SERVICE, refused.reason, source, digest, which, moment),
        reason=refused.reason,
        detail=detail,
        source=source,
        at=at,
        service=SERVICE,
        asset=asset,
        payload=payload[:MAX_KEPT_BYTES],
    )
    return message(DEAD_LETTERS, letter, source=SERVICE)
