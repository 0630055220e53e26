"""Frames of one signal set as arrays: what windows are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """`n` frames of one signal set, in order of arrival.

    `assets` int64 [n], a number for each asset, from 0 on; `sequences` uint64 [n]; `parts` int64 [n], equal
    for equal part ids and 0 for none (a hash, so it means nothing outside this process); `lengths` int64 [n],
    samples a frame; `good` bool [n], false where a quality bit is set; `samples` float32 [sum of lengths,
    signals], frame after frame."""

    assets: NDArray[np.int64]
    sequences: NDArray[np.uint64]
    parts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    good: NDArray[np.bool_]
    samples: NDArray[np.float32]

    @classmethod
    def of(cls, frames: Sequence[Frame], numbers: dict[str, int] | None = None) -> Columns:
        """The frames as columns. They must be at least one, and all have the same number of signals.

        `numbers` remembers the assets' numbers from one call to the next.
        """
        known = {} if numbers is None else numbers
        n = len(frames)
        blocks = [frame.samples for frame in frames]
        return cls(
            assets=np.fromiter([known.setdefault(one.asset, len(known)) for one in frames], np.int64, n),
            sequences=np.fromiter([frame.sequence for frame in frames], np.uint64, n),
            parts=np.fromiter([hash(frame.part_id) for frame in frames], np.int64, n),
            lengths=np.fromiter([len(block) for block in blocks], np.int64, n),
            good=np.fromiter([frame.bad is None or not frame.bad.any() for frame in frames], np.bool_, n),
            samples=np.concatenate(blocks),
        )
