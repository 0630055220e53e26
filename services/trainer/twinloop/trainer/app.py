"""Wires the trainer's commands: recordings and files in, models on Triton and routes on `models` out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinloop.contracts.models import ModelContract
from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.kafka import KafkaPublisher, publisher
from twinloop.trainer import benchmark, cells_release, skab
from twinloop.trainer.fit import fit_mahalanobis
from twinloop.trainer.identify import identify as identified
from twinloop.trainer.joints import RecordedJoints
from twinloop.trainer.joints import recorded as recorded_joints
from twinloop.trainer.recipes import Recipe
from twinloop.trainer.release import Release, announce, load, put
from twinloop.trainer.settings import TrainerSettings
from twinloop.trainer.shelf import put as shelve
from twinloop.trainer.trials import read_plan
from twinloop.trainer.verdicts import caught_up, judged
from twinloop.trainer.windows import Recording, recorded
from twinloop.tritonio.client import triton
from twinloop.tritonio.serving import Target

LOADS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class FitRequest:
    """What `fit` is asked for. Of at least `min_windows` it learns from the `newest`, or from all."""

    parquet: Path
    recipe: Recipe
    asset: str
    scope: str
    min_windows: int
    newest: int | None
    model: str
    repository: Path
    target: Target
    false_alarms: float
    wait_s: float


async def fit(request: FitRequest, settings: TrainerSettings) -> list[str]:
    """Fit on the recording of one asset and put the model into service; returns lines for people."""
    folder = request.parquet / TELEMETRY_FACTORY.named(settings.topic_prefix)
    recording = Recording(folder, request.recipe, request.asset)
    windows = await recorded(recording, request.min_windows, request.wait_s)
    windows = windows if request.newest is None else windows[-request.newest :]
    model = fit_mahalanobis(windows, request.recipe.statistics, request.false_alarms)
    release = Release(request.model, request.scope, request.recipe, model, windows)
    (contract,) = await release_all([release], request.repository, request.target, settings)
    name = f"{contract.model} version {contract.version}"
    limit = f"{contract.threshold:.1f} (wanted: {request.false_alarms:.0e} of healthy windows)"
    return [
        f"{name}: fitted on {len(windows)} windows of {request.asset}",
        f"  {len(contract.features)} features; anomalous above a squared Mahalanobis distance of {limit}",
        f"  served by Triton, checked against the fit, announced for {request.scope}",
    ]


async def identify(
    parquet: Path, plan: Path, asset: str, process: str, into: Path, wait_s: float, settings: TrainerSettings
) -> list[str]:
    """Identify the process model of `asset` from its commissioning trials; returns lines for people."""
    recording = RecordedJoints(parquet, settings.topic_prefix, asset)
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


async def cells(
    groups: int, model: str, scope: str, repository: Path, target: Target, settings: TrainerSettings
) -> list[str]:
    """Put the model of cell groups into service; returns lines for people."""
    contract = await asyncio.to_thread(cells_release.put, repository, model, groups, target)
    async with triton(settings.triton) as server:
        await cells_release.load(server, contract, groups)
    async with _publisher(settings) as out, asyncio.timeout(settings.announce_s):
        await announce(out, {scope: contract}, SystemClock())
    return [
        f"{contract.model} version {contract.version}: the resistance of {groups} cell groups from a minute",
        f"  served by Triton, checked against numpy, announced for {scope}",
    ]


async def fit_skab(data: Path, repository: Path, target: Target, settings: TrainerSettings) -> list[str]:
    """Fit a model on the training rows of each file and put them into service; returns lines for people."""
    began = time.monotonic()
    files = await asyncio.to_thread(skab.read_folder, data)
    releases = benchmark.releases(files)
    contracts = await release_all(releases, repository, target, settings)
    names = f"{contracts[0].model} to {contracts[-1].model}"
    return [
        f"{len(contracts)} models ({names}), each fitted on the first {skab.TRAIN_ROWS} rows of its file:",
        f"  served by Triton, checked against the fit and announced in {time.monotonic() - began:.1f} s",
    ]


async def score_skab(data: Path, wait_s: float, settings: TrainerSettings) -> list[str]:
    """The scoreboard of what the detector has said of the files' rows, read back from Kafka."""
    files = await asyncio.to_thread(skab.read_folder, data)
    await caught_up(settings.kafka, settings.topic_prefix, wait_s)
    said = await judged(settings.kafka, settings.topic_prefix, [one.asset for one in files])
    return [benchmark.board(files, said)]


async def release_all(
    releases: Sequence[Release], root: Path, target: Target, settings: TrainerSettings
) -> list[ModelContract]:
    """Publish, load and check every model, then announce them together."""
    contracts = [put(root, one, target) for one in releases]
    async with triton(settings.triton) as server:
        # A model's process takes half a second of a core to start: a few at a time.
        places = asyncio.Semaphore(LOADS_AT_ONCE)

        async def in_turn(contract: ModelContract, one: Release) -> None:
            async with places:
                await load(server, contract, one)

        await asyncio.gather(*map(in_turn, contracts, releases))
    served = {one.scope: contract for one, contract in zip(releases, contracts, strict=True)}
    async with _publisher(settings) as out, asyncio.timeout(settings.announce_s):
        await announce(out, served, SystemClock())
    return contracts


@contextlib.asynccontextmanager
async def _publisher(settings: TrainerSettings) -> AsyncIterator[KafkaPublisher]:
    """A publisher; a job waits for a cluster that is away only for so long. Raises `KafkaError`."""
    enough = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(settings.connect_s, enough.set)
    try:
        async with publisher(settings.kafka, settings.topic_prefix, enough) as out:
            timer.cancel()
            yield out
    finally:
        timer.cancel()
