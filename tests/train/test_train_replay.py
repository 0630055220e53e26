"""A trained model in a replay on real parts: through Kafka, Triton and the detector it says of every row what
the evaluation, which has neither, says of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from eval import water
from eval.data import skab as labelled
from eval.service import Said, Service
from support.topics import events

from train.made import process
from twinloop.contracts.events import Verdict
from twinloop.contracts.topics import AUDIT, MODELS, SCORES
from twinloop.local.replay import SERVICES, play
from twinloop.local.services import select
from twinloop.local.stack import Stack
from twinloop.trainer import skab
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.verdicts import judged
from twinloop.tritonio.artefact import Artefact, read

ROWS, FAULT = 600, slice(470, 530)
FIRST = SKAB.spec.window - 1


def recorded(folder: Path) -> Path:
    """Two files that are made up; and two of the benchmark's, where they are."""
    folder.mkdir()
    for seed in (1, 2):
        rows = process(seed, ROWS, len(SKAB.spec.signals))
        rows[FAULT, :2] += 8 * rows[:400, :2].std(axis=0)
        lines = ["datetime;" + ";".join(SKAB.spec.signals) + ";anomaly;changepoint"]
        for n, row in enumerate(rows):
            at = f"2020-03-09 10:{n // 60:02}:{n % 60:02}"
            label = float(FAULT.start <= n < FAULT.stop)
            lines.append(";".join([at, *(f"{value:.6g}" for value in row), f"{label}", "0.0"]))
        (folder / f"{seed}.csv").write_text("\n".join(lines) + "\n")
    if data := os.environ.get("TWINLOOP_DATA"):
        for name in ("7", "10"):
            shutil.copy(Path(data) / "skab" / "valve1" / f"{name}.csv", folder)
    return folder


async def in_process(folder: Path, made: Artefact, models: Path) -> dict[str, Said]:
    """What the evaluation says of each file's rows, by asset."""
    service = Service(models)
    await service.serve_artefact(made, SKAB.signal_set)
    rows = {one.asset: [one.values] for one in skab.read_folder(folder)}
    return {asset: said for asset, (said,) in (await service.judge(SKAB.signal_set, rows)).items()}


def same(due: Said, verdicts: Sequence[Verdict]) -> None:
    """Each row that ends a window has one verdict, and it is the one that is due."""
    by_row = {one.sequence: one for one in verdicts}
    assert len(by_row) == len(verdicts)
    assert sorted(by_row) == list(range(FIRST, len(due.alarmed)))
    scores = np.array([by_row[row].score for row in sorted(by_row)])
    alarmed = np.array([by_row[row].anomalous for row in sorted(by_row)])
    assert np.flatnonzero(alarmed != due.alarmed[FIRST:]).tolist() == []
    assert scores == pytest.approx(due.score[FIRST:], rel=1e-3, abs=1e-3)


async def test_through_kafka_and_triton_every_row_gets_the_verdict_of_the_evaluation(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "files")
    told: list[str] = []
    async with Stack(tmp_path / "state", parts=("kafka", "triton"), services=select(SERVICES)) as stack:
        await stack.guard(play(stack, folder, "drift-filter", told.append))
        made, where = read(stack.state.artefacts / "skab"), stack.endpoints
        verdicts = await events(where.kafka, where.topic_prefix, SCORES)
        assets = [one.asset for one in skab.read_folder(folder)]
        read_back = await judged(where.kafka, where.topic_prefix, assets)
        (route,) = await events(where.kafka, where.topic_prefix, MODELS)
        audited = await events(where.kafka, where.topic_prefix, AUDIT)

    due = await in_process(folder, made, tmp_path / "models")
    assert any(one.alarmed.any() for one in due.values())
    for asset, one in due.items():
        same(one, [verdict for verdict in verdicts if verdict.asset == asset])
        assert sorted(read_back[asset].anomalous) == np.flatnonzero(one.alarmed).tolist()
    assert f"all {sum(len(one.alarmed) for one in due.values())} rows of {len(due)} files" in told[-1]

    # It is the evaluation's model, and a data scientist's act, like any other.
    assert made.onnx == water.learnt("skab", labelled(folder)).onnx
    assert made.card.architecture == "drift-filter"
    assert (route.scope, route.by, route.contract.digest) == ("skab.v1", "person:dana", made.contract.digest)
    assert "promote model" in [one.what for one in audited]
