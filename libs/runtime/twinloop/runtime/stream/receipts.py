"""A receipt in each transaction (`twinloop.contracts.receipts`): what loss and repetition are measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from twinloop.contracts.codec import Message, message
from twinloop.contracts.receipts import HEADER, Receipt, receipt_id
from twinloop.contracts.topics import RECEIPTS
from twinloop.runtime.clock import Clock
from twinloop.runtime.stream.ports import TopicPartition


class Receipts:
    """Writes them in the name of `service`."""

    def __init__(self, service: str, topic_prefix: str, clock: Clock) -> None:
        self._service = service
        self._prefix = topic_prefix
        self._clock = clock

    def of(
        self,
        group: str,
        partition: TopicPartition,
        first: int,
        next_: int,
        taken: int,
        messages: Sequence[Message],
    ) -> list[Message]:
        """The messages of a transaction that takes a partition from `first` to `next_`, with its receipt."""
        origin = f"{group}/{partition.topic}/{partition.partition}"
        made = Receipt(
            event_id=receipt_id(origin, first, next_),
            origin=origin,
            at=self._clock.now(),
            first=first,
            next=next_,
            taken=taken,
            outputs=dict(Counter(one.topic.named(self._prefix) for one in messages)),
        )
        mark = (HEADER, made.event_id.encode())
        marked = [replace(one, headers=(*one.headers, mark)) for one in messages]
        return [*marked, message(RECEIPTS, made, source=self._service)]
