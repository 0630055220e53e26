"""Windows over the samples of many assets at once, by vectorised indexing.

Where windows lie. A window is `window` consecutive samples of one asset; it never spans a gap in the
sequence, a change of part, or a frame with a quality bit set (such a frame contributes nothing): there the
asset's ring begins anew. Windows begin every `hop` samples, counted

- from where the ring began, where frames carry a part id: windows lie alike in every part;
- else from sequence 0 (`sequence * frame length`): windows lie alike wherever reading begins, so a reader
  that starts in the middle of the stream finds the same windows as one that has read all of it (as long
  as the publisher keeps the frame length).

A reader with a bounded memory counts in tokens, which grow from frame to frame. So that it finds the same
windows wherever in the stream it began, as long as that was at least five memories ago: there are none that
span more than a memory; an asset that was silent for longer begins anew; and so does one whose part began
longer ago, counted from sequence 0 from then on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.features.columns import Columns
from twinloop.features.stretches import AssetStates, Ints, Stretches, stretches

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
    completed each window; `row` int64 [N]: index of the window's last sample in that frame. `too_wide`: how
    many were complete, but span more than a memory; `silent`: how many frames began anew because their asset
    was silent for longer than a memory.
    """

    values: NDArray[np.float32]
    frame: Ints
    row: Ints
    too_wide: int = 0
    silent: int = 0

    def __len__(self) -> int:
        return len(self.frame)


class WindowBuffer:
    """The open windows of every asset of one partition and one signal set.

    The rings lie in one array [assets, window, signals] that grows geometrically: sample i of an asset lies
    at i % window. A push costs a fixed number of array operations, however many assets, frames and windows.

    `memory`: in tokens. Without it a buffer remembers everything."""

    def __init__(self, spec: WindowSpec, memory: int | None = None) -> None:
        self.spec = spec
        self._memory = memory
        self._numbers: dict[str, int] = {}  # of assets that come by name
        self._slots = np.full(0, -1, np.int64)  # by the number of an asset
        self._assets = 0
        self._rings = np.empty((0, spec.window, len(spec.signals)), np.float32)
        self._states = AssetStates(marks=(spec.window - 1) // spec.hop + 1)

    @property
    def assets(self) -> int:
        """How many assets have a ring here."""
        return self._assets

    def push(self, frames: Sequence[Frame], tokens: Sequence[int] | None = None) -> Windows:
        """Take frames in order of arrival; returns the windows that they complete.

        Each frame must have the signals of the spec; several frames of one asset may come in one call.
        `tokens` names each frame for `oldest`, ascending: its offset.
        """
        if not frames:
            shape = (0, self.spec.window, len(self.spec.signals))
            return Windows(np.empty(shape, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
        columns = Columns.of(frames, self._numbers)
        return self.push_columns(columns, None if tokens is None else np.asarray(tokens, np.int64))

    def push_columns(self, columns: Columns, tokens: Ints | None = None) -> Windows:
        """The same, for frames that are columns already."""
        window, hop = self.spec.window, self.spec.hop
        n = len(columns.assets)
        slots = self._slots_of(columns.assets)
        found = stretches(columns, slots, self._states, hop, tokens, self._memory)
        stream = _Stream(columns, found, math.gcd(window, hop))

        # Window k begins at sample k * hop. How many does each frame complete, and which is the first?
        first = self._next(found.start, found.origin)
        count = np.maximum((found.end - window) // hop - first + 1, 0)

        by_arrival = np.empty(n, np.int64)
        by_arrival[found.order] = np.arange(n)
        counts = count[by_arrival]
        frame = np.repeat(np.arange(n), counts)
        index = by_arrival[frame]  # of each window's last frame, in `found`
        sample = (first[index] + _nth(counts)) * hop
        too_wide = 0
        if tokens is not None and self._memory is not None and len(sample):
            near = self._near(sample, index, found, tokens)
            if not near.all():
                frame, index, sample = frame[near], index[near], sample[near]
                too_wide = len(near) - len(frame)
        values = self._values(sample, index, found, stream)
        self._keep(found, stream)
        if tokens is not None:
            self._mark(found, tokens)
        row = sample + window - 1 - found.start[index]
        return Windows(values, frame, row, too_wide, found.silent)

    def has_parts(self) -> bool:
        """Whether a ring is one of a part."""
        return bool((self._states.good & (self._states.part != 0)).any())

    def oldest(self, position: int | None = None) -> int | None:
        """The token of the oldest frame that a window yet to come depends on; `None` when there is none.

        `position` is the next frame's token, for a buffer with `memory`. A new buffer that is pushed every
        frame from there on finds the same windows from here on."""
        states = self._states
        if not len(states.good):
            return None
        k = self._next(states.position, states.origin)
        marked = states.marks[np.arange(len(k)), k % states.marks.shape[1]]
        tokens = np.where(k * self.spec.hop < states.position, marked, states.token)
        tokens = np.where(states.uneven, states.first_token, tokens)
        needed = states.good
        if position is not None and self._memory is not None:
            memory = self._memory
            needed = needed & (states.token >= position - memory)
            tokens = np.maximum(tokens, position - memory)
            # Whether a part is older than a memory is known to whoever was there when it began, or has seen
            # it for two memories; its ring then began anew within two more.
            since = np.maximum(states.first_token, position - 4 * memory)
            tokens = np.where(states.part != 0, since, tokens)
        return int(tokens[needed].min()) if needed.any() else None

    def forget(self, asset: int) -> None:
        """Drop the open windows of an asset: its next frame begins anew. No error for an unknown one."""
        if asset < len(self._slots) and (slot := self._slots[asset]) >= 0:
            self._states.good[slot] = False

    def _next(self, position: Ints, origin: Ints) -> Ints:
        """The first window that is not complete at `position`, of a ring that began at `origin`."""
        window, hop = self.spec.window, self.spec.hop
        return np.maximum((position - window) // hop + 1, -(-origin // hop))

    def _slots_of(self, assets: Ints) -> Ints:
        """Each asset's place in the arrays; makes places for new ones."""
        numbers = int(assets.max()) + 1
        if numbers > len(self._slots):
            slots = np.full(max(_FIRST_ASSETS, numbers, 2 * len(self._slots)), -1, np.int64)
            slots[: len(self._slots)] = self._slots
            self._slots = slots
        found = self._slots[assets]
        if (found < 0).any():
            new = np.unique(assets[found < 0])
            self._slots[new] = np.arange(self._assets, self._assets + len(new))
            self._assets += len(new)
            if self._assets > len(self._rings):
                capacity = max(_FIRST_ASSETS, self._assets, 2 * len(self._rings))
                rings = np.empty((capacity, *self._rings.shape[1:]), np.float32)  # takes memory when written
                rings[: len(self._rings)] = self._rings
                self._rings = rings
                self._states.grow(capacity)
            found = self._slots[assets]
        return found

    def _values(self, sample: Ints, index: Ints, found: Stretches, stream: _Stream) -> NDArray[np.float32]:
        """The windows that begin at `sample`: what came before this call from the rings, the rest from it."""
        per_window = self.spec.window // stream.chunk
        shape = (len(sample), self.spec.window, len(self.spec.signals))
        steps = np.arange(per_window)
        since = ((sample - found.begin[index]) // stream.chunk)[:, None] + steps
        place = (found.stream[index] // stream.chunk)[:, None] + since
        early = since < 0
        if not early.any():
            return stream.take(place.ravel()).reshape(shape)
        ring = found.slot[index, None] * per_window + ((sample // stream.chunk)[:, None] + steps) % per_window
        values = np.empty((*place.shape, stream.chunks.shape[1]), np.float32)
        values[early] = self._rings.reshape(-1, stream.chunks.shape[1]).take(ring[early], axis=0)
        values[~early] = stream.take(place[~early])
        return values.reshape(shape)

    def _near(self, sample: Ints, index: Ints, found: Stretches, tokens: Ints) -> NDArray[np.bool_]:
        """Of each window that begins at `sample`, whether it spans no more than a memory."""
        memory, marks = self._memory or 0, self._states.marks
        begun = marks[found.slot[index], sample // self.spec.hop % marks.shape[1]]
        inside = sample >= found.begin[index]
        if tokens[-1] - tokens[0] <= memory:
            begun[inside] = tokens[-1]
        else:
            place = found.stream[index] + sample - found.begin[index]
            frame = np.searchsorted(np.cumsum(found.end - found.start), place[inside], side="right")
            begun[inside] = tokens[found.order[frame]]
        near: NDArray[np.bool_] = tokens[found.order[index]] - begun <= memory
        return near

    def _keep(self, found: Stretches, stream: _Stream) -> None:
        """Put into the rings what windows yet to come will need of each asset's last stretch."""
        last = found.last
        begin, end = found.begin[last], found.end[last]
        since = np.maximum(begin, self._next(end, found.origin[last]) * self.spec.hop)
        count = np.maximum(end - since, 0) // stream.chunk
        if not count.any():
            return
        per_window = self.spec.window // stream.chunk
        nth = _nth(count)
        ring = np.repeat(found.slot[last] * per_window, count)
        ring += (np.repeat(since // stream.chunk, count) + nth) % per_window
        place = np.repeat((found.stream[last] + since - begin) // stream.chunk, count) + nth
        self._rings.reshape(-1, stream.chunks.shape[1])[ring] = stream.take(place)

    def _mark(self, found: Stretches, tokens: Ints) -> None:
        """Remember the frame in which each window yet to come, and each ring, begins."""
        states, hop = self._states, self.spec.hop
        last = found.last
        slot, head, begin, end = found.slot[last], found.head[last], found.begin[last], found.end[last]
        new = begin == found.origin[last]
        odd = found.start % hop != found.fresh % hop
        odds = np.cumsum(odd)
        states.uneven[slot] = (odds[last] - odds[head] + odd[head] > 0) | (~new & states.uneven[slot])
        k = np.maximum(self._next(end, found.origin[last]), -(-begin // hop))
        count = np.maximum((end - 1) // hop - k + 1, 0)
        windows = np.repeat(k, count) + _nth(count)
        place = np.repeat(found.stream[last] - begin, count) + windows * hop
        frame = np.searchsorted(np.cumsum(found.end - found.start), place, side="right")
        states.marks[np.repeat(slot, count), windows % states.marks.shape[1]] = tokens[found.order[frame]]


class _Stream:
    """The samples of a call's good frames in the order of `Stretches`, moved in chunks.

    `chunk` is how many samples can always be moved together: a divisor of `most` and of every border
    between frames.
    """

    def __init__(self, columns: Columns, found: Stretches, most: int) -> None:
        lengths = columns.lengths
        if most > 1 and ((found.start % most).any() or (lengths % most).any()):
            most = math.gcd(most, int(np.gcd.reduce(found.start)), int(np.gcd.reduce(lengths)))
        self.chunk = most
        self.chunks = columns.samples.reshape(-1, most * columns.samples.shape[1])
        used = found.end - found.start
        came = (np.cumsum(lengths) - lengths)[found.order]
        shift = (came - (np.cumsum(used) - used)) // most
        self._moved: Ints | None = None
        if shift[used > 0].any():
            self._moved = np.repeat(shift, used // most)
            self._moved += np.arange(len(self._moved))

    def take(self, places: Ints) -> NDArray[np.float32]:
        """The chunks at `places` in the stream. Not a copy when they are all chunks as they came."""
        if self._moved is not None:
            places = self._moved[places]
        elif len(places) == len(self.chunks) and bool((places == np.arange(len(places))).all()):
            return self.chunks
        return self.chunks.take(places, axis=0)


def _nth(counts: Ints) -> Ints:
    """0, 1, ... for each count: [2, 3] gives [0, 1, 0, 1, 2]."""
    nth: Ints = np.arange(int(counts.sum()))
    nth -= np.repeat(np.cumsum(counts) - counts, counts)
    return nth
