"""Windows over the samples of many assets at once, by vectorised indexing.

Where windows lie. A window is `window` consecutive samples of one asset; it never spans a gap in the
sequence, a change of part, or a frame with a quality bit set (such a frame contributes nothing): there the
asset's ring starts anew. Windows begin every `hop` samples, counted

- from where the ring began, where frames carry a part id: windows lie alike in every part;
- else from sequence 0 (`sequence * frame length`): windows lie alike wherever reading begins, so a reader
  that starts in the middle of the stream finds the same windows as one that has read all of it (as long
  as the publisher keeps the frame length).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.features.columns import Columns

Ints = NDArray[np.int64]

_FIRST_ASSETS = 16


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Windows of `window` samples, beginning every `hop` samples, of `signals` in this order."""

    window: int
    hop: int
    signals: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.window < 1 or self.hop < 1 or not self.signals:
            raise ValueError(f"a window needs samples, a hop and signals: {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """`N` complete windows, ordered by the frame that completed them.

    `values` float32 [N, window, signals]; `frame` int64 [N]: index, in what was pushed, of the frame that
    completed each window; `row` int64 [N]: index of the window's last sample in that frame.
    """

    values: NDArray[np.float32]
    frame: Ints
    row: Ints

    def __len__(self) -> int:
        return len(self.frame)


class WindowBuffer:
    """The open windows of every asset of one partition and one signal set.

    The rings lie in one array [assets, window, signals] that grows geometrically; a push costs a fixed
    number of array operations, whatever the number of assets, frames and windows.
    """

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._slots: dict[str, int] = {}
        self._rings = np.empty((0, spec.window, len(spec.signals)), np.float32)
        # Of each asset: samples are numbered; `position` is the number of the next one, `origin` that of
        # the first one since the ring last began. Sample i lies in the ring at i % window.
        self._position = np.zeros(0, np.int64)
        self._origin = np.zeros(0, np.int64)
        self._sequence = np.zeros(0, np.uint64)
        self._part = np.zeros(0, np.int64)
        self._alive = np.zeros(0, np.bool_)

    @property
    def assets(self) -> int:
        """How many assets have a ring here."""
        return len(self._slots)

    def push(self, frames: Sequence[Frame]) -> Windows:
        """Take frames in order of arrival; returns the windows that they complete.

        Each frame must have the signals of the spec; several frames of one asset may come in one call.
        """
        if not frames:
            return self._none()
        return self.push_columns(Columns.of(frames))

    def push_columns(self, columns: Columns) -> Windows:
        """The same, for frames that are columns already."""
        window, hop = self.spec.window, self.spec.hop
        n = len(columns.assets)

        # Frames of one asset side by side, in order of arrival.
        slots = self._slots_of(columns.assets)
        order = np.argsort(slots, kind="stable")
        slot = slots[order]
        good = columns.good[order]
        sequence = columns.sequences[order]
        part = columns.parts[order]
        length = np.where(good, columns.lengths[order], 0)
        first = np.empty(n, np.bool_)
        first[0] = True
        np.not_equal(slot[1:], slot[:-1], out=first[1:])

        # A stretch is a run of frames without a break; `head` is the index of its first frame.
        follows = (
            good
            & _before(first, self._alive[slot], good)
            & (sequence == _before(first, self._sequence[slot], sequence) + np.uint64(1))
            & (part == _before(first, self._part[slot], part))
        )
        phase = np.where(part != 0, 0, _phase(sequence, columns.lengths[order], hop))
        begins = np.where(follows, self._position[slot], phase)  # meaningful at heads
        origins = np.where(follows, self._origin[slot], phase)
        head = np.maximum.accumulate(np.where(first | ~follows, np.arange(n), 0))
        stream = np.cumsum(length) - length  # where each frame's samples lie, in sorted order
        start = begins[head] + stream - stream[head]  # number of each frame's first sample
        end = start + length
        origin = origins[head]

        # Window k begins at sample k * hop. Those that each frame completes:
        k_first = np.maximum((start - window) // hop + 1, -(-origin // hop))
        count = np.maximum((end - window) // hop - k_first + 1, 0)

        chunk = self._chunk(start, columns.lengths)
        chunks = columns.samples.reshape(-1, chunk * len(self.spec.signals))
        lies_at = self._arrival(order, columns.lengths, length, chunk)

        by_arrival = np.empty(n, np.int64)
        by_arrival[order] = np.arange(n)
        counts = count[by_arrival]
        frame = np.repeat(np.arange(n), counts)
        at = by_arrival[frame]
        nth = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)
        sample = (k_first[at] + nth) * hop
        values = self._gather(sample, slot[at], begins[head[at]], stream[head[at]], chunk, chunks, lies_at)

        last = np.flatnonzero(np.append(first[1:], True))
        self._keep(last, slot, begins[head], stream[head], end, origin, chunk, chunks, lies_at)
        slot = slot[last]
        self._position[slot] = end[last]
        self._origin[slot] = origin[last]
        self._sequence[slot] = sequence[last]
        self._part[slot] = part[last]
        self._alive[slot] = good[last]
        return Windows(values, frame, sample + window - 1 - start[at])

    def _none(self) -> Windows:
        shape = (0, self.spec.window, len(self.spec.signals))
        return Windows(np.empty(shape, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))

    def _slots_of(self, assets: list[str]) -> Ints:
        """Each asset's place in the arrays; makes places for new ones."""
        known = self._slots
        try:
            return np.fromiter([known[asset] for asset in assets], np.int64, len(assets))
        except KeyError:
            for asset in assets:
                known.setdefault(asset, len(known))
        self._grow(len(known))
        return np.fromiter([known[asset] for asset in assets], np.int64, len(assets))

    def _grow(self, assets: int) -> None:
        old = len(self._position)
        if assets <= old:
            return
        capacity = max(_FIRST_ASSETS, assets, 2 * old)
        rings = np.empty((capacity, *self._rings.shape[1:]), np.float32)  # pages come when written
        rings[:old] = self._rings
        self._rings = rings
        self._position = np.append(self._position, np.zeros(capacity - old, np.int64))
        self._origin = np.append(self._origin, np.zeros(capacity - old, np.int64))
        self._sequence = np.append(self._sequence, np.zeros(capacity - old, np.uint64))
        self._part = np.append(self._part, np.zeros(capacity - old, np.int64))
        self._alive = np.append(self._alive, np.zeros(capacity - old, np.bool_))

    def _chunk(self, start: Ints, lengths: Ints) -> int:
        """How many samples can always be moved together: a divisor of window, hop and every frame border."""
        chunk = math.gcd(self.spec.window, self.spec.hop)
        if chunk > 1 and ((start % chunk).any() or (lengths % chunk).any()):
            chunk = math.gcd(chunk, int(np.gcd.reduce(start)), int(np.gcd.reduce(lengths)))
        return chunk

    def _arrival(self, order: Ints, lengths: Ints, used: Ints, chunk: int) -> Ints | None:
        """Where each chunk of the sorted stream lies among the chunks as they came; `None`: in its place."""
        came = (np.cumsum(lengths) - lengths)[order]
        shift = (came - (np.cumsum(used) - used)) // chunk
        if not shift[used > 0].any():
            return None
        moved: Ints = np.repeat(shift, used // chunk)
        moved += np.arange(len(moved))
        return moved

    def _gather(
        self,
        sample: Ints,
        slot: Ints,
        begin: Ints,
        stream: Ints,
        chunk: int,
        chunks: NDArray[np.float32],
        lies_at: Ints | None,
    ) -> NDArray[np.float32]:
        """The windows that begin at `sample`: from the ring what came before this call, the rest from it."""
        per_window = self.spec.window // chunk
        shape = (len(sample), self.spec.window, len(self.spec.signals))
        steps = np.arange(per_window)
        since = ((sample - begin) // chunk)[:, None] + steps  # negative: before this call
        source = (stream // chunk)[:, None] + since
        early = since < 0
        if not early.any():
            if lies_at is not None:
                source = lies_at[source]
            source = source.ravel()
            if len(source) == len(chunks) and bool((source == np.arange(len(chunks))).all()):
                return chunks.reshape(shape)  # each frame is a window, as it is
            return chunks.take(source, axis=0).reshape(shape)
        ring = slot[:, None] * per_window + ((sample // chunk)[:, None] + steps) % per_window
        values = np.empty((len(sample) * per_window, chunks.shape[1]), np.float32)
        rings = self._rings.reshape(-1, chunks.shape[1])
        values[early.ravel()] = rings.take(ring[early], axis=0)
        source = source[~early]
        values[~early.ravel()] = chunks.take(source if lies_at is None else lies_at[source], axis=0)
        return values.reshape(shape)

    def _keep(
        self,
        last: Ints,
        slot: Ints,
        begin: Ints,
        stream: Ints,
        end: Ints,
        origin: Ints,
        chunk: int,
        chunks: NDArray[np.float32],
        lies_at: Ints | None,
    ) -> None:
        """Put into the rings what windows yet to come will need of this call's last stretches."""
        window, hop = self.spec.window, self.spec.hop
        next_window = np.maximum((end[last] - window) // hop + 1, -(-origin[last] // hop)) * hop
        since = np.maximum(begin[last], next_window)
        keep = np.maximum(end[last] - since, 0) // chunk
        if not keep.any():
            return
        per_window = window // chunk
        nth = np.arange(int(keep.sum())) - np.repeat(np.cumsum(keep) - keep, keep)
        ring = np.repeat(slot[last] * per_window, keep) + (np.repeat(since // chunk, keep) + nth) % per_window
        source = np.repeat((stream[last] + since - begin[last]) // chunk, keep) + nth
        self._rings.reshape(-1, chunks.shape[1])[ring] = chunks[
            source if lies_at is None else lies_at[source]
        ]


def _before(first: NDArray[np.bool_], held: NDArray, arriving: NDArray) -> NDArray:  # type: ignore[type-arg]
    """Of each frame, what the frame before it had: the asset's state for its first one in this call."""
    before = np.where(first, held, np.roll(arriving, 1))
    return before


def _phase(sequence: NDArray[np.uint64], length: Ints, hop: int) -> Ints:
    """Number of a frame's first sample, counted from sequence 0, up to multiples of `hop`."""
    return (sequence % np.uint64(hop)).astype(np.int64) * (length % hop) % hop
