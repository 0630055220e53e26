"""What a data scientist says to modelops."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Final

from twinloop.cli import show
from twinloop.cli.answer import out
from twinloop.cli.client import Api
from twinloop.cli.errors import Unusable
from twinloop.cli.people import whole_name
from twinloop.cli.places import MODELOPS, Places
from twinloop.cli.views import Diff, Models, Retired, Route, StagedVersion
from twinloop.contracts.models import ARTEFACT_FILES
from twinloop.contracts.packing import packed

PATIENT_S: Final = 1200.0
"""Staging and trying load a model, which may take 15 minutes on a GPU; retiring waits until nobody asks."""
_SOON_S: Final = 180.0


def modelops(places: Places, timeout_s: float = _SOON_S) -> Api:
    """The API of modelops."""
    return Api("modelops", places.url(MODELOPS), places.token(), timeout_s=timeout_s)


def list_models(options: Namespace, places: Places) -> int:
    """`twinloop models list`."""
    with modelops(places) as api:
        answer = api.get("models", model=options.model)
        models = api.read(answer, Models)
    return out(options, answer, lambda: show.models_page(models))


def stage(options: Namespace, places: Places) -> int:
    """`twinloop models stage`."""
    artefact = _pack(options.folder)
    with modelops(places, options.wait) as api:
        answer = api.send(artefact, "models", "stage", reason=options.reason)
        staged = api.read(answer, StagedVersion)
    told = (
        f"{staged.version} has passed and serves nobody yet: `twinloop models shadow {staged.version}`, or "
        "`promote` where no version serves."
        if staged.new
        else f"{staged.version} is this model: nothing was to be done."
    )
    return out(options, answer, lambda: show.sentence(told))


def shadow(options: Namespace, places: Places) -> int:
    """`twinloop models shadow`."""
    return _change(
        options,
        places,
        "shadow",
        version=options.version,
        scope=options.scope,
        more_alarms=options.more_alarms,
        auto=options.auto or None,
    )


def canary(options: Namespace, places: Places) -> int:
    """`twinloop models canary`."""
    return _change(
        options,
        places,
        "canary",
        version=options.version,
        scope=options.scope,
        share=options.share,
        assets=[whole_name(one, places) for one in options.asset or []] or None,
        more_alarms=options.more_alarms,
        auto=options.auto or None,
        cold=options.cold,
    )


def promote(options: Namespace, places: Places) -> int:
    """`twinloop models promote`."""
    return _change(
        options, places, "promote", version=options.version, scope=options.scope, cold=options.cold
    )


def rollback(options: Namespace, places: Places) -> int:
    """`twinloop models rollback`."""
    return _change(options, places, "rollback", timeout_s=_SOON_S, scope=options.scope)


def retire(options: Namespace, places: Places) -> int:
    """`twinloop models retire`."""
    with modelops(places, options.wait) as api:
        answer = api.post("models", "retire", version=options.version, reason=options.reason)
        retired = api.read(answer, Retired)
    return out(
        options,
        answer,
        lambda: show.sentence(f"{retired.version} is unloaded, and kept as a file in the repository."),
    )


def diff(options: Namespace, places: Places) -> int:
    """`twinloop models diff`."""
    with modelops(places) as api:
        answer = api.get("models", "diff", one=options.one, other=options.other)
        found = api.read(answer, Diff)
    return out(options, answer, lambda: show.diff_page(found))


def _change(
    options: Namespace, places: Places, verb: str, *, timeout_s: float | None = None, **what: object
) -> int:
    with modelops(places, options.wait if timeout_s is None else timeout_s) as api:
        answer = api.post("models", verb, **what, reason=options.reason)
        route = api.read(answer, Route)
    return out(options, answer, lambda: show.sentence(f"{route.scope}: {show.route_in_words(route)}."))


def _pack(folder: Path) -> bytes:
    """The files of an artefact as modelops takes them. Raises `Unusable`."""
    try:
        return packed({name: (folder / name).read_bytes() for name in ARTEFACT_FILES})
    except OSError as error:
        raise Unusable(
            f"{folder} holds no model that was trained: {error.strerror} ({error.filename}); it must have "
            f"{', '.join(ARTEFACT_FILES)}."
        ) from error
