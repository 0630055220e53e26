"""What an edge node still has to tell: parts that were not sent, and parts that may not have arrived. Pure.

    backlog.add(report, now_ms)     a part was made
    backlog.take(now_ms)            the oldest that was not sent; whoever takes it sends it
    backlog.doubt(now_ms)           the broker or the host went: the last parts that were sent come again

Data has QoS 0: nobody tells what arrived. What was sent shortly before somebody was found to be away may
have been lost on its way, or in the memory of a host that was killed. It is sent again, and whoever has it
drops the repeat. So no part is lost, as long as no more than `UNSURE_PARTS` of its station are on their way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import chain
from typing import Final

from twinloop.simulator.plant import MadePart

UNSURE_PARTS: Final = 30
"""Of a station, at most: readers know a repeat among the last 32, and refuse what is further back."""
UNSURE_MS: Final = 30_000
"""Longer than it takes a broker to notice that a host's machine died, or this one that the broker's did."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A part, and when it was made: `made_ms` by the edge node's clock, milliseconds since 1970."""

    part: MadePart
    made_ms: int

    @property
    def ended_ms(self) -> int:
        """The same by its station's clock, which may be wrong."""
        return self.made_ms + round(1000 * self.part.clock_offset_s)


@dataclass(frozen=True, slots=True)
class _Sent:
    number: int
    at_ms: int
    report: Report


class Backlog:
    """At most `most` parts wait, none longer than `longest_ms`; the oldest fall off first.

    Each method that may let parts fall off returns how many did.
    """

    def __init__(self, most: int, longest_ms: int) -> None:
        self._most = most
        self._longest_ms = longest_ms
        self._waiting: deque[Report] = deque()
        self._again = 0  # of those that wait, the first ones, which were sent before
        self._unsure: dict[str, deque[_Sent]] = {}
        self._sent = 0

    def __len__(self) -> int:
        """How many parts wait to be sent."""
        return len(self._waiting)

    @property
    def unsent(self) -> int:
        """How many of them were never sent."""
        return len(self._waiting) - self._again

    def add(self, report: Report, now_ms: int) -> int:
        """`report` waits."""
        self._waiting.append(report)
        return self._shorten(now_ms)

    def take(self, now_ms: int) -> Report | None:
        """The oldest that waits. It is taken for sent, and may come again."""
        if not self._waiting:
            return None
        report = self._first()
        sent = self._unsure.setdefault(report.part.station, deque(maxlen=UNSURE_PARTS))
        sent.append(_Sent(self._sent, now_ms, report))
        self._sent += 1
        return report

    def doubt(self, now_ms: int) -> int:
        """What was sent lately waits again, before all else, in the order in which it was sent."""
        lately = [one for one in chain(*self._unsure.values()) if now_ms - one.at_ms <= UNSURE_MS]
        lately.sort(key=lambda one: one.number, reverse=True)
        self._waiting.extendleft(one.report for one in lately)
        self._again += len(lately)
        self._unsure.clear()
        return self._shorten(now_ms)

    def _shorten(self, now_ms: int) -> int:
        before = len(self._waiting)
        while self._waiting and (
            len(self._waiting) > self._most or now_ms - self._waiting[0].made_ms > self._longest_ms
        ):
            self._first()
        return before - len(self._waiting)

    def _first(self) -> Report:
        self._again = max(0, self._again - 1)
        return self._waiting.popleft()
