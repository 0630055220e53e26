"""Which windows are learnt from, which ones calibrate, and which ones are only judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MANY: Final = 10
"""From so many recordings on, whole ones are kept apart; of fewer, the end of each."""
JUDGED: Final = 1
"""Of each ten recordings, or tenths of one, that are only judged: the last."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Of one recording: (first, end) of the windows that are learnt from, that calibrate, that are judged."""

    learn: tuple[int, int]
    calibrate: tuple[int, int]
    judge: tuple[int, int]


def parts_of(lengths: Sequence[int], *, apart: bool, calibrate: int) -> list[Parts]:
    """Of recordings of so many windows; `calibrate`: so many of ten parts do, before those that are judged.
    Unless `apart`, all windows serve for everything."""
    if not apart:
        return [Parts((0, n), (0, n), (0, n)) for n in lengths]
    learn = 10 - JUDGED - calibrate
    if len(lengths) < MANY:
        ends = [(n * learn // 10, n * (10 - JUDGED) // 10, n) for n in lengths]
        return [Parts((0, first), (first, second), (second, n)) for first, second, n in ends]
    return [_whole(number % 10, n, learn) for number, n in enumerate(lengths)]


def _whole(turn: int, n: int, learn: int) -> Parts:
    nothing, all_ = (0, 0), (0, n)
    if turn < learn:
        return Parts(all_, nothing, nothing)
    if turn < 10 - JUDGED:
        return Parts(nothing, all_, nothing)
    return Parts(nothing, nothing, all_)
