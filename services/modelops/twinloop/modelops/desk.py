"""What persons decide, and what follows from a trial: one change at a time, written down before it counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops import plan
from twinloop.modelops.errors import Conflict, NotKnown
from twinloop.modelops.loading import Keeper
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.plan import MODELOPS, Said, Terms, named
from twinloop.modelops.routes import Routes
from twinloop.modelops.shelf import Held, Shelf
from twinloop.modelops.trials import Trials
from twinloop.modelops.uses import Uses, every
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging
from twinloop.tritonio.errors import TritonError, TritonUnavailable
from twinloop.tritonio.server import InferenceServer

log = logging.logger(__name__)

_AUDIT_S = 2.0
_LOOK_S = 0.5

Next = Callable[[ModelRoute | None, Said], ModelRoute]


class Desk:
    """`now_s` is a clock that only goes forward, the one that `uses` is fed by."""

    def __init__(
        self,
        routes: Routes,
        trials: Trials,
        shelf: Shelf,
        server: InferenceServer,
        keeper: Keeper,
        uses: Uses,
        audit: Audit,
        clock: Clock,
        metrics: Metrics,
        now_s: Callable[[], float],
        *,
        quiet_s: float,
        retire_s: float,
    ) -> None:
        self._routes = routes
        self._trials = trials
        self._shelf = shelf
        self._server = server
        self._keeper = keeper
        self._uses = uses
        self._audit = audit
        self._clock = clock
        self._metrics = metrics
        self._now_s = now_s
        self._quiet_s = quiet_s
        self._retire_s = retire_s
        self._one = asyncio.Lock()

    async def shadow(
        self, scope: str | None, version: tuple[str, int], terms: Terms, by: str, reason: str
    ) -> ModelRoute:
        """Try a version beside the one that serves. Without a `scope`: that of its signal set."""
        await self._prepare(version)
        async with self._one:
            candidate = await self._servable(*version)
            scope = scope or candidate.signal_set

            def following(route: ModelRoute | None, said: Said) -> ModelRoute:
                return plan.shadow(scope, route, candidate, self._paced(route, terms), said)

            return await self._change("shadow", scope, by, reason, following)

    async def canary(
        self,
        scope: str | None,
        version: tuple[str, int] | None,
        share: float,
        assets: list[str],
        terms: Terms,
        by: str,
        reason: str,
        *,
        cold: bool = False,
    ) -> ModelRoute:
        """Let a version, or the one on trial, decide for some assets; `cold`: also where it is quiet yet."""
        await self._prepare(version)
        async with self._one:
            candidate, scope = await self._meant(scope, version)

            def following(route: ModelRoute | None, said: Said) -> ModelRoute:
                return plan.canary(scope, route, candidate, share, assets, self._paced(route, terms), said)

            return await self._change("canary", scope, by, reason, following, cold=cold)

    async def promote(
        self, scope: str | None, version: tuple[str, int] | None, by: str, reason: str, *, cold: bool = False
    ) -> ModelRoute:
        """Let a version, or the one on trial, serve; `cold`: also where it is quiet yet."""
        await self._prepare(version)
        async with self._one:
            candidate, scope = await self._meant(scope, version)

            def following(route: ModelRoute | None, said: Said) -> ModelRoute:
                return plan.promote(scope, route, candidate, said)

            return await self._change(
                "promote", scope, by, reason, following, check=candidate is None, cold=cold
            )

    async def rollback(self, scope: str, by: str, reason: str) -> ModelRoute:
        """End the trial, or let the version before serve again."""
        async with self._one:
            return await self._change("rollback", scope, by, reason, partial(plan.rollback, scope))

    async def retire(self, version: tuple[str, int], by: str, reason: str) -> None:
        """Unload a version and keep its folder aside, once nobody has asked it for long enough."""
        held = self._known(*version)
        plan.refuse_to_retire(await self._routes.current(), *version)
        await self._quiet(held)
        async with self._keeper.lock(version[0]), self._one:
            plan.refuse_to_retire(await self._routes.current(), *version)
            self._known(*version)
            name = named(held.contract)
            await self._audit.append(
                asset=held.contract.signal_set, who=by, what="retire model", old=name, reason=reason
            )
            log.info("retired", version=name, by=by, reason=reason)
            with contextlib.suppress(TritonUnavailable):  # it is told when it is back
                await self._keeper.take_out(*version)

    async def conclude(self, trial: ModelRoute, *, promote: bool, why: str) -> ModelRoute | None:
        """End a trial by what it has shown; `None` when it is not in force any more."""
        async with self._one:
            route = (await self._routes.current()).get(trial.scope)
            if not plan.same_trial(route, trial):
                return None
            said = self._said(MODELOPS, why)
            if promote and route is not None and route.trial is not None:
                await self._serves(route.trial.contract)
            following = (
                plan.promote(trial.scope, route, None, said)
                if promote
                else plan.rollback(trial.scope, route, said)
            )
            verb = "promote" if promote else "rollback"
            try:
                async with asyncio.timeout(_AUDIT_S):
                    await self._write_down(verb, route, following)
            except (AuditAway, TimeoutError) as error:
                if promote:
                    raise AuditAway(str(error)) from error
                log.error("a trial is stopped and not audited", scope=trial.scope, problem=repr(error))
            await self._put(verb, following)
            self._metrics.decided.labels("promoted" if promote else "stopped").inc()
            return following

    # ---- one change

    async def _change(
        self,
        verb: str,
        scope: str,
        by: str,
        reason: str,
        following: Next,
        *,
        check: bool = False,
        cold: bool = True,
    ) -> ModelRoute:
        routes = await self._routes.current()
        route = routes.get(scope)
        made = following(route, self._said(by, reason))
        plan.refuse_other_columns(routes, made)
        if not cold:
            self._refuse_quiet(routes, made)
        if check:
            await self._serves(made.contract)
        await self._write_down(verb, route, made)
        await self._put(verb, made)
        return made

    async def _write_down(self, verb: str, route: ModelRoute | None, made: ModelRoute) -> None:
        await self._audit.append(
            asset=made.scope,
            who=made.by,
            what=f"{verb} model",
            old="" if route is None else in_words(route),
            new=in_words(made),
            reason=made.reason,
            at=made.at,
        )

    async def _put(self, verb: str, made: ModelRoute) -> None:
        await self._routes.publish(made)
        log.info("route", verb=verb, scope=made.scope, now=in_words(made), by=made.by, reason=made.reason)

    def _said(self, by: str, reason: str) -> Said:
        return Said(by, reason, self._clock.now())

    def _paced(self, route: ModelRoute | None, terms: Terms) -> Terms:
        """`terms` with how many windows' verdicts are published, by how many windows there are."""
        if route is None:
            return terms
        serving = route.contract.model, route.contract.version
        return replace(terms, every=every(self._uses.windows_per_s(serving)))

    def _refuse_quiet(self, routes: Mapping[str, ModelRoute], made: ModelRoute) -> None:
        """Raises `Conflict` when nobody would judge for some time where somebody does now, by the route of
        the scope or that of its signal set."""
        version = made.contract if made.trial is None else made.trial.contract
        route = routes.get(made.scope) or routes.get(version.signal_set)
        if route is None:
            return
        shown = self._trials.shown(route)
        if shown is None or shown.trial != version:
            plan.refuse_quiet(route, version, warm=0, cold=0)
        else:
            plan.refuse_quiet(route, version, warm=shown.warm, cold=shown.cold)

    # ---- which version

    async def _meant(
        self, scope: str | None, version: tuple[str, int] | None
    ) -> tuple[ModelContract | None, str]:
        """The version named and its scope; without either, `None` and the scope of the only trial."""
        candidate = None if version is None else await self._servable(*version)
        if scope is not None:
            return candidate, scope
        if candidate is not None:
            return candidate, candidate.signal_set
        return None, plan.only_trial(await self._routes.current())

    def _known(self, model: str, version: int) -> Held:
        held = self._shelf.find(model, version)
        if held is None or not held.listed:
            there = ", ".join(named(one.contract) for one in self._shelf.versions(model) if one.listed)
            raise NotKnown(
                f"there is no {model}:{version}: " + (f"there is {there}" if there else "stage it first")
            )
        return held

    async def _prepare(self, version: tuple[str, int] | None) -> None:
        """Before anybody is kept waiting: a version that is not loaded is."""
        if version is not None:
            await self._keeper.wanted(self._known(*version))

    async def _servable(self, model: str, version: int) -> ModelContract:
        """A version that may get a route: it has passed, and Triton serves it."""
        held = self._known(model, version)
        if not held.may_serve:
            raise Conflict(f"{model}:{version} has not passed staging: stage it again")
        await self._serves(held.contract)
        return held.contract

    async def _serves(self, contract: ModelContract) -> None:
        try:
            await self._server.check(contract)
        except TritonError as error:
            raise Conflict(f"nobody would be served by {named(contract)}: {error}") from error

    async def _quiet(self, held: Held) -> None:
        """Wait until nobody has asked a version for long enough, if it is served at all."""
        deadline_s = self._now_s() + self._retire_s
        while held.contract.version in await self._server.versions(held.contract.model):
            quiet_s = self._uses.quiet_s(held.version)
            if quiet_s is not None and quiet_s > self._quiet_s:
                return
            if self._now_s() > deadline_s:
                raise Conflict(
                    f"{named(held.contract)} was asked within the last {self._quiet_s:g} s, though no route"
                    " names it: see which detector lags behind, and ask again"
                )
            await asyncio.sleep(_LOOK_S)


def in_words(route: ModelRoute) -> str:
    """A route for people."""
    said = f"{named(route.contract)} serves"
    if (trial := route.trial) is not None:
        decides = [f"{trial.share:.0%} of the assets"] if trial.share else []
        decides += list(trial.assets)
        said += f", {named(trial.contract)} on trial" + (f" for {', '.join(decides)}" if decides else "")
    return said + (f", {named(route.previous)} before" if route.previous is not None else "")
