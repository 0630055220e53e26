"""From the route that is in force and a verb: the next route, or why not. Pure.

    nothing --promote--> serving --shadow, canary--> on trial --promote--> serving, the former is `previous`
                            ^                            |
                            '--------- rollback ---------'        rollback without a trial: `previous` serves

Every refusal is one sentence that says what to do instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from msgspec.structs import replace

from twinloop.contracts.ids import event_id
from twinloop.contracts.models import ModelContract, ModelRoute, Trial
from twinloop.modelops.errors import Conflict

MODELOPS = "modelops"
"""Who decides when nobody does."""
_VERSION = re.compile(r".+:\d+")
"""As people write one: `named`."""


@dataclass(frozen=True, slots=True)
class Said:
    """Who decides, why, and when."""

    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Terms:
    """How a version is tried: see `Trial`. What is `None` stays as it is, or is the default of a trial."""

    more_alarms: float | None = None
    auto: bool | None = None
    every: int | None = None


def named(contract: ModelContract) -> str:
    """As people write a version."""
    return f"{contract.model}:{contract.version}"


def shadow(
    scope: str, route: ModelRoute | None, candidate: ModelContract, terms: Terms, said: Said
) -> ModelRoute:
    """`candidate` judges beside the version that serves, and decides for nobody. Raises `Conflict`."""
    return _try(scope, route, candidate, 0.0, (), terms, said)


def canary(
    scope: str,
    route: ModelRoute | None,
    candidate: ModelContract | None,
    share: float,
    assets: Iterable[str],
    terms: Terms,
    said: Said,
) -> ModelRoute:
    """`candidate`, or the version on trial, decides for `assets` and a `share` of the others. Raises
    `Conflict`."""
    chosen = tuple(sorted(set(assets)))
    if not 0 <= share <= 1 or not (share or chosen):
        raise Conflict("a canary needs a share of the assets, above 0 and up to 1, or the names of some")
    if candidate is None:
        trial = _served(scope, route).trial
        if trial is None:
            raise Conflict(f"no version is on trial for {scope}: name the one to try")
        candidate = trial.contract
    return _try(scope, route, candidate, share, chosen, terms, said)


def promote(scope: str, route: ModelRoute | None, candidate: ModelContract | None, said: Said) -> ModelRoute:
    """`candidate`, or the version on trial, serves; the one before stays ready. Raises `Conflict`."""
    if candidate is None:
        trial = _served(scope, route).trial
        if trial is None:
            raise Conflict(f"no version is on trial for {scope}: name the one to promote")
        candidate = trial.contract
    if route is None:
        return _route("promote", scope, candidate, None, None, said)
    _fits(route, candidate)
    if candidate == route.contract:
        raise Conflict(f"{named(candidate)} serves {scope} already: `rollback` ends a trial beside it")
    return _route("promote", scope, candidate, None, route.contract, said)


def rollback(scope: str, route: ModelRoute | None, said: Said) -> ModelRoute:
    """The trial ends, or the version before serves again. Raises `Conflict`."""
    if route is None and _VERSION.fullmatch(scope):
        raise Conflict(
            f"{scope} is a version, and what is taken back is a scope's: name the asset or signal set that it"
            " serves or is on trial for (the list of models shows it)"
        )
    route = _served(scope, route)
    if route.trial is not None:
        return _route("rollback", scope, route.contract, None, route.previous, said)
    if route.previous is not None:
        return _route("rollback", scope, route.previous, None, None, said)
    raise Conflict(
        f"there is nothing to take back for {scope}: no version is on trial, and none served before"
    )


def users(routes: Mapping[str, ModelRoute], model: str, version: int) -> list[str]:
    """The scopes whose route names a version."""
    return [
        scope
        for scope, route in routes.items()
        if any((one.model, one.version) == (model, version) for one in route.versions())
    ]


def only_trial(routes: Mapping[str, ModelRoute]) -> str:
    """The scope that has the only trial. Raises `Conflict` where there is none, or more than one."""
    scopes = sorted(scope for scope, route in routes.items() if route.trial is not None)
    if len(scopes) == 1:
        return scopes[0]
    if not scopes:
        raise Conflict("no version is on trial: name the one that is meant, as in `joint:2`")
    raise Conflict(f"versions are on trial for {', '.join(scopes)}: say which scope is meant (--scope)")


def refuse_quiet(route: ModelRoute, candidate: ModelContract, *, warm: int, cold: int) -> None:
    """Raises `Conflict` when `candidate` would decide where it has no verdict yet: it needs `quiet` windows
    of an asset first. On trial it has had them at `warm` assets, and not at `cold` ones. One that serves,
    or served before, is ready."""
    if not candidate.quiet or candidate in (route.contract, route.previous) or (warm and not cold):
        return
    so_far = f"has at {warm} of {warm + cold}" if warm or cold else "has judged none on trial"
    raise Conflict(
        f"{named(candidate)} has no verdict before it has seen {candidate.quiet} windows of an asset, and"
        f" {so_far}: let it shadow at {route.scope} until it has, or say `cold`, and nobody judges meanwhile"
    )


def refuse_other_columns(routes: Mapping[str, ModelRoute], made: ModelRoute) -> None:
    """Raises `Conflict` when a version that `made` brings to its scope is for other frames than the versions
    that `routes` name for the same signal set: all are given the same ones."""
    before = routes.get(made.scope)
    known = () if before is None else before.versions()
    for new in (one for one in made.versions() if one not in known):
        for route in routes.values():
            if route.contract.signal_set == new.signal_set and route.contract.frame != new.frame:
                raise Conflict(
                    f"{named(new)} is for frames of {', '.join(new.frame)}, and those of {new.signal_set}"
                    f" are {', '.join(route.contract.frame)}, by {named(route.contract)} that serves"
                    f" {route.scope}: take a version that was trained on these, or give other frames a signal"
                    " set of their own"
                )


def refuse_to_retire(routes: Mapping[str, ModelRoute], model: str, version: int) -> None:
    """Raises `Conflict` while a route names the version."""
    found = users(routes, model, version)
    if not found:
        return
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    raise Conflict(
        f"{model}:{version} {_role(routes[found[0]], model, version)}{more}: promote another version there"
        " first, or roll it back"
    )


def same_trial(route: ModelRoute | None, trial: ModelRoute) -> bool:
    """Whether `route` still has the trial of `trial`: what was found out about that one holds for it."""
    return (
        route is not None
        and route.trial is not None
        and trial.trial is not None
        and (route.contract, route.trial.contract, route.trial.begun)
        == (trial.contract, trial.trial.contract, trial.trial.begun)
    )


def _role(route: ModelRoute, model: str, version: int) -> str:
    if (route.contract.model, route.contract.version) == (model, version):
        return f"serves {route.scope}"
    trial = route.trial
    if trial is not None and (trial.contract.model, trial.contract.version) == (model, version):
        return f"is on trial for {route.scope}"
    return f"is kept to serve {route.scope} again"


def _try(
    scope: str,
    route: ModelRoute | None,
    candidate: ModelContract,
    share: float,
    assets: tuple[str, ...],
    terms: Terms,
    said: Said,
) -> ModelRoute:
    route = _served(scope, route)
    _fits(route, candidate)
    if candidate == route.contract:
        raise Conflict(f"{named(candidate)} serves {scope}: try another version")
    if candidate == route.previous:
        raise Conflict(f"{named(candidate)} served {scope} before: `rollback` lets it serve again")
    trial = route.trial
    if trial is not None and trial.contract != candidate:
        raise Conflict(f"{named(trial.contract)} is on trial for {scope}: promote it or roll it back first")
    if trial is None:
        trial = Trial(contract=candidate, begun=said.at)
    trial = replace(
        trial,
        share=share,
        assets=assets,
        more_alarms=trial.more_alarms if terms.more_alarms is None else terms.more_alarms,
        auto=trial.auto if terms.auto is None else terms.auto,
        every=trial.every if terms.every is None else terms.every,
    )
    verb = "canary" if share or assets else "shadow"
    return _route(verb, scope, route.contract, trial, route.previous, said)


def _served(scope: str, route: ModelRoute | None) -> ModelRoute:
    if route is None:
        raise Conflict(f"no version serves {scope}: promote one there first, or name another scope")
    return route


def _fits(route: ModelRoute, candidate: ModelContract) -> None:
    if candidate.signal_set != route.contract.signal_set:
        raise Conflict(
            f"{named(candidate)} judges {candidate.signal_set}, and {route.scope} has "
            f"{route.contract.signal_set}: take a version that was trained on that"
        )


def _route(
    verb: str,
    scope: str,
    contract: ModelContract,
    trial: Trial | None,
    previous: ModelContract | None,
    said: Said,
) -> ModelRoute:
    return ModelRoute(
        event_id=event_id("model_route", scope, verb, said.by, said.at.isoformat()),
        scope=scope,
        at=said.at,
        contract=contract,
        trial=trial,
        previous=previous,
        by=said.by,
        reason=said.reason,
    )
