"""Who judges whose windows: the topic `models` as a table. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.detector.cuts import Cut, Lane, cut, followable, reads


class Role(StrEnum):
    """What comes of a version's verdicts."""

    DECIDES = "decides"
    """Anomalies, and a sample of verdicts."""
    SHADOWS = "shadows"
    """A sample of verdicts, to compare with those that decide."""
    STANDS_BY = "stands_by"
    """Nothing; its windows, and what it remembers, are kept ready."""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A version's part at some of the assets of a route. Windows of one judge can be asked for together.

    `every`: the verdict on one of so many windows is published; `None`: as the detector is set. `may_decide`:
    in the place of one whose windows have no past yet. `columns`: which of its lane's it reads, in its order;
    `None`: all of them as they are.
    """

    scope: str
    contract: ModelContract
    role: Role
    lane: Lane
    every: int | None = None
    may_decide: bool = True
    columns: NDArray[np.intp] | None = None

    def takes(self, other: Judge) -> bool:
        """Whether it takes windows that were cut for `other` as they are."""
        return self.lane is other.lane and self.contract.signals == other.contract.signals


Bench = tuple[Judge, ...]
"""All judges of an asset. The first decides; while it is not ready, the next one that is."""


class Routes:
    """A route for an asset goes before the route for its signal set. `revision` grows with every change.
    `problems`: why what the topic says of a scope cannot be followed, or only in part."""

    def __init__(self) -> None:
        self.revision = 0
        self.problems: dict[str, str] = {}
        self._by_scope: dict[str, ModelRoute] = {}
        self._lanes: dict[Cut, Lane] = {}
        self._benches: dict[tuple[str, bool], Bench] = {}  # one object, however many assets sit before it

    def __len__(self) -> int:
        return len(self._by_scope)

    def set(self, scope: str, route: ModelRoute | None) -> None:
        """What the topic says of `scope` now; `None`: nobody serves it any more. Where that cannot be
        followed, what it said before stays."""
        self.problems.pop(scope, None)
        if route is None:
            self._by_scope.pop(scope, None)
        else:
            followed, why = followable(route)
            if followed is not None:
                self._by_scope[scope] = followed
            if why is not None:
                self.problems[scope] = why
        self._benches.clear()
        self.revision += 1

    def refuse(self, scope: str, why: str) -> None:
        """What the topic says of `scope` now cannot be read: what it said before stays."""
        self.problems[scope] = why

    def problem(self) -> str | None:
        """Health check: what cannot be followed."""
        told = (f"the route of {scope} cannot be followed: {why}" for scope, why in self.problems.items())
        return next(told, None)

    def of(self, asset: str, signal_set: str) -> Bench:
        """Who judges these frames; empty when nobody does."""
        for scope in (asset, signal_set):
            route = self._by_scope.get(scope)
            if route is not None and route.contract.signal_set == signal_set:
                key = scope, route.trial is not None and route.trial.decides_for(asset)
                if key not in self._benches:
                    self._benches[key] = self._bench(route, trial_decides=key[1])
                return self._benches[key]
        return ()

    def _bench(self, route: ModelRoute, *, trial_decides: bool) -> Bench:
        every = None if route.trial is None else route.trial.every

        def judge(contract: ModelContract, role: Role, *, may_decide: bool = True) -> Judge:
            lane = self._lane(contract)
            return Judge(route.scope, contract, role, lane, every, may_decide, reads(contract))

        serving = judge(route.contract, Role.SHADOWS if trial_decides else Role.DECIDES)
        bench = [serving]
        if route.trial is not None:
            role = Role.DECIDES if trial_decides else Role.SHADOWS
            trial = judge(route.trial.contract, role, may_decide=trial_decides)
            bench = [trial, serving] if trial_decides else [serving, trial]
        if route.previous is not None:
            bench.append(judge(route.previous, Role.STANDS_BY))
        return tuple(bench)

    def _lane(self, contract: ModelContract) -> Lane:
        key = cut(contract)
        return self._lanes.setdefault(key, Lane(*key))

    def now(self, judge: Judge) -> Judge | None:
        """Who is to be asked instead of `judge`, whose windows were cut some time ago: whoever serves now, if
        the route knows its version no more and the windows are cut alike; else itself.

        `None`: nobody, nothing comes of it any more.
        """
        route = self._by_scope.get(judge.scope)
        if route is None or self.knows(judge):
            return judge
        if judge.role is not Role.DECIDES:
            return None
        (first, *_) = self._bench(route, trial_decides=False)
        return first if first.takes(judge) else judge

    def knows(self, judge: Judge) -> bool:
        """Whether its version is still named by its route: else nobody keeps it loaded."""
        route = self._by_scope.get(judge.scope)
        return route is not None and any(judge.contract == one for one in route.versions())

    def lanes(self) -> frozenset[str]:
        """The names of all lanes."""
        return frozenset(self._lane(one).name for one in self.contracts())

    def deciding(self) -> list[ModelContract]:
        """Every model version that decides for somebody, once."""
        routes = self._by_scope.values()
        trials = [one.trial for one in routes if one.trial is not None]
        canaries = [one.contract for one in trials if one.share > 0 or one.assets]
        return _once([*(one.contract for one in routes), *canaries])

    def contracts(self) -> list[ModelContract]:
        """Every model version that judges somebody, once."""
        return _once(one for route in self._by_scope.values() for one in route.versions())


def _once(contracts: Iterable[ModelContract]) -> list[ModelContract]:
    return list({(one.model, one.version): one for one in contracts}.values())


@dataclass(frozen=True, slots=True)
class Share:
    """Which signal sets this detector judges, where several share the work, each as a group of its own: a
    model that hangs then holds back its own stream alone. `only`: these; empty: all but `without`.

    Exactly one of them must be without `only`: what is no frame at all is its to refuse.
    """

    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    def holds(self, signal_set: str) -> bool:
        """Whether frames with `signal_set` are its."""
        return signal_set in self.only if self.only else signal_set not in self.without

    @property
    def rest(self) -> bool:
        """Whether what is no frame is its, too."""
        return not self.only


ALL = Share()
