"""What the detector and the controller say of single parts, by what is really wrong. On held-out seeds.

The loop is open: what is asked is whether one part, alone, is told apart, not what evidence over several
parts adds to that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from bench_loop.cases import CASES, START, Case
from bench_loop.cell import Welder, noise_of
from bench_loop.served import served
from bench_loop.twinloop_loop import diagnosis_of
from twinloop.simulator import faults as inject
from twinloop.simulator.process import Setpoints

HELD_OUT = 1_000_000
"""Seeds from here on are neither of the commissioning nor of the bench."""
PARTS = 20
"""So many parts of each fault and seed."""
COLUMNS = ("no anomaly", "dirty_window", "defocus", "gap", "power_error", "sensor_fault", "unknown")
TRUTHS = ("healthy", "dirty window", "defocus", "gap", "local gap", "power error", "sensor fault")
RIGHT = {
    "healthy": ("no anomaly",),
    "dirty window": ("dirty_window",),
    "defocus": ("defocus",),
    "gap": ("gap",),
    "local gap": ("gap",),
    "power error": ("power_error",),
    "sensor fault": ("sensor_fault", "unknown", "no anomaly"),
}
"""What may be said of each. What is unknown is never acted on, so it is not wrong where a sensor is."""

Matrix = dict[str, Counter[str]]


def told(case: Case, seed: int, parts: int = PARTS) -> list[str]:
    """Of each of the first faulty parts of `case`: one of `COLUMNS`, or a newer diagnosis."""
    numbers = range(START, START + parts)
    windows = np.stack(
        [
            inject.disturb_signals(
                case.faults, n, Welder(noise).weld(Setpoints(), inject.conditions(case.faults, n)).signals
            )
            for n, noise in zip(numbers, noise_of(HELD_OUT + seed, parts), strict=True)
        ]
    )
    contract, answer = served().contract, served().infer(windows)
    said = []
    for score, features, deviations in zip(answer.score, answer.features, answer.deviations, strict=True):
        if score <= contract.threshold:
            said.append("no anomaly")
            continue
        named = dict(zip(contract.features, features.tolist(), strict=True))
        apart = dict(zip(contract.features, deviations.tolist(), strict=True))
        said.append(diagnosis_of(named, apart))
    return said


def matrix(seeds: Sequence[int], by_case: bool = False) -> Matrix:
    """Counts of parts: rows are truths (or titles of cases), columns what is said."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in CASES:
        if case.truth:
            for seed in seeds:
                found[case.title if by_case else case.truth].update(told(case, seed))
    return dict(found)


def merged(matrices: Sequence[Mapping[str, Mapping[str, int]]]) -> Matrix:
    """The sums."""
    whole: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in matrices:
        for truth, said in one.items():
            whole[truth].update(said)
    return dict(whole)


def recall(found: Matrix, truth: str) -> float:
    """The share of parts of `truth` of which the right thing is said."""
    said = found[truth]
    return sum(said[one] for one in RIGHT[truth]) / said.total()
