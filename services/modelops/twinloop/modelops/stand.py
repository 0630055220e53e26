"""What there is, and how two versions differ, for whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops.diff import (
    Said,
    cards_differ,
    compared,
    contracts_differ,
    figures,
    same_windows,
)
from twinloop.modelops.errors import NotKnown
from twinloop.modelops.plan import named
from twinloop.modelops.routes import Routes
from twinloop.modelops.shelf import Held, Shelf
from twinloop.modelops.views import (
    DifferenceView,
    DiffView,
    ModelsView,
    SaidView,
    VersionView,
    figure_view,
    route_view,
    version_view,
)
from twinloop.modelops.watch import Watch
from twinloop.tritonio.errors import TritonError
from twinloop.tritonio.server import InferenceServer


class Stand:
    """Reads only."""

    def __init__(self, routes: Routes, shelf: Shelf, server: InferenceServer, watch: Watch) -> None:
        self._routes = routes
        self._shelf = shelf
        self._server = server
        self._watch = watch

    async def models(self, model: str | None) -> ModelsView:
        """All routes and versions, or those of a model. With Triton away no version is served."""
        routes = await self._routes.current()
        shown = [
            one
            for one in routes.values()
            if model is None or any(each.model == model for each in one.versions())
        ]
        return ModelsView(
            routes=[route_view(one, self._watch.outcome(one.scope)) for one in shown],
            versions=[
                await self._version(one, routes)
                for one in self._shelf.versions(model)
                if one.listed or _use(one, routes)[1]  # else only its folder is yet to go
            ],
        )

    async def diff(self, one: tuple[str, int], other: tuple[str, int]) -> DiffView:
        """Two versions in the repository. Raises `NotKnown`."""
        ours, theirs = self._held(*one), self._held(*other)
        golden, without = await self._golden(ours.contract, theirs.contract)
        return DiffView(
            one=named(ours.contract),
            other=named(theirs.contract),
            contract=[
                DifferenceView(**asdict(each)) for each in contracts_differ(ours.contract, theirs.contract)
            ],
            card=[DifferenceView(**asdict(each)) for each in cards_differ(ours.card, theirs.card)],
            measured=[figure_view(each) for each in figures(ours.card, theirs.card)],
            golden=[SaidView(**asdict(each)) for each in golden],
            without=without,
        )

    def _held(self, model: str, version: int) -> Held:
        held = self._shelf.find(model, version)
        if held is None:
            raise NotKnown(f"there is no {model}:{version}: look at the list")
        return held

    async def _version(self, held: Held, routes: Mapping[str, ModelRoute]) -> VersionView:
        state, scopes = _use(held, routes)
        try:
            served = held.contract.version in await self._server.versions(held.contract.model)
        except TritonError:
            served = False
        return version_view(held, state, scopes, served=served)

    async def _golden(self, one: ModelContract, other: ModelContract) -> tuple[list[Said], str | None]:
        """How both judge the golden windows of each; or why that cannot be told."""
        if not same_windows(one, other):
            return [], "their windows are cut from other signals, or are of another length"
        found = []
        for contract in (one, other):
            golden = await asyncio.to_thread(self._shelf.golden, contract)
            if golden is None:
                continue
            try:
                answers = [
                    await self._server.infer(
                        each, golden.windows, memory=golden.memory if each.memory == contract.memory else None
                    )
                    for each in (one, other)
                ]
            except TritonError as error:
                return [], f"Triton does not answer for both: {error}"
            found.append(compared(named(contract), (one, other), (answers[0], answers[1])))
        return found, None if found else "neither brought golden windows"


def _use(held: Held, routes: Mapping[str, ModelRoute]) -> tuple[str, list[str]]:
    """What a version is at present, and where."""
    uses: dict[str, list[str]] = {}
    for scope, route in routes.items():
        trial = None if route.trial is None else route.trial.contract
        for state, one in (("serving", route.contract), ("trial", trial), ("previous", route.previous)):
            if one is not None and (one.model, one.version) == held.version:
                uses.setdefault(state, []).append(scope)
    for state in ("serving", "trial", "previous"):
        if state in uses:
            return state, sorted(uses[state])
    return ("staged" if held.may_serve else "unfinished"), []
