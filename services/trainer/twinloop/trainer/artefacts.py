"""What is fitted here as an artefact: ONNX, contract, card, golden windows. No torch; and nobody is told.

A model that onnxruntime answers otherwise than it was fitted does not become one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np

from twinloop.contracts.models import Measured, ModelCard, Trained
from twinloop.trainer.card import alarmed, references_of
from twinloop.trainer.errors import AlreadyThere, NotAsFitted, UnfitData
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import (
    ONE_BY_ONE,
    Answer,
    Model,
    Windows,
    answer,
    fit_mahalanobis,
    fit_pca,
    judged_apart,
)
from twinloop.trainer.recipes import Recipe
from twinloop.tritonio.answers import differences
from twinloop.tritonio.artefact import Artefact, Golden
from twinloop.tritonio.onnx_server import OnnxModel
from twinloop.tritonio.server import Inference

GOLDEN: Final = 64
"""Windows that go with a model, to check by what is served."""
APART: Final = "share of healthy windows that are anomalous, each fifth by a fit on the others"


@dataclass(frozen=True, slots=True)
class Fitting:
    """A way to fit: what its card says of it, and the fit."""

    architecture: str
    settings: Mapping[str, float | int | str]
    limits: tuple[str, ...]
    fit: Callable[[Windows], Model]


def by_mahalanobis(recipe: Recipe, false_alarms: float) -> Fitting:
    """See `fit_mahalanobis`."""
    return Fitting(
        "mahalanobis",
        {"false_alarms": false_alarms},
        ONE_BY_ONE,
        lambda windows: fit_mahalanobis(windows, recipe.statistics, false_alarms),
    )


def by_pca(recipe: Recipe) -> Fitting:
    """See `fit_pca`."""
    narrow = "its threshold allows for as much drift as the recording shows, and no more"
    return Fitting("pca", {}, (*ONE_BY_ONE, narrow), lambda windows: fit_pca(windows, recipe.statistics))


def fitted(
    name: str, recipe: Recipe, fitting: Fitting, windows: Windows, trained: Trained, at: datetime
) -> Artefact:
    """The model `name` of healthy `windows` [N, window, signals], one after the other, of one recording.

    Raises `UnfitData`, `NotAsFitted`.
    """
    model = fitting.fit(windows)
    file = to_onnx(model, recipe)
    contract = contract_of(model, recipe, name, file)
    said = inference(answer(model, windows))
    figure = _figure(recipe, fitting, windows)
    references = references_of(contract, [(name, said)])
    card = ModelCard(
        model=name,
        digest=contract.digest,
        at=at,
        architecture=fitting.architecture,
        trained=trained,
        settings=dict(fitting.settings),
        measured=() if figure is None else (figure,),
        limits=fitting.limits,
        reference=references.pooled,
        reference_windows=references.windows,
    )
    some = np.linspace(0, len(windows) - 1, min(GOLDEN, len(windows))).astype(np.int64)
    return checked(Artefact(contract, card, file, Golden(windows[some], said.select(some))))


def checked(made: Artefact) -> Artefact:
    """The same. Raises `NotAsFitted` unless onnxruntime answers its golden windows as they were answered
    here, by the measure of staging."""
    served = OnnxModel(made.contract, made.onnx).infer(made.golden.windows)
    if wrong := differences(made.contract, made.golden.answer, served):
        raise NotAsFitted(f"{made.contract.model} answers otherwise than it was fitted: {', '.join(wrong)}")
    return made


def check_free(out: Path) -> None:
    """Raises `AlreadyThere` where an artefact cannot be written."""
    if out.exists():
        raise AlreadyThere(f"{out} is there: an artefact never changes; name another folder with --out")


def inference(said: Answer) -> Inference:
    """In the numbers of a served model."""
    return Inference(*(one.astype(np.float32) for one in (said.score, said.features, said.deviations)))


def _figure(recipe: Recipe, fitting: Fitting, windows: Windows) -> Measured | None:
    """False alarms on windows that were not learnt from; `None` where there are too few for that."""
    reach = -(-recipe.spec.window // recipe.spec.hop)
    try:
        return alarmed(judged_apart(windows, reach, fitting.fit), APART)
    except UnfitData:
        return None
