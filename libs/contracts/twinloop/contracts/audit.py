"""An entry of an audit store, and what chains it to the one before. Pure.

Each entry carries the SHA-256 of itself together with that of its predecessor, so that an entry that was
changed, removed, inserted or moved is found (`twinloop.audit`).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from twinloop.contracts.times import Instant

FIRST: Final = "0" * 64
"""What stands for the predecessor of a chain's first entry."""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, tag="audit_entry"):
    """Who did what to which asset, when and why, and what came of it.

    `chain` names the store that the entry belongs to, `number` counts from 1 within it. `who` is a person or
    a service, `what` a verb in the past tense (`approved`, `issued`, `refused`). `old` and `new` are values
    in words, with units. `previous` and `digest` are SHA-256, hexadecimal.
    """

    event_id: str
    chain: str
    number: int
    at: Instant
    asset: str
    who: str
    what: str
    old: str = ""
    new: str = ""
    reason: str = ""
    result: str = ""
    change_id: str | None = None
    previous: str = FIRST
    digest: str = ""


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def digest_of(entry: AuditEntry) -> str:
    """The SHA-256 of all of `entry` but its own `digest`; `previous` is part of it."""
    return hashlib.sha256(_ENCODER.encode(msgspec.structs.replace(entry, digest=""))).hexdigest()
