"""The state of one input partition: which frames were heard, and the windows that are still open. Pure.

records -> decode -> order -> route -> check -> windows of each lane -> windows of each judge

All frames of a call pass each step together, as arrays; `n` counts records of the call.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frame_batch import FrameBatch, FrameDecoder
from twinloop.contracts.frames import decode_frame
from twinloop.detector.assets import Assets
from twinloop.detector.cuts import Lane
from twinloop.detector.remembered import Remembered
from twinloop.detector.routes import ALL, Judge, Routes, Share
from twinloop.detector.taken import Ints, Pending, Refused, Taken, Turns
from twinloop.features.checks import check_frame
from twinloop.features.columns import Columns
from twinloop.features.ordering import Order, SequenceGate
from twinloop.features.windows import WindowBuffer
from twinloop.runtime.stream.ports import Record, TopicPartition
from twinloop.runtime.stream.recovery import Resume

_NEVER = sys.maxsize
_NOT_MINE = -1
LIMITED_OVER = 10_000
"""The limit on refused records is for so many consecutive ones."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a partition may hold on to. `records`: what an asset said longer ago is forgotten; `refused`: at
    most so many of `LIMITED_OVER` consecutive records go to dead letters."""

    records: int = 10_000
    refused: int = 1_000

    @property
    def reach(self) -> int:
        """From so many records before on, whoever reads has the same windows, whatever came before that: a
        repeated frame that looks new, for a memory; windows, for another; where a part began, for three
        more."""
        return 5 * self.records


class Partition:
    """Frames with an offset below `place.emit_from` were judged before: they only fill the windows again.

    `kept`: the records of `model-memory` with what their judges remember."""

    def __init__(
        self,
        of: TopicPartition,
        place: Resume,
        routes: Routes,
        memory: Memory,
        kept: Mapping[bytes, bytes],
        turns: Turns,
        share: Share = ALL,
    ) -> None:
        self._of = of
        self._routes = routes
        self._first = place.first
        self.position = place.read_from
        if not routes.lanes() <= place.covers:
            self.position = min(place.read_from, max(place.first, place.emit_from - memory.reach))
        self.halted: str | None = None
        self._emit_from = place.emit_from
        self._memory = memory
        self._decoder = FrameDecoder()
        self._gate = SequenceGate(memory.records)
        self._buffers: dict[Lane, WindowBuffer] = {}
        self._share = share
        self._assets = Assets(routes, share)
        self._remembered = Remembered(of.topic, kept)
        self._turns = turns
        self._refused_at: deque[int] = deque()
        self._replay_from = self.position
        self._replay_known_at = self.position

    def take(self, records: Sequence[Record]) -> Taken:
        """Take records in the order of their offsets."""
        for number, lane in self._assets.reroute():
            if lane in self._buffers:
                self._buffers[lane].forget(number)
        taken = Taken(self._turns.take())
        offsets = np.fromiter([record.offset for record in records], np.int64, len(records))
        batch = self._decoder.decode([record.value or b"" for record in records])
        assets = self._assets.numbers(batch.sources)
        sound = self._sort(records, offsets, batch, assets, taken)
        taken.refused.sort(key=lambda one: one.record.offset)
        end = self._limit(taken.refused, int(offsets[-1]) + 1)
        if end <= offsets[-1]:
            sound &= offsets[batch.index] < end
            taken.refused = [one for one in taken.refused if one.record.offset < end]
        index = np.flatnonzero(sound)
        for lane, some in self._assets.by_lane(assets[index]):
            self._push(lane, batch, index[some], assets[index[some]], records, offsets, taken)
        if offsets[0] < self._emit_from:
            self._silence(offsets, taken)
        self.position = end
        return taken

    def replay_from(self) -> int:
        """The offset from which a new owner must read so that it judges all from `position` on alike.

        It only ever grows, so an older answer is right too, and is given while it costs little.
        """
        since = self.position - self._replay_known_at
        if since * 4 >= self._replay_known_at - self._replay_from:
            oldest = [self._gate.oldest(self.position)]
            oldest += [buffer.oldest(self.position) for buffer in self._buffers.values()]
            self._replay_from = min((one for one in oldest if one is not None), default=self.position)
            if self._gate.stale_at >= self._replay_from:
                # Who begins to read just there may take a frame for new that repeats an older one.
                parts = any(buffer.has_parts() for buffer in self._buffers.values())
                reach = self._memory.reach if parts else 2 * self._memory.records
                self._replay_from = min(self._replay_from, max(0, self.position - reach))
            self._replay_known_at = self.position
        return self._replay_from

    def count_refused(self, records: Sequence[Record]) -> None:
        """Records that were refused later, by a model."""
        self._refused_at.extend(record.offset for record in records)
        self._limit([], self.position)

    def covers(self) -> Collection[str]:
        """See `State`: lanes."""
        return self._routes.lanes()

    def renewal(self) -> Partition | None:
        """See `State`. A judge was announced whose windows began before it was."""
        if not self._assets.behind:
            return None
        since = max(self._first, min(self.replay_from(), self.position - self._memory.reach))
        nothing_yet = Resume(since, _NEVER, since, self._routes.lanes())
        turns = self._turns.apart()
        return Partition(self._of, nothing_yet, self._routes, self._memory, {}, turns, self._share)

    def relieve(self, former: Partition) -> None:
        """See `State`."""
        self._emit_from, self._first = former._emit_from, former._first
        self._remembered, self._turns = former._remembered, former._turns
        self._refused_at, self.halted = former._refused_at, former.halted

    def close(self) -> None:
        """See `State`."""
        self._turns.close()

    # ---- the steps

    def _sort(
        self, records: Sequence[Record], offsets: Ints, batch: FrameBatch, assets: Ints, taken: Taken
    ) -> NDArray[np.bool_]:
        """Of each frame, whether windows may be made of it; what is none of them is refused or counted."""
        if self._share.rest:
            for n, error in batch.invalid.items():
                taken.refused.append(Refused(records[n], error.reason, error.detail))
        mine = np.flatnonzero(self._assets.mine[assets])
        orders = np.full(len(assets), _NOT_MINE)
        orders[mine] = self._gate.check(assets[mine], batch.sequences[mine], offsets[batch.index[mine]])
        sound: NDArray[np.bool_] = orders == Order.NEW
        if not sound.all():
            taken.duplicates = int((orders == Order.DUPLICATE).sum())
            for n in np.flatnonzero(orders == Order.OUT_OF_ORDER).tolist():
                detail = f"sequence {batch.sequences[n]} comes after a higher one"
                taken.refused.append(Refused(records[batch.index[n]], Reason.OUT_OF_ORDER, detail))
        due = self._assets.signals[assets]
        taken.unrouted = int((sound & (due < 0)).sum())
        sound &= due >= 0
        suspects = sound & (batch.signals != due)
        if not np.isfinite(batch.samples).all():
            suspects |= sound & ~_finite(batch)
        for n in np.flatnonzero(suspects).tolist():
            record = records[batch.index[n]]
            refusal = check_frame(decode_frame(record.value), self._assets.lane(assets[n]).spec.signals)
            if refusal is not None:
                sound[n] = False
                taken.refused.append(Refused(record, refusal.reason, refusal.detail))
        return sound

    def _limit(self, refused: Sequence[Refused], end: int) -> int:
        """Where to stop: before the record whose refusal would exceed the limit, else at `end`. `refused` in
        the order of their offsets."""
        at = self._refused_at
        for offset in [one.record.offset for one in refused if one.record.offset >= self._emit_from]:
            at.append(offset)
            while at[0] <= offset - LIMITED_OVER:
                at.popleft()
            if len(at) > self._memory.refused:
                self._halt()
                return offset
        if len(at) > self._memory.refused:
            self._halt()
        return end

    def _halt(self) -> None:
        self.halted = (
            f"more than {self._memory.refused} of {LIMITED_OVER} records were refused: look at dead-letters,"
            " mend the publisher or the model, then restart this service, which lets as many more through"
        )

    def _push(
        self,
        lane: Lane,
        batch: FrameBatch,
        index: Ints,
        assets: Ints,
        records: Sequence[Record],
        offsets: Ints,
        taken: Taken,
    ) -> None:
        """Cut the frames `index` of `batch` into windows."""
        buffer = self._buffers.get(lane)
        if buffer is None:
            buffer = self._buffers[lane] = WindowBuffer(lane.spec, self._memory.records)
        columns = Columns(
            assets,
            batch.sequences[index],
            batch.parts[index],
            batch.rows[index],
            batch.good[index],
            _samples(batch, index).reshape(-1, len(lane.spec.signals)),
        )
        which = batch.index[index]
        windows = buffer.push_columns(columns, offsets[which])
        taken.too_wide += windows.too_wide
        taken.silent += windows.silent
        if not len(windows):
            return
        assets, which = assets[windows.frame], which[windows.frame]
        sequences = columns.sequences[windows.frame]
        for judge, some in self._assets.by_judge(lane, assets):
            whole = Pending(
                self._of,
                judge,
                _read_by(judge, windows.values),
                assets,
                sequences,
                windows.row,
                which,
                records,
                self._assets.sources,
                self._assets.salts,
                self._remembered,
            )
            taken.pending.append(whole if len(some) == len(whole) else whole.select(some))

    def _silence(self, offsets: Ints, taken: Taken) -> None:
        """Leave out what was published before this partition came here."""
        taken.refused = [one for one in taken.refused if one.record.offset >= self._emit_from]
        kept = []
        for one in taken.pending:
            new = np.flatnonzero(offsets[one.which] >= self._emit_from)
            if len(new):
                kept.append(one.select(new))
        taken.pending = kept


def _read_by(judge: Judge, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of windows with all columns of their frames, what a judge reads."""
    return values if judge.columns is None else values.take(judge.columns, axis=2)


def _sizes(batch: FrameBatch) -> Ints:
    return batch.rows * batch.signals


def _finite(batch: FrameBatch) -> NDArray[np.bool_]:
    """Of each frame, whether all of its values are finite."""
    sizes = _sizes(batch)
    frame = np.repeat(np.arange(len(batch)), sizes)
    found = np.ones(len(batch), np.bool_)
    found[frame[~np.isfinite(batch.samples)]] = False
    return found


def _samples(batch: FrameBatch, index: Ints) -> NDArray[np.float32]:
    """The samples of some frames, flat."""
    if len(index) == len(batch):
        return batch.samples
    sizes = _sizes(batch)
    if (sizes == sizes[:1]).all():
        return batch.samples.reshape(len(batch), -1)[index].reshape(-1)
    chosen = np.zeros(len(batch), np.bool_)
    chosen[index] = True
    return batch.samples[np.repeat(chosen, sizes)]
