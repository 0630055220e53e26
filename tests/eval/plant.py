"""The simulated plant: what is detected of each fault, part by part, on seeds that nothing was learnt from.

Beside the model that the demo fits in numpy: the same in torch, and a network. All three learn from the same
healthy welds, and judge the same parts.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from bench_loop.cases import CASES, START, Case
from bench_loop.cell import Cell, Welder, noise_of
from bench_loop.confusion import HELD_OUT
from bench_loop.rules import ASSET
from bench_loop.served import COMMISSIONING_PARTS, COMMISSIONING_SEED

from eval.service import Floats, Service, frame_of
from eval.trained import artefact
from twinloop.simulator import faults as inject
from twinloop.simulator.process import Setpoints
from twinloop.trainer.recipes import WELD
from twinloop.trainer.training.job import Order
from twinloop.trainer.training.recordings import Recording, Recordings

PARTS = 20
"""So many parts of each fault and seed."""
SEEDS, HEALTHY_SEEDS = 10, 100
ARCHITECTURES = ("mahalanobis", "autoencoder")


def _faint(title: str, fault: inject.Fault) -> Case:
    return Case(f"faint {title}", f"faint: {title}", (fault,), frozenset(), "faint")


FAINT = (
    *(
        _faint(f"dirty window, τ {tau:g}", inject.WindowStep(start=START, transmission=tau))
        for tau in (0.99, 0.98, 0.97)
    ),
    *(_faint(f"defocus +{z:g} mm", inject.Defocus(start=START, offset_mm=z)) for z in (0.1, 0.2)),
    *(_faint(f"gap {gap:g} µm", inject.Gap(start=START, gap_um=gap)) for gap in (20.0, 40.0)),
    *(_faint(f"local gap {gap:g} µm", inject.LocalGap(start=START, gap_um=gap)) for gap in (40.0, 60.0)),
    *(
        _faint(f"power +{100 * (factor - 1):.0f} %", inject.PowerError(start=START, factor=factor))
        for factor in (1.02, 1.04)
    ),
)
"""Faults that make no scrap yet: here models differ."""


@dataclass(frozen=True, slots=True)
class Detected:
    """Of one fault: how many parts were judged, and how many were called anomalous, by architecture."""

    title: str
    truth: str
    parts: int
    anomalous: dict[str, int]


@cache
def healthy_welds() -> Floats:
    """As the demo's commissioning makes them: float32 [parts, samples, signals]."""
    cell = Cell(Case("commissioning", "", (), frozenset(), parts=COMMISSIONING_PARTS))
    noise = noise_of(COMMISSIONING_SEED, COMMISSIONING_PARTS)
    return np.stack([cell.weld(Welder(one)).signals for one in noise]).astype(np.float32)


def welds(case: Case, seed: int) -> list[Floats]:
    """The first parts after a fault has begun."""
    return [
        inject.disturb_signals(
            case.faults, n, Welder(noise).weld(Setpoints(), inject.conditions(case.faults, n)).signals
        ).astype(np.float32)
        for n, noise in zip(range(START, START + PARTS), noise_of(HELD_OUT + seed, PARTS), strict=True)
    ]


def order_of(architecture: str) -> Order:
    return Order(f"weld-{architecture}", architecture=architecture, apart=architecture != "mahalanobis")


async def evaluate(seeds: int = SEEDS, healthy_seeds: int = HEALTHY_SEEDS) -> list[Detected]:
    """Train, export and judge."""
    cases = [case for case in (*CASES, *FAINT) if case.truth]
    made = {
        case.name: [
            part for seed in range(seeds if case.faults else healthy_seeds) for part in welds(case, seed)
        ]
        for case in cases
    }
    found: dict[str, dict[str, int]] = {case.name: {} for case in cases}
    data = Recordings("commissioning", WELD.signal_set, WELD.spec, (Recording(ASSET, healthy_welds()),))
    for architecture in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as folder:
            service = Service(Path(folder))
            await service.serve_artefact(artefact(order_of(architecture), data), WELD.signal_set)
            for case in cases:
                frames = [
                    frame_of(f"{ASSET}.{case.name}", WELD.signal_set, n, part, part_id=f"part-{n}")
                    for n, part in enumerate(made[case.name])
                ]
                found[case.name][architecture] = len(await service.anomalies(frames))
    return [Detected(case.title, case.truth, len(made[case.name]), found[case.name]) for case in cases]
