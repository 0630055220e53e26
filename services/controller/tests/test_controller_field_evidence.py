"""Folding knows neither order nor repetition, one vehicle counts once, and a finding asks for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from twinloop.contracts.field import (
    VEHICLE,
    BuiltJoint,
    BuiltModule,
    BuiltPack,
    FieldFinding,
    VehicleAnomaly,
    VehicleBuilt,
    VehicleScore,
)
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.contracts.times import unix_ns
from twinloop.controller.field.affected import forecast
from twinloop.controller.field.evidence import Evidence
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import WEEK_NS, FieldPolicy, Grid
from twinloop.controller.field.propose_field import Remedy, look, novel, propose_field
from twinloop.controller.field.recall import affected

START = datetime(2026, 1, 5, tzinfo=UTC)
GRID = Grid(origin=START, bin_h=24.0, bins=20, lengths=(1, 2, 4))
POLICY = FieldPolicy()
STATIONS = tuple(f"acme.berlin.packs.line1.weld{number}" for number in (1, 2, 3))
VEHICLES = 60
NOW = START + timedelta(days=150)

FieldEvent = VehicleBuilt | VehicleAnomaly | VehicleScore


def built(vehicle: int, *, later_h: float = 0.0, uohm: float = 42.0) -> VehicleBuilt:
    """A vehicle with two modules of two joints from each station; three vehicles a day."""
    at = START + timedelta(hours=8 * vehicle + later_h)
    modules = tuple(
        BuiltModule(
            module_id=f"{vehicle}-{place}",
            joints=tuple(
                BuiltJoint(
                    cell_group=2 * place + joint,
                    part_id=f"weld{place + 1}-{vehicle:06d}{joint}",
                    station=station,
                    sequence=2 * vehicle + joint,
                    welded_at=at,
                    recipe="tab-cu-al/3",
                    resistance_uohm=uohm
                    + (vehicle % 5) * 0.5
                    + (4.0 if place == 1 and bad(vehicle) else 0.0),
                    baseline_uohm=0.0,
                    baseline_se_uohm=1.25,
                )
                for joint in range(2)
            ),
        )
        for place, station in enumerate(STATIONS)
    )
    return VehicleBuilt(
        event_id=event_id("built", vehicle, later_h),
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        packs=(BuiltPack(pack_id=str(vehicle), modules=modules),),
    )


def bad(vehicle: int) -> bool:
    """Whether weld2 was in a bad way when it made this vehicle's joints: days 6 to 9."""
    return 18 <= vehicle < 30


def anomaly(
    vehicle: int, group: int, day: float, z: float = 9.0, by: VehicleBuilt | None = None
) -> VehicleAnomaly:
    at = START + timedelta(days=day)
    return VehicleAnomaly(
        event_id=event_id("anomaly", vehicle, group, day, None if by is None else by.event_id),
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        cell_group=group,
        delta_r_uohm=3 * z,
        se_uohm=3.0,
        z=z,
        distance_km=day * 50.0,
        model="cells",
        model_version=1,
        input_digest="",
        built_at=None if by is None else by.observed_at,
    )


def score(vehicle: int, day: int, by: VehicleBuilt | None = None) -> VehicleScore:
    at = START + timedelta(days=day)
    return VehicleScore(
        event_id=event_id("score", vehicle, day),
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        distance_km=day * 50.0,
        snippets=7,
        worst_cell_group=0,
        worst_z=1.0,
        model="cells",
        model_version=1,
        built_at=None if by is None else by.observed_at,
    )


def history() -> list[FieldEvent]:
    """A hundred and forty days of 60 vehicles, of which eleven show that weld2 was in a bad way."""
    events: list[FieldEvent] = [built(vehicle) for vehicle in range(VEHICLES)]
    events += [score(vehicle, day) for vehicle in range(VEHICLES) for day in range(21, 147, 7)]
    events += [anomaly(vehicle, 2 + vehicle % 2, 40 + 7 * (vehicle - 18)) for vehicle in range(18, 29)]
    events += [anomaly(3, 0, 60.0), anomaly(50, 5, 90.0)]
    return events


def folded(events: list[FieldEvent]) -> tuple[Genealogy, Evidence]:
    genealogy, evidence = Genealogy(), Evidence()
    for event in events:
        if isinstance(event, VehicleBuilt):
            genealogy.fold(event)
        else:
            evidence.fold(event)
    return genealogy, evidence


def found(events: list[FieldEvent], now: datetime = NOW) -> list[FieldFinding]:
    genealogy, evidence = folded(events)
    return look(evidence, genealogy, GRID, POLICY, now)


def test_eleven_vehicles_of_one_window_lead_to_its_station() -> None:
    (finding,) = found(history())
    assert finding.asset == STATIONS[1]
    assert finding.vehicles == 11
    assert finding.window_from <= START + timedelta(days=6)
    assert finding.window_to >= START + timedelta(days=9)
    assert finding.evidence == tuple(
        anomaly(vehicle, 2 + vehicle % 2, 40 + 7 * (vehicle - 18)).event_id for vehicle in range(18, 29)
    )
    assert finding.p_fixed < finding.p < finding.q <= POLICY.alpha
    assert finding.built >= 12


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_order_and_repetition_change_nothing(seed: int) -> None:
    events = history()
    twice = [*events, *events]
    order = np.random.default_rng(seed).permutation(len(twice))
    assert found([twice[at] for at in order]) == found(events)


REPLACED = (18, 19, 20)


def rebuilt(vehicle: int) -> VehicleBuilt:
    """It got another pack after 90 days, whose joints are all from weld3."""
    made = built(vehicle, later_h=24 * 90.0 - 8 * vehicle)
    return replace(
        made,
        packs=tuple(
            replace(
                pack,
                modules=tuple(
                    replace(module, joints=tuple(replace(one, station=STATIONS[2]) for one in module.joints))
                    for module in pack.modules
                ),
            )
            for pack in made.packs
        ),
    )


@pytest.mark.parametrize("told", [True, False])
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_what_was_told_of_a_pack_that_was_replaced_accuses_nobody_in_any_order(told: bool, seed: int) -> None:
    """Of eleven vehicles three got another pack. One of the new packs has an anomaly, of a group that the old
    one had one in. `told`: whether events say by which build they were judged, as those of old did not."""
    old = {vehicle: built(vehicle) for vehicle in REPLACED}
    new = {vehicle: rebuilt(vehicle) for vehicle in REPLACED}

    def by(event: VehicleAnomaly | VehicleScore) -> datetime | None:
        vehicle = int(event.vehicle, 16)
        if not told or vehicle not in REPLACED:
            return None
        packs = old if event.observed_at < new[vehicle].observed_at else new
        return packs[vehicle].observed_at

    events: list[FieldEvent] = [*history(), *new.values(), anomaly(19, 3, 120.0)]
    events = [one if isinstance(one, VehicleBuilt) else replace(one, built_at=by(one)) for one in events]
    order = np.random.default_rng(seed).permutation(len(events))
    genealogy, evidence = folded([events[at] for at in order])
    table = evidence.table(genealogy, GRID, NOW)
    of = dict(zip(table.vehicle.tolist(), table.station.tolist(), strict=True))
    assert of.keys() == {*range(19, 29), 3, 50} - {20}
    assert of[19] == 2
    first = (unix_ns(new[18].observed_at) - unix_ns(START)) // WEEK_NS
    assert np.isnan(table.km[18, : first - 1]).all()
    assert not np.isnan(table.km[18, first + 1 : 20]).any()
    in_order = folded(events)[1].table(genealogy, GRID, NOW)
    assert table.event_id == in_order.event_id
    np.testing.assert_array_equal(table.km, in_order.km)


def test_what_was_judged_by_a_pack_that_was_replaced_already_is_left_out() -> None:
    """That another pack was built in became known late: until then minutes were judged by the old one's."""
    late = anomaly(19, 3, 120.0, by=built(19))
    genealogy, evidence = folded([built(19), rebuilt(19), late, score(19, 120, by=built(19))])
    table = evidence.table(genealogy, GRID, NOW)
    assert not len(table.vehicle)
    assert np.isnan(table.km).all()
    evidence.fold(anomaly(19, 3, 120.0, by=rebuilt(19)))
    evidence.fold(score(19, 120, by=rebuilt(19)))
    table = evidence.table(genealogy, GRID, NOW)
    assert table.station.tolist() == [0]
    assert np.isfinite(table.km).sum() == 1


def test_folding_says_whether_anything_has_changed() -> None:
    genealogy, evidence = Genealogy(), Evidence()
    assert genealogy.fold(built(1))
    assert not genealogy.fold(built(1))
    assert genealogy.fold(built(1, later_h=400.0))  # its pack was replaced
    assert not genealogy.fold(built(1))
    assert evidence.fold(anomaly(1, 3, 50.0))
    assert not evidence.fold(anomaly(1, 3, 50.0))
    assert evidence.fold(anomaly(1, 0, 51.0))
    assert evidence.fold(anomaly(1, 0, 49.0))
    assert evidence.fold(score(1, 30))
    assert not evidence.fold(score(1, 29))


def test_one_vehicle_counts_once_by_its_earliest_anomaly() -> None:
    genealogy, evidence = folded([built(1), anomaly(1, 3, 50.0), anomaly(1, 0, 51.0), anomaly(1, 5, 49.0)])
    table = evidence.table(genealogy, GRID, NOW)
    assert table.event_id == (anomaly(1, 5, 49.0).event_id,)


def corrected(number: int, told_h: float, uohm: float) -> VehicleBuilt:
    """The same build of a vehicle, told so many hours later."""
    one = built(0, uohm=uohm)
    return replace(one, at=one.at + timedelta(hours=told_h), event_id=f"{number}")


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=4))
def test_the_correction_that_was_told_last_counts_in_whatever_order_it_is_read(
    order: list[int], again: list[int]
) -> None:
    told = [corrected(5, 0, 42.0), corrected(9, 1, 43.0), corrected(5, 2, 42.0), corrected(0, 2, 44.0)]
    genealogy = Genealogy()
    for at in [*order, *again]:
        genealogy.fold(told[at])
    assert genealogy.joints(told[0].vehicle) == tuple(
        sorted(told[2].joints(), key=lambda one: one.cell_group)
    )


def test_a_correction_changes_something_and_its_repetition_does_not() -> None:
    genealogy = Genealogy()
    first, second = corrected(2, 0, 42.0), corrected(1, 1, 43.0)
    assert genealogy.fold(first)
    assert genealogy.fold(second)
    assert not genealogy.fold(first)
    assert not genealogy.fold(replace(second, at=second.at + timedelta(hours=1)))
    assert genealogy.fold(built(0, later_h=5.0))
    assert not genealogy.fold(replace(second, at=second.at + timedelta(hours=9)))


def test_of_one_minutes_anomalies_the_clearest_counts() -> None:
    genealogy, evidence = folded(
        [built(1), anomaly(1, 3, 50.0, z=6.0), anomaly(1, 4, 50.0, z=12.0), anomaly(1, 5, 50.0, z=7.0)]
    )
    kept = evidence.first(f"{1:032x}", genealogy)
    assert kept is not None
    assert kept.cell_group == 4


def test_what_lies_after_a_look_has_not_happened_yet() -> None:
    events = history()
    then = START + timedelta(days=70)
    past = [event for event in events if event.observed_at < then]
    assert found(events, then) == found(past, then) == []


def test_evidence_of_a_vehicle_that_is_not_known_yet_waits_for_it() -> None:
    events = history()
    late = [event for event in events if not isinstance(event, VehicleBuilt)]
    genealogy, evidence = folded(late)
    assert look(evidence, genealogy, GRID, POLICY, NOW) == []
    for event in events:
        if isinstance(event, VehicleBuilt):
            genealogy.fold(event)
    assert look(evidence, genealogy, GRID, POLICY, NOW) == found(events)


def test_a_proposal_asks_a_person_and_lists_its_evidence() -> None:
    genealogy, evidence = folded(history())
    (finding,) = look(evidence, genealogy, GRID, POLICY, NOW)
    proposal = propose_field(finding, genealogy, limit_uohm=55.0)
    assert proposal.mode is Mode.SUPERVISED
    assert proposal.evidence == finding.evidence
    assert proposal.remedies == (Remedy.INSPECT, Remedy.CLEAN_WINDOW, Remedy.TIGHTER_LIMIT)
    assert proposal.limit_uohm == 44.0
    assert 0.5 < proposal.caught <= 1.0
    assert "11 of" in proposal.reason
    assert propose_field(finding, genealogy, limit_uohm=44.0).limit_uohm is None


def test_nothing_is_said_twice_of_the_same_window() -> None:
    (finding,) = found(history())
    assert novel([finding], []) == [finding]
    assert novel([finding], [finding]) == []
    more = [*history(), anomaly(29, 2, 130.0)]
    (later,) = found(more)
    assert later.vehicles == 12
    assert novel([later], [finding]) == []


def test_a_recall_lists_pseudonyms_and_parts_of_a_station_and_time() -> None:
    genealogy, _ = folded(history())
    listed = affected(genealogy, STATIONS[1], START + timedelta(days=6), START + timedelta(days=7))
    assert [one.vehicle for one in listed] == [f"{vehicle:032x}" for vehicle in (18, 19, 20)]
    assert listed[0].cell_groups == (2, 3)
    assert listed[0].part_ids == ("weld2-0000180", "weld2-0000181")
    assert affected(genealogy, STATIONS[1], NOW, NOW + timedelta(days=1)) == []


@settings(max_examples=30)
@given(data=st.data())
def test_a_recall_looks_at_vehicles_from_those_days_alone_and_forgets_replaced_packs(
    data: st.DataObject,
) -> None:
    genealogy = Genealogy()
    for vehicle in data.draw(st.lists(st.integers(0, 5), max_size=12)):
        build = data.draw(st.sampled_from([built(vehicle), rebuilt(vehicle), built(vehicle, later_h=30)]))
        genealogy.fold(build)
    every = sorted((one.station, one.welded_at, who, one.part_id) for who, one in genealogy.every_joint())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Genealogy, "every_joint", None)
        assert genealogy.stations == tuple(sorted({station for station, *_ in every}))
        for station, start_h, hours in product((*STATIONS, "none"), range(-32, 96, 8), (-1, 0, 1, 30, 2400)):
            start = START + timedelta(hours=start_h)
            end = start + timedelta(hours=hours)
            found = [(one.welded_at, who, one.part_id) for who, one in genealogy.made_in(station, start, end)]
            assert sorted(found) == [
                tuple(rest) for at, *rest in every if at == station and start <= rest[0] < end
            ]


def test_a_forecast_counts_young_vehicles_for_what_they_have_shown() -> None:
    km = np.concatenate([np.full(20, 10_000.0), np.full(20, 2_000.0)])
    failed = np.zeros(40, np.bool_)
    failed[:10] = True
    km[:10] = 5_000.0
    more = forecast(km, failed, failed, least_at_risk=10)
    assert more.until_km == 10_000.0
    assert more.expected == pytest.approx(10.0)  # half of those that came as far did not last
    assert more.low < 10 < more.high
    assert more.built == 40


def test_a_forecast_of_nothing_seen_is_none_and_not_certain() -> None:
    none = np.zeros(50, np.bool_)
    more = forecast(np.linspace(1000, 9000, 50), none, none, least_at_risk=10)
    assert (more.expected, more.low) == (0.0, 0)
    assert 1 <= more.high <= 3


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), share=st.floats(0.0, 0.9))
def test_a_forecast_stays_within_those_that_are_left(seed: int, share: float) -> None:
    draw = np.random.default_rng(seed)
    km = draw.uniform(100, 20_000, 60)
    gone = draw.random(60) < share
    failed = gone & (draw.random(60) < 0.8)
    more = forecast(km, failed, gone, least_at_risk=10)
    assert 0 <= more.low <= more.expected <= more.high <= max(3, (~gone).sum())
