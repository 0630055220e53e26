"""The oracle bounds what is possible, and what it is compared with plays by the same rules."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench_loop.bench import FIRST_SEED, runs_of
from bench_loop.cases import BY_NAME, CASES, HORIZON, START, Case
from bench_loop.cell import Cell, Strategy, noise_of, play
from bench_loop.measure import Run
from bench_loop.rules import FOCUS, HOLD, POWER, rules
from bench_loop.strategies import Naive, Oracle, best_setpoints, expected_uohm, off_nominal
from bench_loop.twinloop_loop import LATENCY_PARTS, Twinloop
from twinloop.simulator.process import Conditions, Setpoints


def played(strategy: Strategy, *cases: Case, seed: int = FIRST_SEED) -> list[Run]:
    cells = [Cell(one) for one in cases]
    play([(strategy, cells)], noise_of(seed, max(one.parts for one in cases)))
    return [Run.of(one, strategy.detected(one)) for one in cells]


@pytest.mark.parametrize("seed", [FIRST_SEED, FIRST_SEED + 1])
def test_the_oracle_never_loses_to_the_open_loop_and_keeps_every_rule(seed: int) -> None:
    teams: list[tuple[Strategy, list[Cell]]] = [
        (one, [Cell(case) for case in CASES]) for one in (Strategy(), Oracle())
    ]
    play(teams, noise_of(seed, max(one.parts for one in CASES)))
    for left_open, ideal in zip(teams[0][1], teams[1][1], strict=True):
        bad, most = Run.of(ideal, None).bad, Run.of(left_open, None).bad
        assert len(bad) <= len(most), ideal.case.name
        assert not [one for one in ideal.writes if one.unsafe is not None], ideal.case.name
        at = [one.number for one in ideal.writes if one.actuator != HOLD]
        assert all(after - before >= rules().cooldown_parts for before, after in pairwise(at))


def test_the_oracle_leaves_a_healthy_station_alone() -> None:
    (run,) = played(Oracle(), BY_NAME["healthy"])
    assert not run.writes


def test_the_oracle_stops_only_what_no_setpoint_mends() -> None:
    names = ("gap_140", "gap_100", "defocus_+10", "power_40", "plc_ignores")
    runs = dict(zip(names, played(Oracle(), *(BY_NAME[one] for one in names)), strict=True))
    stopped = {name for name, run in runs.items() if any(one.actuator == HOLD for one in run.writes)}
    assert stopped == {"gap_140", "plc_ignores"}
    assert len(runs["gap_140"].resistance) == START
    assert not runs["gap_140"].bad


@pytest.mark.parametrize(
    ("known", "power_w", "focus_mm"),
    [
        (Conditions(), 1000.0, 0.0),
        (Conditions(window_transmission=0.8), 1250.0, 0.0),
        (Conditions(window_transmission=0.5), 1350.0, 0.0),
        (Conditions(defocus_mm=0.8), 1000.0, -0.8),
        (Conditions(power_factor=1.25), 850.0, 0.0),
    ],
)
def test_the_best_setpoints_lead_back_to_nominal_as_far_as_the_limits_allow(
    known: Conditions, power_w: float, focus_mm: float
) -> None:
    best = best_setpoints(known)
    assert best.power_w == pytest.approx(power_w)
    assert best.focus_mm == pytest.approx(focus_mm)
    assert off_nominal(best, known) <= off_nominal(Setpoints(), known)
    assert expected_uohm(best, known) <= expected_uohm(Setpoints(), known) + 1


def test_the_threshold_controller_raises_power_alone_and_never_beyond_the_limit() -> None:
    for run in played(Naive(LATENCY_PARTS), BY_NAME["window_70"], BY_NAME["defocus_+10"]):
        values = [one.value for one in run.writes]
        assert {one.actuator for one in run.writes} == {POWER}
        assert values == sorted(values)
        assert max(values) <= 1350.0
        assert not [one for one in run.writes if one.unsafe]
        at = [one.number for one in run.writes]
        assert at[0] >= START + LATENCY_PARTS
        assert all(after - before >= rules().cooldown_parts + LATENCY_PARTS for before, after in pairwise(at))


def test_twinloop_leaves_a_healthy_station_alone_and_mends_what_can_be_mended() -> None:
    names = ("healthy", "window_80", "defocus_-8", "gap_140")
    teams = runs_of(FIRST_SEED, [BY_NAME[one] for one in names])
    assert not teams["healthy"]["twinloop"].writes
    for name, actuator in (("window_80", POWER), ("defocus_-8", FOCUS), ("gap_140", HOLD)):
        run = teams[name]["twinloop"]
        assert {one.actuator for one in run.writes} == {actuator}
        assert not [one for one in run.writes if one.unsafe]
        assert len(run.bad) < HORIZON / 10 < len(teams[name]["open"].bad)
        assert run.writes[0].number >= START + LATENCY_PARTS


def test_cells_that_are_judged_together_do_not_know_of_each_other() -> None:
    case, other = BY_NAME["window_80"], BY_NAME["defocus_+8"]
    together = played(Twinloop(LATENCY_PARTS), case, other)
    alone = [*played(Twinloop(LATENCY_PARTS), case), *played(Twinloop(LATENCY_PARTS), other)]
    assert together == alone


def test_a_longer_latency_costs_parts() -> None:
    case = BY_NAME["defocus_+10"]
    (fast,), (slow,) = played(Twinloop(2), case), played(Twinloop(20), case)
    assert len(fast.bad) < len(slow.bad)
