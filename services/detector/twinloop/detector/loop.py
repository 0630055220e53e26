"""The main path: poll -> windows -> Triton -> judge -> publish -> commit.

At least once: a batch's outputs are acknowledged before its offsets are committed, and what is judged again
after a crash has the same event ids.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata

from twinloop.contracts.codec import Message, message
from twinloop.contracts.topics import ANOMALIES, SCORES
from twinloop.detector.errors import Stopped
from twinloop.detector.judge import judge
from twinloop.detector.membership import Membership
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Partition, Pending, Refused, Taken
from twinloop.detector.recovery import metadata
from twinloop.detector.routes import Routes
from twinloop.detector.score import Scorer
from twinloop.detector.settings import DetectorSettings
from twinloop.runtime import logging
from twinloop.runtime.clock import Clock
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.kafka import Batch, Publisher
from twinloop.tritonio.errors import TritonError
from twinloop.tritonio.server import Inference, InferenceServer

log = logging.logger(__name__)

SOURCE = "detector"
_POLL_MS = 100

Progress = dict[TopicPartition, tuple[Partition, OffsetAndMetadata]]


class Loop:
    """Runs on one consumer until `stopping` is set."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        membership: Membership,
        routes: Routes,
        server: InferenceServer,
        publisher: Publisher,
        clock: Clock,
        stopping: asyncio.Event,
        settings: DetectorSettings,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._membership = membership
        self._routes = routes
        self._scorer = Scorer(server, routes, self._wait_out, metrics)
        self._publisher = publisher
        self._clock = clock
        self._stopping = stopping
        self._settings = settings
        self._metrics = metrics
        self._trouble: str | None = None

    def problem(self) -> str | None:
        """Health check: what the batch under way waits for."""
        return self._trouble

    async def run(self) -> None:
        """Return when told to stop, with the batch under way committed; one that waits for Triton is left."""
        while not self._stopping.is_set():
            batch = await self._client.getmany(
                timeout_ms=_POLL_MS, max_records=self._settings.max_poll_records
            )
            if not batch:
                continue
            started = time.perf_counter()
            taken, progress = self._take(batch)
            try:
                answers, refused = await self._scorer.score(p for one in taken for p in one.pending)
            except Stopped:
                return
            self._go_on()
            refused += [refusal for one in taken for refusal in one.refused]
            await self._publisher.publish(self._outputs(answers, refused))
            await self._commit(progress)
            self._metrics.batch_seconds.observe(time.perf_counter() - started)

    def _take(self, batch: Batch) -> tuple[list[Taken], Progress]:
        """Windows of every partition that has been taken on. Nothing is awaited here: no rebalance comes
        between the poll and this."""
        everything, progress = [], {}
        for one, records in batch.items():
            partition = self._membership.partitions.get(one)
            if partition is None:
                continue  # fetched before it was sought to where it resumes: these records come again
            taken = partition.take(records, self._routes)
            everything.append(taken)
            after = records[-1].offset + 1
            replay_from = min(partition.replay_from(after), after)
            # While windows are filled again nothing moves: the committed offset stays where it was.
            position = max(after, partition.emit_from)
            progress[one] = (partition, OffsetAndMetadata(position, metadata(replay_from)))
            self._metrics.frames.labels(one.topic).inc(len(records))
            self._metrics.duplicates.inc(taken.duplicates)
            self._metrics.unrouted.inc(taken.unrouted)
        return everything, progress

    def _outputs(
        self, answers: Iterable[tuple[Pending, Inference]], refused: Iterable[Refused]
    ) -> list[Message]:
        now = self._clock.now()
        messages = []
        for pending, answer in answers:
            anomalies, verdicts = judge(pending, answer, now, score_every=self._settings.score_every)
            messages += [message(ANOMALIES, one, source=SOURCE) for one in anomalies]
            messages += [message(SCORES, one, source=SOURCE) for one in verdicts]
            model = pending.route.contract.model
            self._metrics.windows.labels(model).inc(len(pending))
            self._metrics.anomalies.labels(model).inc(len(anomalies))
        for one in refused:
            self._metrics.dead_letters.labels(one.reason).inc()
            messages.append(dead_letter(one.record, one.reason, one.detail, service=SOURCE, at=now))
        return messages

    async def _commit(self, progress: Progress) -> None:
        """Commit what is still ours: a rebalance makes the new owner repeat the batch."""
        held = self._membership.partitions
        offsets = {one: at for one, (partition, at) in progress.items() if held.get(one) is partition}
        if not offsets:
            return
        try:
            await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError) as error:
            log.warning("a rebalance overtook a commit", problem=str(error))

    async def _wait_out(self, trouble: TritonError) -> None:
        """Pause every partition, and keep polling so that the group keeps this member. Raises `Stopped`."""
        if self._trouble is None:
            log.warning("waiting for triton", problem=str(trouble))
        self._trouble = str(trouble)
        self._metrics.waiting.set(1)
        until = time.monotonic() + self._settings.retry_s
        while time.monotonic() < until:
            self._client.pause(*self._client.assignment())
            # Whoever was assigned meanwhile was not paused: what it brought is put back.
            for one, records in (await self._client.getmany(timeout_ms=_POLL_MS)).items():
                self._client.seek(one, records[0].offset)
            if self._stopping.is_set():
                raise Stopped

    def _go_on(self) -> None:
        if self._trouble is None:
            return
        log.info("triton answers again")
        self._trouble = None
        self._metrics.waiting.set(0)
        self._client.resume(*self._client.paused())
