"""What the bets promise: by chance alone they seldom win, whenever one looks; and what they find."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import fisher_exact, hypergeom

from twinloop.controller.field.concentrate import (
    at_risk,
    bets,
    concentrate,
    km_before,
    q_values,
)
from twinloop.controller.field.evidence import Table
from twinloop.controller.field.exact import p_fixed, stratified_tail
from twinloop.controller.field.policy import FieldPolicy, Grid

GRID = Grid(origin=datetime(2026, 1, 5, tzinfo=UTC), bin_h=24.0, bins=12, lengths=(1, 2, 4))
POLICY = FieldPolicy()
STATIONS = 3
PER_STATION = 4


def fleet(vehicles: int = 240, weeks: int = 30, km_per_week: float | NDArray[np.float64] = 300.0) -> Table:
    """Vehicles built evenly over the grid, with `PER_STATION` joints of each station; no anomalies yet."""
    built = np.arange(vehicles) * GRID.bins // vehicles
    joints = np.zeros((vehicles, STATIONS, GRID.bins), np.int16)
    joints[np.arange(vehicles), :, built] = PER_STATION
    pace = np.broadcast_to(km_per_week, (vehicles,))
    km = np.outer(pace, np.arange(1, weeks + 1))
    none = np.zeros(0, np.int64)
    return Table(
        stations=tuple(f"weld{number}" for number in range(STATIONS)),
        vehicles=tuple(f"{number:04d}" for number in range(vehicles)),
        joints=joints,
        total=np.full(vehicles, STATIONS * PER_STATION),
        km=km,
        vehicle=none,
        station=none,
        bin=none,
        week=none,
        distance_km=np.zeros(0),
        event_id=(),
    )


def with_anomalies(table: Table, vehicle: NDArray[np.int64], station: NDArray[np.int64]) -> Table:
    """One anomaly a week, of these vehicles in this order, each at a joint of this station."""
    week = 2 + np.arange(len(vehicle)) * (table.km.shape[1] - 2) // max(len(vehicle), 1)
    return Table(
        stations=table.stations,
        vehicles=table.vehicles,
        joints=table.joints,
        total=table.total,
        km=table.km,
        vehicle=vehicle,
        station=station,
        bin=table.joints[vehicle].sum(axis=1).argmax(axis=1),
        week=week,
        distance_km=table.km[vehicle, week],
        event_id=tuple(f"a{number}" for number in range(len(vehicle))),
    )


def by_chance(draw: np.random.Generator, table: Table, count: int) -> Table:
    """Anomalies that any joint could have had."""
    vehicle = draw.permutation(len(table.total))[:count]
    return with_anomalies(table, vehicle, draw.integers(0, STATIONS, count))


def test_a_bet_is_fair() -> None:
    """Over all ways in which chance can pick two vehicles' joints, the capital stays 1 on average."""
    table = fleet(vehicles=6)
    ways = [
        (np.array([first, second]), np.array([one, other]))
        for first, second in itertools.permutations(range(6), 2)
        for one, other in itertools.product(range(STATIONS), repeat=2)
    ]
    runs = [bets(with_anomalies(table, *way), GRID, POLICY) for way in ways]
    for after in (0, 1):
        assert np.mean([np.exp(run.fleet[after]) for run in runs], axis=0) == pytest.approx(1.0)
        assert np.mean([np.exp(run.within[after]) for run in runs], axis=0) == pytest.approx(1.0)


def test_a_bet_seldom_ever_wins_much() -> None:
    """Ville: whenever one looks, p is at most a with a chance of at most a."""
    draw, table = np.random.default_rng(1), fleet()
    ever = np.array([[p[-1] for p in bets(by_chance(draw, table, 25), GRID, POLICY).p()] for _ in range(200)])
    below = (ever <= 0.05).mean(axis=0)  # [2, S, W]: how often each window's p was so small
    assert below.mean() <= 0.05
    assert below.max() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)


def test_by_chance_next_to_nothing_is_ever_named() -> None:
    draw, table = np.random.default_rng(2), fleet()
    policy = FieldPolicy(alpha=0.1)
    accused = sum(bool(concentrate(by_chance(draw, table, 30), GRID, policy)) for _ in range(200))
    assert accused <= 0.1 * 200


def test_p_and_q_never_rise_so_that_what_is_named_stays_named() -> None:
    draw = np.random.default_rng(3)
    run = bets(by_chance(draw, fleet(), 30), GRID, POLICY)
    fleet_p, within_p = run.p()
    p = np.maximum(fleet_p, within_p)
    assert (np.diff(p, axis=0) <= 0).all()
    assert (np.diff([q_values(one) for one in p], axis=0) <= 1e-12).all()


def a_bad_window(draw: np.random.Generator, table: Table, count: int, others: int) -> Table:
    """`count` vehicles of bins 5 and 6 with anomalies at station 1, `others` by chance among them."""
    (bad,) = np.nonzero(np.isin(table.joints.sum(axis=1).argmax(axis=1), (5, 6)))
    chosen = draw.permutation(bad)[:count]
    rest = draw.permutation(np.setdiff1d(np.arange(len(table.total)), bad))[:others]
    vehicle = np.concatenate([chosen, rest])
    station = np.concatenate([np.ones(count, np.int64), draw.integers(0, STATIONS, others)])
    order = draw.permutation(len(vehicle))
    return with_anomalies(table, vehicle[order], station[order])


def test_a_window_that_many_vehicles_point_at_is_named() -> None:
    draw = np.random.default_rng(4)
    table = a_bad_window(draw, fleet(), count=16, others=8)
    (found,) = concentrate(table, GRID, POLICY)
    assert found.station == 1
    assert GRID.windows[found.window].tolist() == [5, 7]
    assert len(found.anomalies) == 16
    assert found.q <= POLICY.alpha
    assert found.expected < 3
    assert p_fixed(table, GRID, POLICY, found.station, found.window) < 1e-8


def test_where_all_stations_are_hit_alike_none_is_accused() -> None:
    """Vehicles of two days were ill treated: with other vehicles that looks like a fault, within them not."""
    draw, table = np.random.default_rng(5), fleet()
    (bad,) = np.nonzero(np.isin(table.joints.sum(axis=1).argmax(axis=1), (5, 6)))
    vehicle = draw.permutation(bad)[:36]
    found = with_anomalies(table, vehicle, np.arange(36) % STATIONS)
    run = bets(found, GRID, POLICY)
    fleet_p, within_p = run.p()
    assert q_values(fleet_p[-1]).min() < POLICY.alpha
    assert q_values(within_p[-1]).min() > POLICY.alpha
    assert concentrate(found, GRID, POLICY) == []


def test_old_vehicles_do_not_accuse_the_time_that_they_were_built_in() -> None:
    """The first half is driven four times as far, and so has all anomalies: among equals nothing is odd."""
    draw = np.random.default_rng(6)
    pace = np.where(np.arange(240) < 120, 1200.0, 300.0)
    table = fleet(km_per_week=pace)
    found = with_anomalies(table, draw.permutation(120)[:40], draw.integers(0, STATIONS, 40))
    run = bets(found, GRID, POLICY)
    assert q_values(run.p()[0][-1]).min() > POLICY.alpha
    assert run.share.sum(axis=0).max() > 5  # expected there, as many are at risk there


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_vehicles_have_no_order(seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = a_bad_window(draw, fleet(), count=12, others=6)
    order = draw.permutation(len(table.total))
    back = np.argsort(order)
    moved = Table(
        stations=table.stations,
        vehicles=tuple(table.vehicles[at] for at in order),
        joints=table.joints[order],
        total=table.total[order],
        km=table.km[order],
        vehicle=back[table.vehicle],
        station=table.station,
        bin=table.bin,
        week=table.week,
        distance_km=table.distance_km,
        event_id=table.event_id,
    )
    one, other = bets(table, GRID, POLICY), bets(moved, GRID, POLICY)
    assert other.fleet == pytest.approx(one.fleet)
    assert other.within == pytest.approx(one.within)


def test_who_was_anomalous_or_unheard_of_is_not_at_risk() -> None:
    table = fleet(vehicles=24)
    table.km[3, :] = np.nan
    found = with_anomalies(table, np.array([0, 1, 3]), np.zeros(3, np.int64))
    risk = at_risk(found, POLICY)
    assert risk[0].sum() == 23
    assert not risk[1, 0]
    assert risk[1].sum() == 22
    assert np.flatnonzero(risk[2]).tolist() == [3]  # of unknown exposure: with itself alone


def test_the_newest_distance_counts_until_it_is_stale() -> None:
    km = np.array([[100.0, 200.0, np.nan, np.nan, np.nan], [np.nan, 50.0, 60.0, 70.0, 80.0]])
    assert km_before(km, 3, fresh=4)[0] == 200.0
    assert km_before(km, 4, fresh=4).tolist() == [200.0, 70.0]
    assert np.isnan(km_before(km, 5, fresh=3)[0])
    assert np.isnan(km_before(km, 0, fresh=3)).all()


def test_classes_of_exposure_follow_each_other_without_gap() -> None:
    km = np.array([np.nan, 0.0, 499.0, 500.0, 749.0, 751.0, 1126.0])
    assert POLICY.classes(km).tolist() == [-1, 0, 0, 1, 1, 2, 3]


@given(
    joints=st.integers(10, 200),
    data=st.data(),
)
def test_of_one_class_it_is_fishers_exact_test(joints: int, data: st.DataObject) -> None:
    anomalous = data.draw(st.integers(0, joints))
    in_window = data.draw(st.integers(0, joints))
    low = max(0, anomalous + in_window - joints)
    found = data.draw(st.integers(low, min(anomalous, in_window)))
    cells = [[found, in_window - found], [anomalous - found, joints - anomalous - in_window + found]]
    known = fisher_exact(cells, alternative="greater").pvalue
    assert stratified_tail([(joints, anomalous, in_window, found)]) == pytest.approx(known, abs=1e-9)


def test_over_classes_all_ways_to_get_as_many_are_added_up() -> None:
    one, other = (40, 6, 10, 3), (25, 4, 5, 2)
    ways = sum(
        hypergeom.pmf(a, *one[:3]) * hypergeom.pmf(b, *other[:3])
        for a in range(7)
        for b in range(5)
        if a + b >= 5
    )
    assert stratified_tail([one, other]) == pytest.approx(ways)
