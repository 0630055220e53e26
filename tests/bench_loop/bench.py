"""The whole bench: every case by every strategy from many seeds, on all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench_loop.cases import CASES, Case
from bench_loop.cell import Cell, Strategy, noise_of, play
from bench_loop.confusion import Matrix, matrix
from bench_loop.measure import Run, Tally
from bench_loop.strategies import Naive, Oracle
from bench_loop.twinloop_loop import LATENCY_PARTS, Twinloop

FIRST_SEED = 1001
"""Seeds of the bench: not the commissioning's."""
STRATEGIES = ("open", "naive", "twinloop", "oracle")

Tallies = dict[str, dict[str, Tally]]
"""By the case's name and the strategy's."""


@dataclass
class Figures:
    """Of one seed, or summed up over several."""

    tallies: Tallies
    by_truth: Matrix
    by_case: Matrix


def runs_of(
    seed: int, cases: Sequence[Case] = CASES, latency_parts: int = LATENCY_PARTS
) -> dict[str, dict[str, Run]]:
    """Every case by every strategy, from the same noise."""
    strategies: list[Strategy] = [Strategy(), Naive(latency_parts), Twinloop(latency_parts), Oracle()]
    teams = [(one, [Cell(case) for case in cases]) for one in strategies]
    play(teams, noise_of(seed, max(case.parts for case in cases)))
    return {
        case.name: {one.name: Run.of(cells[n], one.detected(cells[n])) for one, cells in teams}
        for n, case in enumerate(cases)
    }


def tallied(runs: dict[str, dict[str, Run]]) -> Tallies:
    """The counts of one seed."""
    found: Tallies = {}
    for case, by in runs.items():
        found[case] = {name: Tally() for name in by}
        for name, run in by.items():
            found[case][name].add(run, by["open"], by["oracle"])
    return found


def figures(seed: int, latency_parts: int = LATENCY_PARTS) -> Figures:
    """Of one seed: what a worker does."""
    tallies = tallied(runs_of(FIRST_SEED + seed, latency_parts=latency_parts))
    return Figures(tallies, matrix([seed]), matrix([seed], by_case=True))


def measured(seeds: int, latency_parts: int = LATENCY_PARTS) -> Iterator[Figures]:
    """Seed by seed, as they are done."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"  # the workers share the cores as it is
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from pool.imap_unordered(partial(figures, latency_parts=latency_parts), range(seeds))
