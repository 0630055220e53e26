"""A fleet: who welded what, what a dirty window does to it, and what months of driving show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from twinloop.features.cells import against_baseline, slopes
from twinloop.simulator.fleets.fleet import BAD_UOHM, Customers, Fleet, FleetSpec, Spell, build, seams
from twinloop.simulator.fleets.months import BASELINE_SE_UOHM, CONSPICUOUS_Z, SE_UOHM, anomalies
from twinloop.simulator.fleets.vehicle import cells, drive

SPEC = FleetSpec(vehicles=400)
SPELL = Spell(station=1, from_h=72.0, to_h=120.0, window_transmission=0.90)
SEAMS = seams()


def fleet(seed: int = 1, spec: FleetSpec = SPEC) -> Fleet:
    return build(spec, np.random.default_rng(seed), SEAMS)


def test_every_part_is_used_once_and_counted_in_the_order_of_its_making() -> None:
    made = fleet()
    for station in range(len(SPEC.stations)):
        mine = made.station == station
        assert mine.sum(axis=1).tolist() == [24] * SPEC.vehicles
        order = np.argsort(made.sequence[mine])
        assert made.sequence[mine][order].tolist() == list(range(1, mine.sum() + 1))
        assert (np.diff(made.welded_h[mine][order]) >= 0).all()
    assert made.part_id(3, 5).startswith(f"weld{made.station[3, 5] + 1}-00000")
    assert (made.welded_h < made.built_h[:, None]).all()


def test_a_slightly_dirty_window_makes_marginal_joints_that_pass_the_limit() -> None:
    made = fleet(spec=replace(SPEC, spells=(SPELL,)))
    inside = (made.station == 1) & (made.welded_h >= 72) & (made.welded_h < 120)
    assert (made.marginal == inside).all()
    assert made.width[inside].mean() == pytest.approx(0.76, abs=0.02)  # as in the reference plant
    assert made.width[~inside].mean() == pytest.approx(1.0, abs=0.01)
    assert (made.measured_uohm <= BAD_UOHM).all()
    assert made.measured_uohm[inside].mean() == pytest.approx(46, abs=0.5)
    assert made.cracked[inside].mean() > 20 * made.cracked[~inside].mean()


def test_cracks_grow_with_the_distance_and_faster_in_some_vehicles() -> None:
    made = fleet(spec=replace(SPEC, spells=(SPELL,)))
    early, late = (made.joint_uohm(np.full(SPEC.vehicles, km)) for km in (5_000.0, 20_000.0))
    assert (late[made.cracked] > early[made.cracked]).all()
    assert (late[~made.cracked] == early[~made.cracked]).all()
    gained = made.crack_uohm[made.cracked]
    assert gained.max() > 3 * np.median(gained)
    assert (made.distance_km(0.0) == 0).all()


def test_customers_drive_farther_or_harder_without_any_stations_fault() -> None:
    plain = fleet()
    far = fleet(spec=replace(SPEC, customers=(Customers(2, 4, far=4.0),)))
    theirs = (plain.built_h >= 48) & (plain.built_h < 96)
    assert far.km_per_day[theirs] == pytest.approx(4 * plain.km_per_day[theirs])
    assert far.km_per_day[~theirs] == pytest.approx(plain.km_per_day[~theirs])
    harsh = fleet(spec=replace(SPEC, customers=(Customers(2, 4, harsh=60.0),)))
    assert harsh.cracked[theirs].sum() > 5 * plain.cracked[theirs].sum()
    assert {int(one) for one in harsh.station[harsh.cracked]} == {0, 1, 2, 3}


def test_what_is_found_are_cracks_and_each_is_confirmed_by_a_second_day() -> None:
    made = fleet(spec=replace(SPEC, spells=(SPELL,)))
    shown = anomalies(made, np.random.default_rng(2), 240 * 24.0)
    assert len(shown.vehicle) > 20
    assert made.cracked[shown.vehicle, shown.group].mean() > 0.95
    assert (shown.z > CONSPICUOUS_Z).all()
    assert (np.diff(shown.at_h) >= 0).all()
    assert (shown.at_h > made.on_road_h[shown.vehicle]).all()
    truth = made.crack_uohm[shown.vehicle, shown.group] * (shown.distance_km / 20_000) ** 1.5
    assert np.median(truth) == pytest.approx(CONSPICUOUS_Z * np.hypot(SE_UOHM, BASELINE_SE_UOHM), rel=0.25)


def test_the_short_cut_scatters_as_the_way_through_the_voltages_does() -> None:
    """ΔR less baseline, as `months` draws it, against five minutes on the tester and one on the road."""
    draw = np.random.default_rng(3)
    made = fleet(spec=replace(SPEC, vehicles=150, spells=(Spell(1, 0.0, 90.0, 0.86),)))
    km = np.full(150, 8_000.0)
    gained = made.gained_uohm(km)
    cell_ohm = cells(draw, 150, SPEC.groups)
    new = 1e-6 * (30 + 12 / made.width)
    tests = [slopes(drive(draw, cell_ohm, new).windows()).delta_r_uohm for _ in range(5)]
    baseline = np.mean(tests, axis=0)
    road = slopes(drive(draw, cell_ohm, new + 1e-6 * gained).windows())
    found, se, _ = against_baseline(
        road.delta_r_uohm, road.se_uohm, baseline, np.full(baseline.shape, BASELINE_SE_UOHM)
    )
    before, after = 1e6 * (cell_ohm + new), 1e6 * (cell_ohm + new) + gained
    level = np.median(after, axis=1, keepdims=True) - np.median(before, axis=1, keepdims=True)
    away = found - (gained - level)
    assert away.mean() == pytest.approx(0.0, abs=0.2)
    assert away.std() == pytest.approx(np.hypot(SE_UOHM, BASELINE_SE_UOHM), rel=0.06)
    assert se.mean() == pytest.approx(np.hypot(SE_UOHM, BASELINE_SE_UOHM), rel=0.04)
