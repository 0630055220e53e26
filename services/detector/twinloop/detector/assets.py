"""The assets of one input partition, by number, and who judges each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frame_batch import named
from twinloop.detector.cuts import Lane
from twinloop.detector.routes import Bench, Judge, Role, Routes, Share
from twinloop.detector.sample import salt_of

Ints = NDArray[np.int64]

T = TypeVar("T")

_NOBODY = -1
_PLACES = 4
"""On a bench: the version that serves, one on trial, the previous one, and one that is on its way out."""


class Assets:
    """An asset with its signal set has a number, from 0 on in the order of appearance.

    `signals` int64, by number: how many signals its frames must have; -1 where nobody judges it. `behind`:
    whether there are assets with a judge whose windows have no past here, because it was announced when some
    of them had gone by. Such a judge is not asked, as long as there is another one that can decide. `sources`
    [number]; by number, `mine` bool: whether it is in `share`; `salts` uint64: see `sample`.
    """

    def __init__(self, routes: Routes, share: Share) -> None:
        self._routes = routes
        self._share = share
        self.mine = np.empty(0, np.bool_)
        self.salts = np.empty(0, np.uint64)
        self._revision = routes.revision
        self._numbers: dict[bytes, int] = {}
        self.sources: list[bytes] = []
        self._benches: list[Bench] = []
        self._outgone: dict[tuple[str, int, str], Judge] = {}
        self._ready: list[frozenset[Lane]] = []
        """Of each asset, the lanes whose windows are whole."""
        self.behind = False
        self._index()

    def numbers(self, sources: list[bytes]) -> Ints:
        """The number of each source (`frame_batch.source_of`)."""
        known = self._numbers
        try:
            return np.fromiter([known[one] for one in sources], np.int64, len(sources))
        except KeyError:
            mine, salts = self.mine.tolist(), self.salts.tolist()
            for one in sources:
                if one not in known:
                    known[one] = len(known)
                    self.sources.append(one)
                    asset, signal_set = named(one)
                    bench = self._routes.of(asset, signal_set)
                    self._benches.append(bench)
                    self._ready.append(_lanes(bench))
                    mine.append(self._share.holds(signal_set))
                    salts.append(salt_of(one))
            self.mine, self.salts = np.array(mine, np.bool_), np.array(salts, np.uint64)
        self._index()
        return np.fromiter([known[one] for one in sources], np.int64, len(sources))

    def reroute(self) -> list[tuple[int, Lane]]:
        """Look the routes up again if they have changed. Returns the assets that have left a lane: cut
        otherwise now, or no longer judged."""
        if self._routes.revision == self._revision:
            return []
        self._revision = self._routes.revision
        left = []
        for number, source in enumerate(self.sources):
            former, ready = self._benches[number], self._ready[number]
            bench = self._routes.of(*named(source))
            if former and bench and not any(one.may_decide and one.lane in ready for one in bench):
                bench = (*bench, self._outgoing(former, ready))
            before, lanes = _lanes(former), _lanes(bench)
            self._benches[number] = bench
            self._ready[number] = ready & lanes if before else lanes
            left += [(number, lane) for lane in before - lanes]
        self._index()
        return left

    def _outgoing(self, former: Bench, ready: frozenset[Lane]) -> Judge:
        """Who decided so far: nobody of a new bench can, when swaps follow each other too fast for it."""
        (judge, *_) = _sitting(former, ready, {})
        key = judge.contract.model, judge.contract.version, judge.scope
        if key not in self._outgone:
            self._outgone[key] = replace(judge, role=Role.STANDS_BY, may_decide=True)
        return self._outgone[key]

    def lane(self, number: int) -> Lane:
        """A lane of an asset that is judged."""
        return self._benches[number][0].lane

    def by_lane(self, numbers: Ints) -> Iterator[tuple[Lane, Ints]]:
        """The assets of each lane, as places in `numbers`. All of them must be judged."""
        yield from _apart(self._lanes, self._lanes_of[:, numbers])

    def by_judge(self, lane: Lane, numbers: Ints) -> Iterator[tuple[Judge, Ints]]:
        """The same for each judge of windows of `lane`."""
        for judge, some in _apart(self._judges, self._judges_of[:, numbers]):
            if judge.lane is lane:
                yield judge, some

    def _index(self) -> None:
        """What is asked by number, as arrays: a row for each place on a bench."""
        lanes, judges = _Numbers[Lane](), _Numbers[Judge]()
        alike: dict[tuple[Bench, frozenset[Lane]], list[int]] = {}
        for number, key in enumerate(zip(self._benches, self._ready, strict=True)):
            alike.setdefault(key, []).append(number)
        count = len(self._benches)
        self.signals = np.full(count, _NOBODY, np.int64)
        self._lanes_of = np.full((_PLACES, count), _NOBODY, np.int64)
        self._judges_of = np.full((_PLACES, count), _NOBODY, np.int64)
        self.behind = False
        deciding: dict[Judge, Judge] = {}
        for (bench, ready), those in alike.items():
            if not bench:
                continue
            self.signals[those] = len(bench[0].lane.spec.signals)
            self.behind |= not _lanes(bench) <= ready
            for place, lane in enumerate(dict.fromkeys(judge.lane for judge in bench)):
                self._lanes_of[place, those] = lanes.of(lane)
            for place, judge in enumerate(_sitting(bench, ready, deciding)):
                self._judges_of[place, those] = judges.of(judge)
        self._lanes, self._judges = lanes.things, judges.things


class _Numbers(Generic[T]):
    """Things, numbered in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.things: list[T] = []
        self._known: dict[T, int] = {}

    def of(self, thing: T) -> int:
        if thing not in self._known:
            self._known[thing] = len(self.things)
            self.things.append(thing)
        return self._known[thing]


def _sitting(bench: Bench, ready: frozenset[Lane], deciding: dict[Judge, Judge]) -> Bench:
    """Those of a bench who judge now, the one that decides first. `deciding`: who took another's place."""
    able = [one for one in bench if one.lane in ready]
    first = next((one for one in able if one.may_decide), bench[0])
    others = tuple(one for one in able if one is not first)
    if first.role is not Role.DECIDES:
        first = deciding.setdefault(first, replace(first, role=Role.DECIDES))
    return (first, *others)


def _lanes(bench: Bench) -> frozenset[Lane]:
    return frozenset(judge.lane for judge in bench)


def _apart(things: list[T], which: Ints) -> Iterator[tuple[T, Ints]]:
    """Each thing that occurs in `which` [places, N], and at which of N."""
    if len(things) == 1 and which.shape[1]:
        yield things[0], np.flatnonzero((which >= 0).any(axis=0))
        return
    for k in np.unique(which).tolist():
        if k >= 0:
            yield things[k], np.flatnonzero((which == k).any(axis=0))
