"""What a stream engine says of each of its transactions, in the transaction: what it took, and what it gave.

From these a reader that shares no state with the engine tells whether each record was taken exactly once, and
whether what was said of it is there, exactly once.
"""

from __future__ import annotations

import msgspec

from twinloop.contracts.ids import event_id
from twinloop.contracts.times import Instant

HEADER = "ce_receipt"
"""Of each record of the transaction: the `event_id` of its receipt."""


class Receipt(msgspec.Struct, frozen=True, kw_only=True, tag="receipt"):
    """One transaction. `origin` is the group and the input partition, `group/topic/partition`.

    It took `taken` records, from the offset `first`, where the transaction before had ended, to that before
    `next`. `outputs`: how many records it wrote to each topic, by its name on the cluster.
    """

    event_id: str
    origin: str
    at: Instant
    first: int
    next: int
    taken: int
    outputs: dict[str, int]


def receipt_id(origin: str, first: int, next_: int) -> str:
    """Of what was taken: whoever takes the same has the same."""
    return event_id("receipt", origin, first, next_)
