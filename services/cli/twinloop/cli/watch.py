"""`twinloop models watch`: a trial, followed until a person may decide or it is over."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any, Final

from twinloop.cli import show
from twinloop.cli.answer import out
from twinloop.cli.client import Api
from twinloop.cli.errors import Refused, Unusable
from twinloop.cli.models import modelops
from twinloop.cli.places import Places
from twinloop.cli.views import Models, OnTrial, Route

_LOOK_S: Final = 2.0
_MAY_PASS: Final = "may_pass"


def watch(options: Namespace, places: Places) -> int:
    """Say what a trial has shown whenever that is more; 0 once its version may be promoted or serves, 1 when
    the trial ended otherwise."""
    with modelops(places) as api:
        scope, version = _which(_routes(api), options.scope)
        told = ""
        while True:
            answer, route = _routes(api)[scope]
            trial = route.trial
            if trial is None or trial.version != version:
                _end(
                    options,
                    answer,
                    f"{scope}: {show.route_in_words(route)}. {route.by} says: {route.reason}.",
                )
                return 0 if route.serving == version else Refused.status
            if (shown := f"{trial.why or f'{version} has shown nothing yet'}.") != told and not options.json:
                show.sentence(shown)
                told = shown
            if _may_be_promoted(trial):
                _end(options, answer, f"`twinloop models promote --scope {scope}` lets {version} serve.")
                return 0
            time.sleep(_LOOK_S)


def _routes(api: Api) -> dict[str, tuple[Any, Route]]:
    """By scope, each as it was answered and as it is shown."""
    answer = api.get("models")
    routes = api.read(answer, Models).routes
    return {one.scope: (said, one) for said, one in zip(answer["routes"], routes, strict=True)}


def _which(routes: dict[str, tuple[Any, Route]], scope: str | None) -> tuple[str, str]:
    """The scope whose trial is meant, and the version on trial. Raises `Refused` where there is none,
    `Unusable` where there are several."""
    trials = {
        route.scope: route.trial.version
        for _, route in routes.values()
        if route.trial is not None and scope in (None, route.scope)
    }
    if not trials:
        where = f" for {scope}" if scope else ""
        raise Refused(f"No version is on trial{where}: `twinloop models shadow` or `canary` begins a trial.")
    if len(trials) > 1:
        raise Unusable(f"There are trials for {', '.join(trials)}: name one of them.")
    return next(iter(trials.items()))


def _end(options: Namespace, answer: Any, told: str) -> None:
    out(options, answer, lambda: show.sentence(told))


def _may_be_promoted(trial: OnTrial) -> bool:
    """By a person: with `auto` modelops itself does it in a moment."""
    return trial.finding == _MAY_PASS and not trial.auto
