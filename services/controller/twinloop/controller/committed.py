"""Faust's Kafka consumer, mended for topics that are written in transactions (Faust 0.15).

Four things, each found by trying:

- it reads uncommitted records, so that an aborted anomaly would be acted on;
- it counts a record that follows a gap in the offsets as part of that gap. Commit markers are gaps, so on a
  transactional topic every record is in one: its list of acknowledged offsets then holds doubles, and each
  commit moves on by two or three offsets only, while the rest piles up and is read again after a restart;
- it takes offset 0 for "nothing read yet", and so misses a gap right behind it: commits stand still;
- its thread keeps a process alive that wants to end while Kafka does not answer.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from mode.threads import WorkerThread

_FETCH_MAX_WAIT_MS = 100
_STOP_S = 5.0


class _Thread(WorkerThread):  # type: ignore[misc]
    def __init__(self, service: Any, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True

    def stop(self) -> None:
        self.is_stopped.wait(_STOP_S)


class _CommittedThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    Worker = _Thread

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        # While a long poll waits, partitions whose records were just taken are not asked for.
        consumer._fetch_max_wait_ms = _FETCH_MAX_WAIT_MS
        return consumer


class CommittedConsumer(Consumer):  # type: ignore[misc]
    """Reads committed records, and commits over the gaps that transactions leave."""

    def _new_consumer_thread(self) -> Any:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        # Faust gives the offset of the record behind the gap, and takes it into the gap.
        await super()._add_gap(tp, offset_from, offset_to - 1)

    def _new_offset(self, tp: Any) -> Any:
        acked = self._acked[tp]
        if self._committed_offset[tp] == 1 and acked and min(acked) > 1:
            # Records of a partition come in order: between offset 0 and the first one acknowledged is none.
            self._gap[tp].addi(1, min(acked))
        return super()._new_offset(tp)


class CommittedTransport(Transport):  # type: ignore[misc]
    """The transport that makes `CommittedConsumer`."""

    Consumer = CommittedConsumer
