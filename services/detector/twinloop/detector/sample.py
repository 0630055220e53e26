"""Which verdicts are published: a fair draw among windows, the same for whoever draws. Pure.

It depends on where a window ends, and on nothing else: of versions whose windows end alike, verdicts on
the same windows are published, and of others on the same share.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.uint64]

_SEQUENCE, _ROW = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_MIX = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
    (np.uint64(31), np.uint64(1)),
)
"""The last steps of SplitMix64 (Steele, Lea and Flood, 2014)."""


def salt_of(source: bytes) -> int:
    """What keeps the draws of an asset apart from those of others: 64 bits."""
    return int.from_bytes(hashlib.blake2b(source, digest_size=8).digest())


def drawn(salts: Numbers, sequences: Numbers, rows: NDArray[np.int64], every: int) -> list[int]:
    """One of `every` windows on average, by index; none for 0. Those that are drawn for a multiple of `every`
    are among them. All arrays are [N]: the salt of a window's asset, and where the window ends."""
    if every <= 1:
        return list(range(len(salts))) if every else []
    number = salts + sequences * _SEQUENCE + rows.astype(np.uint64) * _ROW
    for shift, factor in _MIX:
        number = (number ^ (number >> shift)) * factor
    chosen: list[int] = np.flatnonzero(number % np.uint64(every) == 0).tolist()
    return chosen
