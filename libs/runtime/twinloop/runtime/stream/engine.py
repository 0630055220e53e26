"""The stream loop of one member: takes records, has their work finished, commits it; all stages at once.

    read:    poll -> Worker.state.take -> a round of work, handed on as soon as it is made
    finish:  Processor.finish of each round, up to `depth` rounds at a time
    commit:  one transaction for each input partition of a round; those of a partition in order. A position
             that no messages go with may wait: whoever does that part again finds nothing to say, either

A round that waits (Triton away, Kafka slow) holds back the next ones: then all partitions are paused, and
polling goes on, which keeps the membership and liveness."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from twinloop.contracts.codec import Message
from twinloop.runtime.observability import logging
from twinloop.runtime.stream.errors import Fenced, Redo, Retry, StreamError, TransactionFailed
from twinloop.runtime.stream.metrics import Outcome, StreamMetrics
from twinloop.runtime.stream.pace import Pace, pause_s
from twinloop.runtime.stream.ports import (
    Batch,
    Cluster,
    Member,
    Processor,
    Record,
    TopicPartition,
)
from twinloop.runtime.stream.receipts import Receipts
from twinloop.runtime.stream.recovery import Position
from twinloop.runtime.stream.renewal import Renewals
from twinloop.runtime.stream.worker import Worker, open_worker

log = logging.logger(__name__)

_MUCH = 2
"""A round of more than `poll_records` divided by this is a large one."""

FRESH_S = 5.0
"""What is done later than this after its producer's timestamp is late (`docs/observability.md`)."""

W = TypeVar("W")
Outputs = Mapping[TopicPartition, Sequence[Message]]


@dataclass(frozen=True, slots=True, eq=False)
class _Part(Generic[W]):
    """A worker's share in a round."""

    worker: Worker[W]
    work: W
    position: Position
    records: Sequence[Record]
    """Those that were taken and that no former owner had finished."""


@dataclass(frozen=True, slots=True, eq=False)
class _Round(Generic[W]):
    """The work of one poll."""

    parts: Mapping[TopicPartition, _Part[W]]
    outputs: asyncio.Task[Outputs | None]
    begun: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Engine(Generic[W]):
    """Runs `processor` on the partitions that `group` gives to this member.

    `on_partitions_*` are for the member, which calls them from a task of its own; everything else happens in
    `run`. A member's records of a partition are ignored until its worker is open.
    """

    def __init__(
        self,
        cluster: Cluster,
        processor: Processor[W],
        *,
        group: str,
        metrics: StreamMetrics,
        stopping: asyncio.Event,
        pace: Pace | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._cluster = cluster
        self._processor = processor
        self._group = group
        self._metrics = metrics
        self._stopping = stopping
        self._pace = pace or Pace()
        self._receipts = receipts
        self._member: Member | None = None
        self._workers: dict[TopicPartition, Worker[W]] = {}
        self._openings: dict[TopicPartition, asyncio.Task[None]] = {}
        self._closings: dict[TopicPartition, asyncio.Task[None]] = {}
        """Of workers that were lost, in whose place another is being opened."""
        self._rounds: asyncio.Queue[_Round[W] | None] = asyncio.Queue(maxsize=max(1, self._pace.depth - 1))
        self._finishing: set[asyncio.Task[Outputs | None]] = set()
        self._renewals: Renewals[W] = Renewals(cluster, self._pace, stopping, self._crashed)
        self._moved = asyncio.Event()
        """Set whenever a round has ended."""
        self._assigned = False
        self._congested = False
        self._retrying: dict[int, str] = {}
        """What rounds wait for, by round."""
        self._cannot_open: dict[TopicPartition, str] = {}
        self._cannot_commit: dict[TopicPartition, str] = {}
        """Since its last transaction failed; until one succeeds."""
        self._crash: BaseException | None = None

    def attach(self, member: Member) -> None:
        """Give it the member that calls it, before `run` and before the first rebalance."""
        self._member = member

    # ---- seen from outside

    def problem(self) -> str | None:
        """Health check: what keeps this member from working on all that it was assigned."""
        if not self._assigned:
            return "waiting for partitions"
        if self._retrying:
            return next(iter(self._retrying.values()))
        if self._cannot_open:
            one, what = next(iter(self._cannot_open.items()))
            return f"{len(self._cannot_open)} partitions wait for kafka, {one}: {what}"
        if self._cannot_commit:
            one, what = next(iter(self._cannot_commit.items()))
            return f"{len(self._cannot_commit)} partitions cannot commit, {one}: {what}"
        if self._openings:
            return f"{len(self._openings)} partitions are being opened"
        halted = [f"{one}: {why}" for one, w in self._workers.items() if (why := w.halted())]
        return "; ".join(halted) or None

    # ---- the loop

    async def run(self) -> None:
        """Work until told to stop; then finish and commit what is under way, and close every partition.

        What waits to be tried again is left uncommitted. Raises what `processor` raises, apart from `Retry`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._commit_rounds())
                tidying = group.create_task(self._commit_put_off())
                await self._read()
                await self._rounds.put(None)
                tidying.cancel()
        finally:
            self._renewals.cancel()
            for task in self._finishing:
                task.cancel()
            workers, self._workers = list(self._workers.values()), {}
            await self._close(workers, list(self._openings))

    async def _read(self) -> None:
        while not self._stopping.is_set():
            if self._crash is not None:
                raise self._crash
            batch = await self._poll()
            if batch and (taken := self._take(batch)) is not None:
                await self._hand_on(taken)
                if sum(map(len, batch.values())) < self._pace.poll_records // _MUCH:
                    await self._ended(taken)

    async def _poll(self) -> Batch:
        self._regulate()
        try:
            return await self._its().poll(self._pace.poll_s, self._pace.poll_records)
        except StreamError as error:
            log.warning("kafka cannot be read", problem=str(error), again_in_s=self._pace.retry_s)
            await pause_s(self._stopping, self._pace.retry_s)
            return {}

    def _take(self, batch: Batch) -> _Round[W] | None:
        """Fold records. Nothing is awaited here: no rebalance comes between the poll and this."""
        begun = time.perf_counter()
        parts: dict[TopicPartition, _Part[W]] = {}
        for one, records in batch.items():
            worker = self._workers.get(one)
            if worker is None or worker.lost or worker.halted():
                continue  # not ours (any more), or fetched before it was sought to where it resumes
            if records[0].offset < worker.state.position:
                log.error("offsets have gone back: the topic was made anew", partition=str(worker.partition))
                self._lose(worker, after_s=0.0)
                continue
            rebuilding = not worker.caught_up
            work = worker.state.take(records)
            position = worker.position()
            new = _between(records, worker.place.emit_from, position.offset)
            parts[one] = _Part(worker, work, position, new)
            worker.under_way += 1
            self._metrics.records.labels(one.topic).inc(len(records))
            self._renewals.consider(worker)
            if rebuilding and worker.caught_up:
                self._rebuilt(worker)
            if (why := worker.halted()) is not None:
                halted, at = str(worker.partition), worker.state.position
                log.error("partition halted", partition=halted, offset=at, why=why)
        self._metrics.stage_seconds.labels("take").observe(time.perf_counter() - begun)
        if not parts:
            return None
        outputs = asyncio.ensure_future(self._finish(parts))
        self._finishing.add(outputs)
        outputs.add_done_callback(self._finishing.discard)
        return _Round(parts, outputs, begun)

    async def _hand_on(self, taken: _Round[W]) -> None:
        """Put a round into the queue; while there is no room, keep polling with everything paused."""
        handing = asyncio.ensure_future(self._rounds.put(taken))
        try:
            await asyncio.wait({handing}, timeout=self._pace.poll_s)
            while not handing.done():
                self._congested = True
                for one, records in (await self._poll()).items():
                    self._its().seek(one, records[0].offset)  # assigned meanwhile, so not paused: put back
                if self._stopping.is_set():
                    await handing
            self._congested = False
        finally:
            handing.cancel()

    async def _ended(self, taken: _Round[W]) -> None:
        """Wait for a small round, for a while: there is no hurry, and the next one costs the same for more.
        When there is much to do, the rounds overlap instead."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.poll_s):
                await taken.ended.wait()

    async def _finish(self, parts: Mapping[TopicPartition, _Part[W]]) -> Outputs | None:
        """The outputs of a round; `None` when it was left because of the end."""
        try:
            while work := {one: part.work for one, part in parts.items() if not part.worker.lost}:
                started = time.perf_counter()
                try:
                    outputs = await self._processor.finish(work)
                except Retry as trouble:
                    if not self._retrying:
                        log.warning("waiting", problem=str(trouble))
                    self._retrying[id(parts)] = str(trouble)
                    self._metrics.waiting.set(1)
                    await pause_s(self._stopping, self._pace.retry_s)
                    if self._stopping.is_set():
                        return None
                except Redo as redo:
                    log.info("taken again", partitions=len(redo.partitions), why=str(redo))
                    for one in redo.partitions:
                        self._lose(parts[one].worker, after_s=0.0)
                else:
                    self._metrics.stage_seconds.labels("finish").observe(time.perf_counter() - started)
                    return outputs
            return {}
        finally:
            if (waited_for := self._retrying.pop(id(parts), None)) is not None and not self._retrying:
                self._metrics.waiting.set(0)
                log.info("going on", waited_for=waited_for)

    async def _commit_rounds(self) -> None:
        """Commit the rounds: those of a partition in the order in which they were taken, partitions apart."""
        room = asyncio.Semaphore(self._pace.depth)
        async with asyncio.TaskGroup() as group:
            while (taken := await self._rounds.get()) is not None:
                outputs = await taken.outputs
                await room.acquire()
                group.create_task(self._commit_round(taken, outputs)).add_done_callback(
                    lambda _: room.release()
                )

    async def _commit_round(self, taken: _Round[W], outputs: Outputs | None) -> None:
        started = time.perf_counter()
        if outputs is not None:
            await asyncio.gather(
                *(self._commit(part, outputs.get(one, ())) for one, part in taken.parts.items())
            )
        for part in taken.parts.values():
            part.worker.lost |= outputs is None
            part.worker.under_way -= 1
        self._moved.set()
        taken.ended.set()
        now = time.perf_counter()
        self._metrics.stage_seconds.labels("commit").observe(now - started)
        self._metrics.round_seconds.observe(now - taken.begun)

    async def _commit(self, part: _Part[W], messages: Sequence[Message]) -> None:
        async with part.worker.turn:
            await self._commit_now(
                part.worker, messages, part.position, self._pace.commit_every_s, len(part.records)
            )
            if not part.worker.lost:
                self._count(part)

    def _count(self, part: _Part[W]) -> None:
        """How many are done, and done late. Their timestamps come in order, but for those of producers at
        once, which are within a moment of each other: so they are not looked at one by one."""
        topic, fresh_ms = part.worker.partition.topic, (time.time() - FRESH_S) * 1000
        late = bisect_left(part.records, fresh_ms, key=lambda record: record.timestamp)
        self._metrics.finished.labels(topic).inc(len(part.records))
        self._metrics.late.labels(topic).inc(late)

    async def _commit_put_off(self) -> None:
        """Commit what was put off, where nothing follows."""
        while True:
            await asyncio.sleep(max(self._pace.commit_every_s, self._pace.poll_s))
            for worker in list(self._workers.values()):
                if worker.put_off() is not None:
                    async with worker.turn:
                        if (position := worker.put_off()) is not None:
                            await self._commit_now(worker, (), position, 0.0)

    async def _commit_now(
        self,
        worker: Worker[W],
        messages: Sequence[Message],
        position: Position,
        every_s: float,
        taken: int = 0,
    ) -> None:
        if worker.lost:
            return
        try:
            committed = await worker.commit(messages, position, every_s=every_s, taken=taken)
        except Fenced:
            self._metrics.transactions.labels(Outcome.FENCED).inc()
            log.warning("fenced: another member has taken this partition", partition=str(worker.partition))
            self._lose(worker, after_s=self._pace.fenced_s)
        except TransactionFailed as error:
            self._metrics.transactions.labels(Outcome.ABORTED).inc()
            log.warning("transaction failed", partition=str(worker.partition), problem=str(error))
            self._cannot_commit[worker.partition] = str(error)
            self._lose(worker, after_s=self._pace.retry_s)
        else:
            if committed:
                self._metrics.transactions.labels(Outcome.COMMITTED).inc()
                self._cannot_commit.pop(worker.partition, None)

    # ---- partitions come and go

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Open a worker for each, in the background: the group need not wait for fences."""
        self._assigned = True
        log.info("partitions assigned", partitions=len(assigned))
        for one in assigned:
            self._open(one, after_s=0.0)
        self._regulate()

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Commit what is under way if it can be done soon, and let them go."""
        workers = [w for one in revoked if (w := self._workers.pop(one, None)) is not None]  # takes no more
        now = asyncio.get_running_loop().time
        until = now() + self._pace.drain_s
        while any(w.under_way and not w.lost for w in workers) and not self._retrying:
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), until - now())
            except TimeoutError:
                log.warning("what was under way is left to the next owner")
                break
        await self._close(workers, revoked)

    def _open(self, one: TopicPartition, *, after_s: float) -> None:
        """Open a worker in the background."""

        def opened(task: asyncio.Task[None]) -> None:
            if self._openings.get(one) is task:
                del self._openings[one]
            if not task.cancelled() and (error := task.exception()) is not None:
                self._crashed(error)

        self._openings[one] = task = asyncio.ensure_future(self._opening(one, after_s))
        task.add_done_callback(opened)

    async def _opening(self, one: TopicPartition, after_s: float) -> None:
        """Open a worker, again until it works, and seek to where it resumes."""
        begun = time.perf_counter()
        if (closing := self._closings.get(one)) is not None:
            await asyncio.wait({closing})
            del self._closings[one]
        await pause_s(self._stopping, after_s)
        while not self._stopping.is_set():
            try:
                worker = await open_worker(self._cluster, self._group, one, self._processor, self._receipts)
            except StreamError as error:
                if one not in self._cannot_open:
                    log.warning("a partition cannot be opened", partition=str(one), problem=str(error))
                self._cannot_open[one] = str(error)
                await pause_s(self._stopping, self._pace.retry_s)
            else:
                worker.begun = begun
                self._cannot_open.pop(one, None)
                self._workers[one] = worker
                self._metrics.finished.labels(one.topic)  # from 0 on: what comes first is an increase, too
                self._metrics.late.labels(one.topic)
                self._its().seek(one, worker.read_from)
                self._metrics.partitions.set(len(self._workers))
                if worker.caught_up:
                    self._rebuilt(worker)
                return

    def _lose(self, worker: Worker[W], *, after_s: float) -> None:
        """Give up a worker whose state is not what is committed, and open another."""
        worker.lost = True
        one = worker.partition
        if self._workers.get(one) is worker:  # else revoked meanwhile
            del self._workers[one]
            self._closings[one] = asyncio.ensure_future(worker.close())
            self._open(one, after_s=after_s)
            self._regulate()

    def _rebuilt(self, worker: Worker[W]) -> None:
        took_s = time.perf_counter() - worker.begun
        self._metrics.recovery_seconds.observe(took_s)
        records = worker.place.emit_from - worker.read_from
        log.debug("state rebuilt", partition=str(worker.partition), records=records, took_s=round(took_s, 3))

    async def _close(self, workers: Collection[Worker[W]], openings: Collection[TopicPartition]) -> None:
        tasks = [task for one in openings if (task := self._openings.pop(one, None)) is not None]
        for task in tasks:
            task.cancel()
        tasks += [task for one in openings if (task := self._closings.pop(one, None)) is not None]
        for one in openings:
            self._cannot_open.pop(one, None)
            self._cannot_commit.pop(one, None)
        await asyncio.gather(*tasks, *(worker.close() for worker in workers), return_exceptions=True)
        self._metrics.partitions.set(len(self._workers))

    # ---- pieces

    def _crashed(self, error: BaseException) -> None:
        self._crash = error

    def _regulate(self) -> None:
        """Pause what cannot be taken now."""
        member = self._its()
        held = member.assignment()
        working = {one for one, worker in self._workers.items() if not worker.halted()}
        member.pause(held if self._congested else [one for one in held if one not in working])
        self._metrics.halted.set(len(self._workers) - len(working))

    def _its(self) -> Member:
        assert self._member is not None, "attach a member first"
        return self._member


def _between(records: Sequence[Record], first: int, end: int) -> Sequence[Record]:
    """Those with offsets from `first` to before `end`."""
    if records[0].offset >= first and records[-1].offset < end:
        return records
    low = bisect_left(records, first, key=lambda record: record.offset)
    return records[low : bisect_left(records, end, key=lambda record: record.offset)]
