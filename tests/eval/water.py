"""SKAB: a water circuit with faults made by hand. One fixed configuration, on every file alike.

For each file the drift filter learns from the *other* files' training rows; of the file itself it sees what
an asset shows: its first 400 rows, from which it calibrates itself in its memory, then the rows to judge.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.data import Labelled
from eval.score import Figure, Part, figures, part, rows
from eval.service import Said, Service
from eval.trained import artefact, recordings, say
from eval.variants import VARIANTS, stretches
from twinloop.trainer import skab
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.scoreboard import everything, position
from twinloop.trainer.training.job import Order
from twinloop.tritonio.artefact import Artefact

TRAIN_ROWS = skab.TRAIN_ROWS
Row = dict[str, Figure]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A file of one variant, and what was said of all its rows."""

    file: Labelled
    said: Said

    @property
    def part(self) -> Part:
        """The rows that count."""
        return part(self.file.anomalous[TRAIN_ROWS:], self.said.alarmed[TRAIN_ROWS:])


@dataclass(frozen=True, slots=True)
class Water:
    """`drift`: of each variant. `pca`: what the project served before, on files as recorded. `healthy`: of
    recordings without a fault. `controls`: what needs no data."""

    drift: dict[str, list[Judged]]
    pca: dict[str, list[Judged]]
    healthy: list[Judged]
    controls: dict[str, Row]

    def figures(self) -> dict[str, Row]:
        """Of every row of the scoreboard."""
        told = {f"control: {name}": row for name, row in self.controls.items()}
        told |= {f"PCA, {name}": counted(those) for name, those in self.pca.items()}
        told |= {f"drift-filter, {name}": counted(those) for name, those in self.drift.items()}
        if self.healthy:
            told["drift-filter, recording without a fault"] = counted(self.healthy)
        return told


def counted(those: Sequence[Judged]) -> Row:
    return figures([one.part for one in those], rows)


def learnt(name: str, pool: Sequence[Labelled]) -> Artefact:
    """A drift filter from the training rows of the `pool`."""
    data = recordings("skab", SKAB.signal_set, SKAB.spec, {one.name: one.rows[:TRAIN_ROWS] for one in pool})
    return artefact(Order(name, architecture="drift-filter", apart=False), data)


async def evaluate(files: Sequence[Labelled], healthy: Sequence[Labelled], pool: Sequence[Labelled]) -> Water:
    """Train, export, judge and count. Of the `pool`, the file that is judged is left out, by its name."""
    drift, pca = dict[str, list[Judged]](), dict[str, list[Judged]]()
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        for n, file in enumerate(files, 1):
            say(n, len(files), "learning from the other files")
            others = [one for one in pool if one.name != file.name]
            await service.serve_artefact(learnt(f"drift-{file.name}", others), asset(file))
        for variant, change in VARIANTS.items():
            drift[variant] = await _judged(service, [change(one) for one in files])
        spread = [piece for one in healthy for piece in stretches(one)]
        told = []
        if spread:
            contract = await service.serve_artefact(learnt("drift", pool), SKAB.signal_set)
            assert contract.signal_set == SKAB.signal_set
            told = await _judged(service, spread)
    with tempfile.TemporaryDirectory() as folder:
        for variant in ("as recorded", "100 rows later"):
            changed = [VARIANTS[variant](one) for one in files]
            service = Service(Path(folder) / variant.replace(" ", "-"))
            for file in changed:
                model = skab.fit(file.rows)
                onnx = to_onnx(model, SKAB)
                contract = contract_of(model, SKAB, f"pca-{file.name}", onnx)
                await service.serve(contract, onnx, asset(file))
            pca[variant] = await _judged(service, changed)
    labels = [one.anomalous[TRAIN_ROWS:] for one in files]
    later = [VARIANTS["100 rows later"](one).anomalous[TRAIN_ROWS:] for one in files]
    controls = {
        "every row is anomalous": figures([part(one, everything(one)) for one in labels], rows),
        "rows 170 to 580 are": figures([part(one, position(one)) for one in labels], rows),
        "rows 170 to 580 are, 100 rows later": figures([part(one, position(one)) for one in later], rows),
    }
    return Water(drift, pca, told, controls)


def asset(file: Labelled) -> str:
    return f"skab.{file.name}"


async def _judged(service: Service, files: Sequence[Labelled]) -> list[Judged]:
    said = await service.judge(SKAB.signal_set, {asset(one): [one.rows] for one in files})
    return [Judged(one, said[asset(one)][0]) for one in files]


def best_and_worst(those: Sequence[Judged]) -> tuple[Judged, Judged]:
    """By F1."""
    ordered = sorted(those, key=lambda one: (one.part.score.f1, one.file.name))
    return ordered[-1], ordered[0]
