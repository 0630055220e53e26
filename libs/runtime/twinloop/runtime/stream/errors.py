"""What goes wrong in the stream engine, named by meaning."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinloop.runtime.stream.ports import TopicPartition


class StreamError(Exception):
    """Root of what the ports raise."""


class Fenced(StreamError):
    """Raised when another owner of the transactional id has taken over: nothing of ours is committed any
    more.

    Operator action: none; the group tells soon whose partition it is.
    """


class TransactionFailed(StreamError):
    """Raised when a step of a transaction fails or outlasts its deadline; it may yet be committed or aborted.

    Operator action: the text says what Kafka lacks. The partition is opened anew until it works.
    """


class PositionAhead(StreamError):
    """Raised when the group's position is beyond the end of its partition: to begin anew would do again what
    was done, and to wait there would leave out what comes.

    Operator action: none while Kafka recovers and does not tell the whole partition yet. If it stays, Kafka
    has lost records that were worked off: stop the service, and say with `kafka-consumer-groups.sh
    --reset-offsets` where it shall go on.
    """


class Redo(Exception):
    """Raised by `Processor.finish` when the work of some partitions no longer fits: they are opened anew, and
    their records are taken again from the committed positions.

    Operator action: none.
    """

    def __init__(self, partitions: Collection[TopicPartition], why: str) -> None:
        super().__init__(why)
        self.partitions = partitions


class Retry(Exception):
    """Raised by `Processor.finish` when it cannot be done now: partitions pause, and it is called again.

    Operator action: the text says what is away.
    """
