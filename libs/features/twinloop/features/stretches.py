"""Which frames of a call go on where their asset left off, and the number of each of their samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinloop.features.columns import Columns

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)


class AssetStates:
    """What is remembered of each asset, one array a quality; index: the asset's slot.

    Samples of an asset are numbered. `position` is the number of the next one, `origin` of the first one
    since its ring last began. `sequence`, `part`, `good` and `token` are those of its last frame (`good` is
    false before the first). `parted`: the samples are counted from where a part begins. For
    `WindowBuffer.oldest`: `first_token` and `marks` [asset, K] are the tokens of the frames in which the part
    or ring and the windows yet to come begin; `uneven` tells that a frame of the ring does not begin where a
    ring that begins with it would."""

    def __init__(self, marks: int) -> None:
        self.position = np.zeros(0, np.int64)
        self.origin = np.zeros(0, np.int64)
        self.sequence = np.zeros(0, np.uint64)
        self.part = np.zeros(0, np.int64)
        self.good = np.zeros(0, np.bool_)
        self.parted = np.zeros(0, np.bool_)
        self.token = np.zeros(0, np.int64)
        self.first_token = np.zeros(0, np.int64)
        self.uneven = np.zeros(0, np.bool_)
        self.marks = np.zeros((0, marks), np.int64)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` assets."""
        for name, array in vars(self).items():
            wider = np.zeros((capacity, *array.shape[1:]), array.dtype)
            wider[: len(array)] = array
            setattr(self, name, wider)


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """The frames of one call, those of an asset side by side and in order of arrival; `n` frames.

    A stretch is a run of one asset's frames without a break. The samples of all good frames, in this order,
    are the call's stream. All arrays are int64 [n]: `order`, where the frame stands among those that came;
    `slot` of its asset; `start` and `end`, numbers of its first sample and of the one after its last (equal
    for a bad frame); `fresh`, where a ring that begins with it begins; `head`, index of the first frame of
    its stretch. Of its stretch: `begin`, the number of the first sample in this call; `origin`, the number of
    the first one since the ring began; `stream`, where `begin` lies in the stream. `last` [assets in this
    call]: index of each one's last frame. `silent`: how many frames would have gone on, but for an asset that
    was silent for longer than a memory."""

    order: Ints
    slot: Ints
    start: Ints
    end: Ints
    fresh: Ints
    head: Ints
    begin: Ints
    origin: Ints
    stream: Ints
    last: Ints
    silent: int


def stretches(
    columns: Columns, slots: Ints, states: AssetStates, hop: int, tokens: Ints | None, memory: int | None
) -> Stretches:
    """Find the stretches of a call and bring `states` up to its end.

    A frame whose token is more than `memory` above that of the frame before it, or of the one with which its
    part began, goes on with nothing. In the latter case counting from the part's beginning has ended.
    """
    n = len(slots)
    order = np.argsort(slots, kind="stable")
    slot = slots[order]
    good = columns.good[order]
    sequence = columns.sequences[order]
    part = columns.parts[order]
    length = np.where(good, columns.lengths[order], 0)
    first = np.empty(n, np.bool_)
    first[0] = True
    np.not_equal(slot[1:], slot[:-1], out=first[1:])

    follows = (
        good
        & _before(first, states.good[slot], good)
        & (sequence == _before(first, states.sequence[slot], sequence) + np.uint64(1))
        & (part == _before(first, states.part[slot], part))
    )
    silent = 0
    counted = part != 0  # from where the part begins
    if tokens is not None:
        token = tokens[order]
        if memory is not None:
            lately = token - _before(first, states.token[slot], token) <= memory
            silent = int((follows & ~lately).sum())
            follows &= lately
        head = _heads(first, follows)
        begun = np.where(follows[head], states.first_token[slot], token[head])
        if memory is not None and counted.any():
            counted = np.where(follows[head], states.parted[slot], counted[head])
            old = counted & (token - begun > memory)
            follows &= ~old | _before(first, np.zeros(n, np.bool_), old)  # anew where that begins
            counted &= ~old
    # Where a ring begins: at 0 in a part, else where counting from sequence 0 leads, up to multiples of hop.
    phase = (sequence % np.uint64(hop)).astype(np.int64) * (columns.lengths[order] % hop) % hop
    fresh = np.where(counted, 0, phase)
    begin = np.where(follows, states.position[slot], fresh)  # meaningful at heads
    origin = np.where(follows, states.origin[slot], fresh)
    head = _heads(first, follows)
    begin, origin = begin[head], origin[head]
    before = np.cumsum(length) - length
    stream = before[head]
    start = begin + before - stream
    end = start + length

    last = np.flatnonzero(np.append(first[1:], True))
    ends = slot[last]
    states.position[ends] = end[last]
    states.origin[ends] = origin[last]
    states.sequence[ends] = sequence[last]
    states.part[ends] = part[last]
    states.good[ends] = good[last]
    states.parted[ends] = counted[last]
    if tokens is not None:
        states.token[ends] = token[last]
        states.first_token[ends] = begun[last]
    return Stretches(order, slot, start, end, fresh, head, begin, origin, stream, last, silent)


def _heads(first: Flags, follows: Flags) -> Ints:
    """Of each frame, the index of the first one of its stretch."""
    heads: Ints = np.maximum.accumulate(np.where(first | ~follows, np.arange(len(first)), 0))
    return heads


def _before(first: Flags, held: NDArray[T], arriving: NDArray[T]) -> NDArray[T]:
    """Of each frame, what the frame before it had: the asset's state for its first one in this call."""
    return np.where(first, held, np.roll(arriving, 1))
