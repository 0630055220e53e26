"""From welds to vehicles: every joint is traced, what the gate rejects goes nowhere, time runs forward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twinloop.features.cells import against_baseline, slopes
from twinloop.simulator.faults import WindowStep
from twinloop.simulator.fleets.fleet import FleetSpec
from twinloop.simulator.fleets.minutes import plan
from twinloop.simulator.fleets.production import Production, Station, TooMuchScrap, produce
from twinloop.simulator.fleets.vehicle import frames
from twinloop.simulator.process import Conditions, Setpoints, draw_noise, weld, weld_joints

ASSETS = ("a.b.line1.weld1", "a.b.line1.weld2")
SPEC = FleetSpec(stations=ASSETS, vehicles=60)
DIRTY = WindowStep(start=960, until=1920, transmission=0.90)


def stations(limit_uohm: float = 55.0, faults: Any = (DIRTY,)) -> list[Station]:
    return [
        Station(asset, Setpoints(), limit_uohm, tuple(faults) if number == 0 else (), 1_000_000)
        for number, asset in enumerate(ASSETS)
    ]


@pytest.fixture(scope="module")
def made() -> Production:
    return produce(SPEC, stations(), np.random.default_rng(1))


def test_many_welds_are_like_those_that_are_made_one_by_one() -> None:
    draw = np.random.default_rng(1)
    for where in (Conditions(), Conditions(window_transmission=0.9), Conditions(defocus_mm=0.5)):
        width, resistance, measured = weld_joints(Setpoints(), [where] * 400, draw)
        singly = [weld(Setpoints(), where, draw_noise(draw)) for _ in range(150)]
        assert width.mean() == pytest.approx(np.mean([one.width for one in singly]), abs=0.006)
        assert resistance.mean() == pytest.approx(np.mean([one.resistance_uohm for one in singly]), abs=0.2)
        assert resistance.std() == pytest.approx(np.std([one.resistance_uohm for one in singly]), rel=0.25)
        assert (measured - resistance).std() == pytest.approx(2.0, abs=0.25)


def test_every_joint_of_a_vehicle_is_one_that_its_station_welded_before(made: Production) -> None:
    fleet = made.fleet
    for number, asset in enumerate(ASSETS):
        mine, welds = fleet.station == number, made.welds[asset]
        weld = fleet.sequence[mine] - 1_000_000
        assert len(set(weld.tolist())) == len(weld) == 60 * 48
        assert (welds.measured_uohm[weld] == fleet.measured_uohm[mine]).all()
        assert (welds.welded_h[weld] == fleet.welded_h[mine]).all()
        assert not welds.rejected[weld].any()
    assert (fleet.welded_h < fleet.built_h[:, None]).all()
    assert (np.diff(fleet.built_h) >= 0).all()
    modules = fleet.sequence.reshape(60, 8, 12)
    assert (np.diff(modules, axis=2) >= 1).all()


def test_joints_of_a_spell_are_spread_over_vehicles_and_pass_the_gate_unnoticed(made: Production) -> None:
    fleet = made.fleet
    assert fleet.marginal.sum() == 960
    assert (fleet.station[fleet.marginal] == 0).all()
    assert 10 < fleet.marginal.any(axis=1).sum() < 60
    assert fleet.width[fleet.marginal].mean() == pytest.approx(0.76, abs=0.02)
    assert (fleet.measured_uohm <= 55).all()


def test_a_tighter_gate_scraps_marginal_joints() -> None:
    tight = produce(SPEC, stations(47.0), np.random.default_rng(1))
    scrap = tight.welds[ASSETS[0]].rejected
    assert 100 < scrap.sum() < 960
    assert (tight.fleet.measured_uohm <= 47.0).all()
    assert tight.fleet.marginal.sum() < 960 - 100
    with pytest.raises(TooMuchScrap, match="weld1"):
        produce(SPEC, stations(55, [WindowStep(start=0, transmission=0.5)]), np.random.default_rng(1))


def test_the_same_seed_is_the_same_fleet(made: Production) -> None:
    again = produce(SPEC, stations(), np.random.default_rng(1))
    assert (again.fleet.sequence == made.fleet.sequence).all()
    assert (again.baseline_uohm == made.baseline_uohm).all()


def test_a_minute_on_the_road_shows_what_has_grown_since_the_pack_line(made: Production) -> None:
    draw, vehicles, km = np.random.default_rng(2), np.arange(60), np.full(60, 9_000.0)
    minute = frames(draw, made.group_ohm(vehicles, km), km)
    assert minute.shape == (60, 60, 98)
    assert (minute[:, :, -1] == 9_000).all()
    found = slopes(minute[:, :, :-1])
    gained, se, z = against_baseline(
        found.delta_r_uohm, found.se_uohm, made.baseline_uohm, made.baseline_se_uohm
    )
    truth = made.fleet.gained_uohm(km)
    as_built = made.group_ohm(vehicles, np.zeros(60))
    level = np.median(made.group_ohm(vehicles, km), axis=1) - np.median(as_built, axis=1)
    assert (gained - (truth - 1e6 * level[:, None])).std() == pytest.approx(se.mean(), rel=0.06)
    assert found.noise.mean() == pytest.approx(1.0, abs=0.02)
    grown = made.fleet.cracked & (truth > 40)
    assert grown.any()
    assert (z[grown] > 5).all()


def test_minutes_come_in_the_order_of_time_and_each_vehicle_counts_its_own() -> None:
    on_road = np.array([0.0, 100.0, 1e9])
    steps = plan(on_road, 24 * 70.0, 2.0, np.random.default_rng(1))
    assert (np.diff(steps.at_h) >= 0).all()
    assert steps.at_h.max() < 24 * 70
    for vehicle in (0, 1):
        mine = steps.vehicle == vehicle
        assert steps.sequence[mine].tolist() == list(range(mine.sum()))
        assert np.diff(steps.at_h[mine]) == pytest.approx(84.0)
        assert on_road[vehicle] <= steps.at_h[mine][0] < on_road[vehicle] + 84
    assert not (steps.vehicle == 2).any()


def test_stations_that_do_not_share_a_pack_evenly_weld_as_much_as_their_modules_take() -> None:
    three = replace(SPEC, stations=(*ASSETS, "a.b.line1.weld3"), vehicles=20)
    where = [*stations(), Station("a.b.line1.weld3", Setpoints(), 55.0, (), 1)]
    made = produce(three, where, np.random.default_rng(1))
    assert [
        len(one.rejected) >= 20 * 12 * count
        for one, count in zip(made.welds.values(), (3, 3, 2), strict=True)
    ]
    assert [int((made.fleet.station == number).sum()) for number in range(3)] == [720, 720, 480]
