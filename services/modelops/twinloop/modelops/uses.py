"""What versions are asked, from one look at Triton's counts to the next. Pure.

Triton counts from when a version was loaded. Here it is added up over restarts of Triton, and the rate of the
last minute is told.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from twinloop.tritonio.server import Usage

VERDICTS_PER_S = 200.0
"""Of both versions of a trial together."""
_LOOK_BACK_S = 60.0

Version = tuple[str, int]


@dataclass(slots=True)
class _Seen:
    last: Usage
    total: Usage = field(default_factory=Usage)
    changed_s: float = 0.0
    rates: deque[tuple[float, int]] = field(default_factory=deque)
    """When was looked, and how many windows there had been."""


class Uses:
    """Of every version that is served. Times are in seconds of one clock that only goes forward."""

    def __init__(self) -> None:
        self._seen: dict[Version, _Seen] = {}

    def take(self, model: str, usage: Mapping[int, Usage], at_s: float) -> None:
        """What Triton counts of a model's versions now."""
        for version in [one for name, one in self._seen if name == model and one not in usage]:
            del self._seen[model, version]
        for version, now in usage.items():
            seen = self._seen.get((model, version))
            if seen is None:
                seen = self._seen[model, version] = _Seen(now, changed_s=at_s)
            else:
                anew = now.requests < seen.last.requests  # it has been loaded again since
                seen.total = _add(seen.total, now if anew else _less(now, seen.last))
                if now != seen.last:
                    seen.changed_s = at_s
                seen.last = now
            seen.rates.append((at_s, seen.total.windows))
            while len(seen.rates) > 2 and seen.rates[1][0] <= at_s - _LOOK_BACK_S:
                seen.rates.popleft()

    def since_start(self, version: Version) -> Usage:
        """What a version was asked since it was first seen here."""
        seen = self._seen.get(version)
        return Usage() if seen is None else seen.total

    def quiet_s(self, version: Version) -> float | None:
        """For how long nobody has asked a version, up to the last look; `None` when it was not seen."""
        seen = self._seen.get(version)
        return None if seen is None else seen.rates[-1][0] - seen.changed_s

    def windows_per_s(self, version: Version) -> float | None:
        """Over the last minute; `None` before there were two looks."""
        seen = self._seen.get(version)
        if seen is None or len(seen.rates) < 2 or seen.rates[-1][0] <= seen.rates[0][0]:
            return None
        (first_s, first), (last_s, last) = seen.rates[0], seen.rates[-1]
        return (last - first) / (last_s - first_s)


def every(windows_per_s: float | None) -> int:
    """The n for which verdicts on each n-th window, of two versions, are about `VERDICTS_PER_S` at most."""
    return max(1, math.ceil(2 * (windows_per_s or 0.0) / VERDICTS_PER_S))


def since(now: Usage, then: Usage) -> Usage:
    """What came after `then`."""
    return _less(now, then)


def _less(one: Usage, other: Usage) -> Usage:
    return Usage(
        max(0, one.requests - other.requests),
        max(0, one.failures - other.failures),
        max(0, one.windows - other.windows),
        max(0.0, one.busy_s - other.busy_s),
    )


def _add(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.requests + other.requests,
        one.failures + other.failures,
        one.windows + other.windows,
        one.busy_s + other.busy_s,
    )
