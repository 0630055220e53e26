"""The trials of the routes in force, and what the verdicts of each have shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelRoute
from twinloop.modelops.pairs import Comparison
from twinloop.modelops.plan import same_trial
from twinloop.modelops.trial import Outcome
from twinloop.modelops.uses import Uses, since
from twinloop.tritonio.server import Usage


class Running:
    """A trial, and what Triton had counted of both versions when it was first seen here."""

    def __init__(self, route: ModelRoute, uses: Uses, block: int) -> None:
        self.comparison = Comparison(route, block)
        self.outcome: Outcome | None = None
        """As it was judged last."""
        self._uses = uses
        trial = self.comparison.trial
        self._versions = (route.contract.model, route.contract.version), (trial.model, trial.version)
        self._before = [uses.since_start(one) for one in self._versions]

    def used(self) -> tuple[Usage, Usage]:
        """Since then: of the version that serves, and of the one on trial."""
        serving, trial = (
            since(self._uses.since_start(one), before)
            for one, before in zip(self._versions, self._before, strict=True)
        )
        return serving, trial


class Trials:
    """By scope. `block`: see `Limits`."""

    def __init__(self, uses: Uses, block: int) -> None:
        self._uses = uses
        self._block = block
        self._routes: Mapping[str, ModelRoute] = {}
        self._running: dict[str, Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[tuple[str, Running]]:
        return iter(list(self._running.items()))

    def sync(self, routes: Mapping[str, ModelRoute]) -> None:
        """Begin with trials that are new, let go of those that are over."""
        self._routes = routes
        for scope, trial in self:
            route = routes.get(scope)
            if route is None or not same_trial(route, trial.comparison.route):
                del self._running[scope]
            else:
                trial.comparison.route = route  # its share or terms may be others now
        for scope, route in routes.items():
            if route.trial is not None and scope not in self._running:
                self._running[scope] = Running(route, self._uses, self._block)

    def take(self, verdict: Verdict) -> None:
        """A verdict, to the trial of its scope."""
        if (trial := self._running.get(self._scope(verdict))) is not None:
            trial.comparison.take(verdict)

    def shown(self, route: ModelRoute) -> Comparison | None:
        """What the trial of a route has shown so far; `None` of one that has none, or is not followed yet."""
        trial = self._running.get(route.scope)
        if trial is None or not same_trial(route, trial.comparison.route):
            return None
        return trial.comparison

    def of(self, scope: str) -> Running | None:
        """The trial that is followed at a scope."""
        return self._running.get(scope)

    def _scope(self, verdict: Verdict) -> str:
        """As the detector chooses: a route for the asset goes before that for its signal set."""
        own = self._routes.get(verdict.asset)
        judged = own is not None and own.contract.signal_set == verdict.signal_set
        return verdict.asset if judged else verdict.signal_set
