"""The assets of one input partition, by number, and what serves each. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frame_batch import named
from twinloop.contracts.models import ModelRoute
from twinloop.detector.routes import Lane, Routes, Served

Ints = NDArray[np.int64]
T = TypeVar("T")

_NOBODY = -1


class Assets:
    """An asset with its signal set has a number, from 0 on in the order of appearance.

    `signals` int64, by number: how many signals the model that serves it takes; -1 where none serves it.
    """

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._revision = routes.revision
        self._numbers: dict[bytes, int] = {}
        self._sources: list[bytes] = []
        self._served: list[Served | None] = []
        self._index()

    def numbers(self, sources: list[bytes]) -> Ints:
        """The number of each source (`frame_batch.source_of`)."""
        known = self._numbers
        try:
            return np.fromiter([known[one] for one in sources], np.int64, len(sources))
        except KeyError:
            for one in sources:
                if one not in known:
                    known[one] = len(known)
                    self._sources.append(one)
                    self._served.append(self._routes.of(*named(one)))
        self._index()
        return np.fromiter([known[one] for one in sources], np.int64, len(sources))

    def reroute(self) -> list[tuple[int, Lane]]:
        """Look the routes up again if they have changed. Returns the assets that have left a lane: cut
        otherwise now, or no longer served."""
        if self._routes.revision == self._revision:
            return []
        self._revision = self._routes.revision
        before, self._served = self._served, [self._routes.of(*named(one)) for one in self._numbers]
        self._index()
        return [
            (number, was.lane)
            for number, (was, now) in enumerate(zip(before, self._served, strict=True))
            if was is not None and (now is None or now.lane is not was.lane)
        ]

    def named(self, number: int) -> tuple[str, str]:
        """The asset and the signal set of a number."""
        return named(self._sources[number])

    def lane(self, number: int) -> Lane:
        """The lane of an asset that is served."""
        return self._lanes[int(self._lane_of[number])]

    def by_lane(self, numbers: Ints) -> Iterator[tuple[Lane, Ints]]:
        """The assets of each lane, as places in `numbers`. All of them must be served."""
        return _apart(self._lanes, self._lane_of[numbers])

    def by_route(self, numbers: Ints) -> Iterator[tuple[ModelRoute, Ints]]:
        """The same for each route."""
        return _apart(self._routed, self._route_of[numbers])

    def _index(self) -> None:
        """What is asked by number, as arrays."""
        n = len(self._served)
        lanes = {one.lane: 0 for one in self._served if one is not None}
        routes = {id(one.route): one.route for one in self._served if one is not None}
        self._lanes, self._routed = list(lanes), list(routes.values())
        lane_no = {lane: k for k, lane in enumerate(self._lanes)}
        route_no = {key: k for k, key in enumerate(routes)}
        self.signals = np.full(n, _NOBODY, np.int64)
        self._lane_of = np.full(n, _NOBODY, np.int64)
        self._route_of = np.full(n, _NOBODY, np.int64)
        for k, one in enumerate(self._served):
            if one is not None:
                self.signals[k] = len(one.lane.spec.signals)
                self._lane_of[k] = lane_no[one.lane]
                self._route_of[k] = route_no[id(one.route)]


def _apart(things: list[T], which: Ints) -> Iterator[tuple[T, Ints]]:
    """Each thing that occurs in `which`, and where."""
    if len(things) == 1 and len(which):
        yield things[0], np.arange(len(which))
        return
    for k in np.unique(which).tolist():
        yield things[k], np.flatnonzero(which == k)
