"""What the detector does with a round of records: windows -> models -> events.

The stream engine (`twinloop.runtime.stream`) brings the records, and commits what comes of them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from twinloop.contracts.codec import Message, message
from twinloop.contracts.topics import ANOMALIES, MODEL_MEMORY, SCORES
from twinloop.detector.judge import judge
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory, Partition
from twinloop.detector.routes import ALL, Role, Routes, Share
from twinloop.detector.score import Learnt, Scorer
from twinloop.detector.taken import Pending, Refused, Taken
from twinloop.detector.turns import Turns
from twinloop.runtime.clock import Clock
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.observability import logging, tracing
from twinloop.runtime.stream.errors import Redo, Retry
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume
from twinloop.tritonio.errors import TritonError
from twinloop.tritonio.server import Inference

log = logging.logger(__name__)

SOURCE = "detector"
Kept = Callable[[TopicPartition], Awaitable[Mapping[bytes, bytes]]]
"""The records of `model-memory` for an input partition. Raises `TransactionFailed` while Kafka cannot tell
them."""
_LINKS = 64
_WIDER = "they are not judged: set TWINLOOP_DETECTOR_MEMORY_RECORDS higher, or use more partitions"


class Detection:
    """The `Processor` of the detector."""

    def __init__(
        self,
        routes: Routes,
        scorer: Scorer,
        kept: Kept,
        clock: Clock,
        memory: Memory,
        score_every: int,
        metrics: Metrics,
        share: Share = ALL,
    ) -> None:
        self._routes = routes
        self._scorer = scorer
        self._kept = kept
        self._clock = clock
        self._memory = memory
        self._score_every = score_every
        self._share = share
        self._metrics = metrics
        self._open: dict[TopicPartition, Partition] = {}

    async def open(self, partition: TopicPartition, place: Resume) -> Partition:
        """See `Processor`."""
        kept = await self._kept(partition)
        self._open[partition] = Partition(
            partition, place, self._routes, self._memory, kept, Turns(), self._share
        )
        return self._open[partition]

    async def finish(self, work: Mapping[TopicPartition, Taken]) -> Mapping[TopicPartition, list[Message]]:
        """See `Processor`. Raises `Retry` while Triton or a model is away, `Redo` when windows must be cut
        anew."""
        pending = self._newest(work)
        if any(one.judge.contract.memory for one in pending):
            for taken in work.values():
                await taken.turn.comes()
        began_ns = time.time_ns()
        try:
            scored = await self._scorer.score(pending)
        except TritonError as trouble:
            outdated = {one.partition for one in pending if not self._routes.knows(one.judge)}
            if outdated:
                raise Redo(outdated, str(trouble)) from trouble
            raise Retry(str(trouble)) from trouble
        if tracing.on():
            _trace(pending, began_ns)
        outputs: dict[TopicPartition, list[Message]] = {one: [] for one in work}
        now = self._clock.now()
        for learnt in scored.learnt:
            outputs[learnt.pending.partition] += self._memories(learnt, now)
        for taken in work.values():
            taken.turn.end()
        for asked, answer in scored.answers:
            outputs[asked.partition] += self._events(asked, answer)
        for one, refused in [
            *scored.refused,
            *((one, it) for one, taken in work.items() for it in taken.refused),
        ]:
            outputs[one].append(_letter(one, refused, now))
            log.warning(
                "dead letter",
                partition=f"{one.topic}/{one.partition}",
                offset=refused.record.offset,
                reason=str(refused.reason),
                detail=refused.detail,
            )
            self._metrics.dead_letters.labels(refused.reason).inc()
        for one, refused in scored.refused:
            self._open[one].count_refused([refused.record])
        for taken in work.values():
            self._metrics.duplicates.inc(taken.duplicates)
            self._metrics.unrouted.inc(taken.unrouted)
            self._metrics.too_wide.inc(taken.too_wide)
            self._metrics.silent.inc(taken.silent)
            if taken.too_wide:
                log.warning(
                    "windows span more records than are remembered", windows=taken.too_wide, hint=_WIDER
                )
        return outputs

    def _newest(self, work: Mapping[TopicPartition, Taken]) -> list[Pending]:
        """To be asked of whoever judges now: a model may have been swapped since the windows were cut."""
        asked = list[Pending]()
        for one in (one for taken in work.values() for one in taken.pending):
            judge = self._routes.now(one.judge)
            if judge is not None and (judge.role is not Role.STANDS_BY or judge.contract.memory):
                asked.append(one if judge is one.judge else replace(one, judge=judge))
        return asked

    def _memories(self, learnt: Learnt, at: datetime) -> Iterator[Message]:
        """Move on what is remembered; the records that keep it."""
        contract, one = learnt.pending.judge.contract, learnt.pending
        for memory in one.remembered.learn(contract, learnt.sources, learnt.memory, at):
            yield message(MODEL_MEMORY, memory, source=SOURCE, partition=one.partition.partition)

    def _events(self, pending: Pending, answer: Inference) -> list[Message]:
        anomalies, verdicts = judge(pending, answer, self._clock.now(), score_every=self._score_every)
        model, role = pending.judge.contract.model, pending.judge.role
        self._metrics.windows.labels(model, role).inc(len(pending))
        self._metrics.anomalies.labels(model).inc(len(anomalies))
        for one in anomalies:
            log.info("anomaly", asset=one.asset, event_id=one.event_id, trace_id=one.trace_id)
        return [
            *(message(ANOMALIES, one, source=SOURCE) for one in anomalies),
            *(message(SCORES, one, source=SOURCE) for one in verdicts),
        ]


def _letter(one: TopicPartition, refused: Refused, at: datetime) -> Message:
    return dead_letter(
        refused.record,
        refused.reason,
        refused.detail,
        topic=one.topic,
        partition=one.partition,
        service=SOURCE,
        at=at,
    )


def _trace(pending: Sequence[Pending], began_ns: int) -> None:
    """A round of requests as one span, linked to the frames that completed its first windows."""
    frames = [one.frame(n) for one in pending for n in range(min(len(one), _LINKS // len(pending) + 1))]
    windows = sum(len(one) for one in pending)
    tracing.did_together("score", [(one.trace_id, one.event_id) for one in frames], began_ns, windows)
