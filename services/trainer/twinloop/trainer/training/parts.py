"""Which windows are learnt from, which ones calibrate, and which ones are only judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MANY: Final = 10
"""From so many recordings on, whole ones are kept apart; of fewer, the end of each."""
CALIBRATE, JUDGE = 8, 9
"""Of each ten recordings, or tenths of a recording, these."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Of one recording: (first, end) of the windows that are learnt from, that calibrate, that are judged."""

    learn: tuple[int, int]
    calibrate: tuple[int, int]
    judge: tuple[int, int]


def parts_of(lengths: Sequence[int], *, apart: bool) -> list[Parts]:
    """Of recordings of so many windows. Unless `apart`, all windows serve for everything."""
    if not apart:
        return [Parts((0, n), (0, n), (0, n)) for n in lengths]
    if len(lengths) < MANY:
        return [_in_time(n) for n in lengths]
    return [_whole(number, n) for number, n in enumerate(lengths)]


def _in_time(n: int) -> Parts:
    calibrate, judge = n * CALIBRATE // 10, n * JUDGE // 10
    return Parts((0, calibrate), (calibrate, judge), (judge, n))


def _whole(number: int, n: int) -> Parts:
    nothing, all_ = (0, 0), (0, n)
    turn = number % 10
    return Parts(
        nothing if turn in (CALIBRATE, JUDGE) else all_,
        all_ if turn == CALIBRATE else nothing,
        all_ if turn == JUDGE else nothing,
    )
