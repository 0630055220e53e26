"""From recordings to an artefact: learn, calibrate, export, check, and only then write."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from twinloop.contracts.models import ModelCard, ModelContract
from twinloop.trainer.card import alarmed, references_of
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.answering import Answers, answers, golden
from twinloop.trainer.training.descent import Say, Schedule, descend
from twinloop.trainer.training.detectors import DETECTORS
from twinloop.trainer.training.detectors.base import Detector, Setting
from twinloop.trainer.training.detectors.own import Own, own_module
from twinloop.trainer.training.exporting import check, to_onnx
from twinloop.trainer.training.parts import Parts, parts_of
from twinloop.trainer.training.recordings import Recordings
from twinloop.tritonio.artefact import Artefact
from twinloop.tritonio.onnx_file import digest

CHECKED = 512
"""Windows to which torch and onnxruntime must answer the same."""
TENTHS, NETWORK_TENTHS = 1, 3
"""Of the recordings, what is kept for the threshold: a network answers otherwise to what it has learnt."""
GOLDEN = 64
"""Those of them that go with a model, to check by what is served."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained: an `architecture`, or a `module` (file.py:Class) of one's own.

    `apart`: a part of the recordings is kept for the threshold and for the figures. `epochs`: `None` for the
    architecture's own number.
    """

    model: str
    architecture: str = ""
    module: str = ""
    settings: Mapping[str, Setting] | None = None
    seed: int = 0
    epochs: int | None = None
    batch: int = 64
    rate: float = 2e-3
    apart: bool = True


def train(order: Order, data: Recordings, checkpoint: Path, at: datetime, say: Say) -> Artefact:
    """The model. `checkpoint` is where a run that is killed goes on. Raises `TrainerError`."""
    torch.set_num_threads(1)  # sums come in the same order on every machine
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(order.seed)
    data = replace(data, recordings=tuple(one for one in data.recordings if len(one.windows)))
    detector = build(order, data)
    recordings = [torch.from_numpy(np.ascontiguousarray(one.windows)) for one in data.recordings]
    tenths = NETWORK_TENTHS if detector.learns else TENTHS
    parts = parts_of([len(one) for one in recordings], apart=order.apart, calibrate=tenths)
    learnt = _some(recordings, parts, lambda one: one.learn)
    apart = _some(recordings, parts, lambda one: one.calibrate)
    schedule = Schedule(detector.EPOCHS if order.epochs is None else order.epochs, order.batch, order.rate)
    say(f"{sum(map(len, learnt))} windows of {len(learnt)} recordings")
    with torch.no_grad():
        detector.learn(learnt)
    if detector.learns and schedule.epochs:
        key = _key(order, data, schedule)
        descend(detector, torch.cat(learnt), schedule, order.seed, checkpoint, key, say)
    with torch.no_grad():
        detector.eval().calibrate(learnt, apart)
    say(f"threshold {detector.threshold:.4g}")
    return _finished(order, data, detector, schedule, answers(detector, recordings), parts, at, say)


def build(order: Order, data: Recordings) -> Detector:
    """The model, before it has learnt anything. Raises `BadModule`, `UnfitData`."""
    settings = order.settings or {}
    if order.module:
        return Own(data.spec, settings, own_module(order.module, data.spec))
    return DETECTORS[order.architecture](data.spec, settings)


def _some(
    recordings: list[Tensor], parts: list[Parts], which: Callable[[Parts], tuple[int, int]]
) -> list[Tensor]:
    """The windows of these parts, of recordings that have any."""
    cut = [one[slice(*which(part))] for one, part in zip(recordings, parts, strict=True)]
    some = [one for one in cut if len(one)]
    if not some:
        raise UnfitData("the recordings are too short: they hold no window for every part")
    return some


def _finished(
    order: Order,
    data: Recordings,
    detector: Detector,
    schedule: Schedule,
    said: list[Answers],
    parts: list[Parts],
    at: datetime,
    say: Say,
) -> Artefact:
    file = to_onnx(detector)
    contract = ModelContract(
        model=order.model,
        version=0,
        signal_set=data.signal_set,
        signals=data.spec.signals,
        features=detector.features,
        window=data.spec.window,
        hop=data.spec.hop,
        threshold=detector.threshold,
        digest=digest(file),
        memory=detector.layout.size,
        columns=() if data.columns == data.spec.signals else data.columns,
        quiet=detector.quiet,
    )
    check(contract, file, golden(said, CHECKED))
    say("onnxruntime answers as torch does")
    judged = [
        one.answer.score[max(part.judge[0], detector.quiet) : part.judge[1]]
        for one, part in zip(said, parts, strict=True)
    ]
    what = "share of healthy windows that are anomalous, " + (
        "which were not learnt from" if order.apart else "which were learnt from"
    )
    figure = alarmed([one > detector.threshold for one in judged], what)
    assets = [one.asset for one in data.recordings]
    references = references_of(contract, zip(assets, (one.answer for one in said), strict=True))
    card = ModelCard(
        model=order.model,
        digest=contract.digest,
        at=at,
        architecture=order.architecture or order.module,
        trained=data.trained,
        settings={**detector.settings, **_descent(detector, schedule), **_code(order)},
        seed=order.seed,
        measured=() if figure is None else (figure,),
        limits=detector.limits,
        reference=references.pooled,
        reference_windows=references.windows,
        by_asset=references.by_asset,
    )
    return Artefact(contract, card, file, golden(said, GOLDEN))


def _descent(detector: Detector, schedule: Schedule) -> dict[str, Setting]:
    if not detector.learns:
        return {}
    return {"epochs": schedule.epochs, "batch": schedule.batch, "rate": schedule.rate}


def _code(order: Order) -> dict[str, Setting]:
    """Which file a module of one's own was."""
    if not order.module:
        return {}
    return {"module_sha256": hashlib.sha256(Path(order.module.rpartition(":")[0]).read_bytes()).hexdigest()}


def _key(order: Order, data: Recordings, schedule: Schedule) -> str:
    """Of everything that decides what is learnt."""
    settings = sorted((order.settings or {}).items())
    what = (order.architecture, _code(order), settings, order.seed, order.apart, schedule, torch.__version__)
    return hashlib.sha256(f"{what!r} {data.digest()}".encode()).hexdigest()
