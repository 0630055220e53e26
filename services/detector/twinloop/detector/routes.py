"""Who is served by which model: the topic `models` as a table. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.features.windows import WindowSpec


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Assets whose windows are cut alike, whatever model judges them. One object a cut."""

    signal_set: str
    spec: WindowSpec


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An asset's answer: its lane, and the route that it is judged by."""

    lane: Lane
    route: ModelRoute


class Routes:
    """A route for an asset goes before the route for its signal set. `revision` grows with every change."""

    def __init__(self) -> None:
        self.revision = 0
        self._by_scope: dict[str, ModelRoute] = {}
        self._lanes: dict[tuple[str, WindowSpec], Lane] = {}
        self._served: dict[str, Served] = {}  # by scope: one object, however many assets it serves

    def __len__(self) -> int:
        return len(self._by_scope)

    def set(self, scope: str, route: ModelRoute | None) -> None:
        """What the topic says of `scope` now; `None`: nobody serves it any more."""
        if route is None:
            self._by_scope.pop(scope, None)
        else:
            self._by_scope[scope] = route
        self._served.clear()
        self.revision += 1

    def of(self, asset: str, signal_set: str) -> Served | None:
        """What serves these frames; `None` when nothing does."""
        for scope in (asset, signal_set):
            route = self._by_scope.get(scope)
            if route is not None and route.contract.signal_set == signal_set:
                if scope not in self._served:
                    cut = _cut(route.contract)
                    self._served[scope] = Served(self._lanes.setdefault(cut, Lane(*cut)), route)
                return self._served[scope]
        return None

    def now(self, route: ModelRoute) -> ModelRoute:
        """The route that has taken the place of `route`, if its windows are cut alike; else `route`."""
        newer = self._by_scope.get(route.scope, route)
        return newer if _cut(newer.contract) == _cut(route.contract) else route

    def contracts(self) -> list[ModelContract]:
        """Every model version that serves somebody, once."""
        every = (route.contract for route in self._by_scope.values())
        return list({(one.model, one.version): one for one in every}.values())


def _cut(contract: ModelContract) -> tuple[str, WindowSpec]:
    return contract.signal_set, WindowSpec(contract.window, contract.hop, contract.signals)
