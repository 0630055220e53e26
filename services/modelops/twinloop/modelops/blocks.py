"""What pairs of verdicts say, in pieces that may be taken for independent: blocks of windows. Pure.

An alarm is held, windows overlap, a fault lasts: what one window says, the next ones say again, and a bet on
each of them would take one alarm for many. So an asset's windows are cut into blocks of equal length, and how
many more alarms one version has than the other in every second block, per window, is one piece of evidence.
The block between keeps it apart from the next. Where nothing lasts longer than a block, and assets have
nothing to do with each other, no piece tells anything of another one.

How long is a block? At least `least` windows, doubled until it is no shorter than the longest alarm that only
one of both has raised. All lengths are kept at once, each a rung of a ladder: two blocks of one rung are a
block of the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

RUNGS: Final = 16


@dataclass(slots=True)
class _Alarm:
    """One that lasts: in how many windows of it the other version has none."""

    alone: int = 0

    def goes_on(self, alarm: bool, other: bool) -> int:
        """One window later; the length of the one that has ended with it, if one has."""
        if alarm:
            self.alone += not other
            return 0
        ended, self.alone = self.alone, 0
        return ended


@dataclass(slots=True)
class _Asset:
    total: int = 0
    filled: int = 0
    first: list[int | None] = field(default_factory=lambda: [None] * RUNGS)
    """By rung: the sum of a block that is complete, if the one after it is not yet."""
    serving: _Alarm = field(default_factory=_Alarm)
    trial: _Alarm = field(default_factory=_Alarm)


class Blocks:
    """Of many assets; each one's windows in their order, however they are mixed with those of others."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._assets: dict[str, _Asset] = {}
        self._means: list[Counter[float]] = [Counter() for _ in range(RUNGS)]
        self._longest = 0

    def add(self, asset: str, *, serving: bool, trial: bool) -> None:
        """Which of both has raised an alarm on the next window of an asset."""
        at = self._assets.setdefault(asset, _Asset())
        ended = at.serving.goes_on(serving, trial), at.trial.goes_on(trial, serving)
        self._longest = max(self._longest, *ended)
        at.total += trial - serving
        at.filled += 1
        if at.filled == self._least:
            self._close(at)

    def length(self, *, ended: bool) -> int:
        """Of a block: by the alarms that have `ended`, or by all of them."""
        return self._least << self._rung(ended)

    def means(self, *, ended: bool) -> Mapping[float, int]:
        """How often every second block had which mean, from -1 to 1."""
        return self._means[self._rung(ended)]

    def _rung(self, ended: bool) -> int:
        longest = self._longest
        if not ended:
            lasting = (one.alone for at in self._assets.values() for one in (at.serving, at.trial))
            longest = max(longest, max(lasting, default=0))
        in_blocks = -(-longest // self._least)
        return min(max(0, in_blocks - 1).bit_length(), RUNGS - 1)

    def _close(self, at: _Asset) -> None:
        """A block of the lowest rung is complete, and with it those of the rungs above that end there."""
        total, at.total, at.filled = at.total, 0, 0
        for rung in range(RUNGS):
            first = at.first[rung]
            if first is None:
                at.first[rung] = total
                self._means[rung][total / (self._least << rung)] += 1
                return
            at.first[rung], total = None, first + total
