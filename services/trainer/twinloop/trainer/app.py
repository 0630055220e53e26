"""Wires the trainer's commands: recordings in; artefacts, process models and scores out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from twinloop.contracts.models import Trained
from twinloop.runtime.clock import Clock
from twinloop.runtime.settings import ServiceSettings
from twinloop.trainer import benchmark, skab
from twinloop.trainer.artefacts import by_mahalanobis, check_free, fitted
from twinloop.trainer.card import in_words
from twinloop.trainer.cells_made import cells as made_cells
from twinloop.trainer.identify import identify as identified
from twinloop.trainer.joints import RecordedJoints
from twinloop.trainer.joints import recorded as recorded_joints
from twinloop.trainer.recipes import Recipe
from twinloop.trainer.shelf import put as shelve
from twinloop.trainer.trials import read_plan
from twinloop.trainer.verdicts import caught_up, judged
from twinloop.trainer.windows import Recording, recorded
from twinloop.tritonio.artefact import write


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What `fit` is asked for. Of at least `min_windows` it learns from the `newest`, or from all."""

    parquet: Path
    topic: str
    recipe: Recipe
    asset: str
    min_windows: int
    newest: int | None
    model: str
    out: Path
    false_alarms: float
    wait_s: float


async def fit(request: FitRequest, clock: Clock) -> list[str]:
    """Fit on the recording of one asset and write the artefact; returns lines for people."""
    check_free(request.out)
    folder = request.parquet / request.topic
    recording = Recording(folder, request.recipe, request.asset)
    windows = await recorded(recording, request.min_windows, request.wait_s)
    windows = windows if request.newest is None else windows.newest(request.newest)
    trained = Trained(
        source=f"{folder.name} in Parquet",
        assets=(request.asset,),
        windows=len(windows),
        since=windows.since,
        until=windows.until,
    )
    fitting = by_mahalanobis(request.recipe, request.false_alarms)
    made = await asyncio.to_thread(
        fitted, request.model, request.recipe, fitting, windows.values, trained, clock.now()
    )
    write(request.out, made)
    contract = made.contract
    limit = f"{contract.threshold:.1f} (wanted: {request.false_alarms:.0e} of healthy windows)"
    return [
        f"{contract.model}: fitted on {len(windows)} windows of {request.asset}",
        f"  {len(contract.features)} features; anomalous above a squared Mahalanobis distance of {limit}",
        *in_words(made.card),
        f"  written to {request.out}",
    ]


async def identify(
    parquet: Path, plan: Path, asset: str, process: str, into: Path, wait_s: float, topic_prefix: str
) -> list[str]:
    """Identify the process model of `asset` from its commissioning trials; returns lines for people."""
    recording = RecordedJoints(parquet, topic_prefix, asset)
    parts = await recorded_joints(recording, read_plan(plan), wait_s)
    fitted, coverage = await asyncio.to_thread(identified, parts)
    card = await asyncio.to_thread(shelve, into, process, asset, fitted, coverage, parts)
    valid, name = card.validity, f"{card.process} version {card.version}"
    powers = f"{valid.power_w.low:g} to {valid.power_w.high:g} W"
    distances = f"{valid.distance_mm.low:g} to {valid.distance_mm.high:g} mm from the surface"
    energies = f"{valid.energy.low:.2f} to {valid.energy.high:.2f} of that at {card.reference_power_w:g} W"
    return [
        f"{name}: identified from {card.parts} parts of {asset} in {card.trials} trials",
        f"  of held-out parts {coverage.share:.1%} measured within their 95 % interval",
        f"  holds for {powers}, the focus {distances}, energies {energies}",
    ]


def cells(groups: int, model: str, out: Path, clock: Clock) -> list[str]:
    """Write the model of cell groups as an artefact; returns lines for people."""
    check_free(out)
    made = made_cells(model, groups, clock.now())
    write(out, made)
    return [
        f"{model}: the resistance of {groups} cell groups from a minute",
        *in_words(made.card),
        f"  written to {out}",
    ]


def fit_skab(data: Path, out: Path, clock: Clock) -> list[str]:
    """Fit a model on the training rows of each file; writes an artefact each. Returns lines for people."""
    check_free(out)
    began = time.monotonic()
    files = skab.read_folder(data)
    names = []
    for one in files:
        made = benchmark.artefact(one, clock.now())
        names.append(made.contract.model)
        write(out / names[-1], made)
    return [
        f"{len(files)} models, each fitted on the first {skab.TRAIN_ROWS} rows of its file",
        f"  {names[0]} to {names[-1]}, written to {out} in {time.monotonic() - began:.1f} s",
    ]


async def score_skab(data: Path, wait_s: float, settings: ServiceSettings) -> list[str]:
    """The scoreboard of what the detector has said of the files' rows, read back from Kafka."""
    files = await asyncio.to_thread(skab.read_folder, data)
    await caught_up(settings.kafka_access, settings.topic_prefix, wait_s)
    said = await judged(settings.kafka_access, settings.topic_prefix, [one.asset for one in files])
    return [benchmark.board(files, said)]
