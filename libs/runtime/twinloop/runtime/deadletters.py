"""Records that a service refuses, as messages for `dead-letters`."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twinloop.contracts.codec import Message, message
from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import DEAD_LETTERS


class Record(Protocol):
    """What is used of a Kafka record."""

    @property
    def offset(self) -> int:
        """In its partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """The bytes; `None` when it has no key."""
        ...

    @property
    def value(self) -> bytes | None:
        """The bytes; `None` is a tombstone."""
        ...


def dead_letter(
    record: Record, reason: Reason, detail: str, *, topic: str, partition: int, service: str, at: datetime
) -> Message:
    """`record` with its bytes, where it came from, and the reason; refused again, it has the same id."""
    where = f"{topic}/{partition}/{record.offset}"
    letter = DeadLetter(
        event_id=event_id("dead_letter", service, where),
        reason=reason,
        detail=detail,
        source=where,
        at=at,
        service=service,
        asset=(record.key or b"").decode(errors="replace"),
        payload=record.value or b"",
    )
    return message(DEAD_LETTERS, letter, source=service)
