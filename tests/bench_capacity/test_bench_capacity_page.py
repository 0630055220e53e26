"""docs/capacity.md says what was recorded, what the calculator says, and whether to record it anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest
from howto.page import play, steps

from bench_capacity.__main__ import FIGURES, PACKAGED
from bench_capacity.conclude import Run, conclude
from bench_capacity.measured import BY
from bench_capacity.report import PAGE, parts, recorded_of
from twinloop.cli.capacity.costs import Recorded, read

RUN = msgspec.json.decode(FIGURES.read_bytes(), type=Run)


def packaged() -> Recorded:
    return read(PACKAGED.read_bytes())


def test_the_packaged_costs_are_those_of_the_recorded_points() -> None:
    recorded, held = conclude(RUN)
    assert recorded.provenance == packaged().provenance
    for name, cost in recorded.cpu.items():
        for driver, one in cost.by.items():
            assert packaged().cpu[name].by[driver].value == pytest.approx(one.value, rel=1e-6, abs=1e-15)
    assert {one.program for one in held} >= set(BY)


def test_the_page_is_made_of_them() -> None:
    recorded, held = conclude(RUN)
    for name, made in parts(RUN, recorded, held).items():
        assert recorded_of()[name] == made.strip("\n"), f"run `make bench-capacity AGAIN=1`: {name}"
    unready = RUN.provenance.beside_other_work or RUN.provenance.short
    assert ("to be recorded anew" in PAGE.read_text()) == unready


@pytest.mark.parametrize("program", BY)
def test_the_model_meets_the_measured_points(program: str) -> None:
    cost = packaged().cpu[program]
    off = []
    for one in RUN.points:
        if one.held_out:
            continue
        measured = max(one.cpu_s[program], 0.05) / one.seconds
        model = max(cost.of(one.of(program)), 0.05) / one.seconds
        off.append(abs(model - measured) / measured)
    assert sorted(off)[len(off) // 2] <= 0.35, off


def test_the_example_prints_what_the_page_says(tmp_path: Path) -> None:
    found = steps(PAGE.read_text())
    assert found
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "160"}
    for step in play(found, tmp_path, environ, limit_s=60):
        assert step.promised is not None
