"""The scenes say the same in arrays and as events, and a few seeds come out as they should."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from bench_field import scenes
from bench_field.contestants import betting
from bench_field.measure import before, measure
from bench_field.report import plot, table_of_figures
from bench_field.scenes import DAYS, SPEC, Scene, events_of, grid_of, table_of
from twinloop.contracts.events import Anomaly
from twinloop.contracts.field import VehicleAnomaly, VehicleBuilt, VehicleScore
from twinloop.controller.field.evidence import Evidence, Table
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import FieldPolicy
from twinloop.controller.field.propose_field import look, propose_field
from twinloop.controller.field.recall import affected
from twinloop.controller.field.vehicles import Watched, watch
from twinloop.features.cells import slopes
from twinloop.simulator.fleets.built import vehicle_built
from twinloop.simulator.fleets.fleet import Spell, build
from twinloop.simulator.fleets.months import BASELINE_SE_UOHM, anomalies
from twinloop.simulator.fleets.vehicle import cells, drive


def small_scene() -> Scene:
    """A week's vehicles, a clear fault in the middle."""
    spec = replace(SPEC, vehicles=280, spells=(Spell(2, 60.0, 108.0, 0.86),))
    draw = np.random.default_rng(7)
    fleet = build(spec, draw, scenes.seams())
    return Scene(fleet, anomalies(fleet, draw, DAYS * 24.0))


def folded(scene: Scene) -> tuple[Genealogy, Evidence]:
    genealogy, evidence = Genealogy(), Evidence()
    for event in events_of(scene, grid_of(scene.fleet.spec)):
        if isinstance(event, VehicleBuilt):
            genealogy.fold(event)
        else:
            evidence.fold(event)
    return genealogy, evidence


def same(one: Table, other: Table) -> None:
    for name in ("joints", "total", "vehicle", "station", "bin", "week", "distance_km"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    np.testing.assert_allclose(one.km, other.km)
    assert one.event_id == other.event_id
    assert (one.stations, one.vehicles) == (other.stations, other.vehicles)


def test_events_lead_to_the_table_that_the_benchmark_makes_directly() -> None:
    scene = small_scene()
    grid = grid_of(scene.fleet.spec)
    genealogy, evidence = folded(scene)
    spec, week = scene.fleet.spec, 30
    at_h = next(at for at in range(0, DAYS * 24, 24) if scenes.week_of(spec, grid, at) == week)
    until = spec.start + timedelta(hours=at_h)
    same(evidence.table(genealogy, grid, until), before(table_of(scene, grid), week))


def test_the_whole_way_from_voltages_to_the_joint_that_grows() -> None:
    """Ten vehicles, one of them with a crack: tester, minutes of driving, the model's answer, the watch."""
    spec = replace(SPEC, vehicles=10)
    draw = np.random.default_rng(8)
    fleet = build(spec, draw, scenes.seams())
    fleet.crack_uohm[4, 17] = 400.0
    cell_ohm, new_ohm = cells(draw, 10, spec.groups), 1e-6 * fleet.joint_uohm(np.zeros(10))
    tests = [slopes(drive(draw, cell_ohm, new_ohm).windows()).delta_r_uohm for _ in range(5)]
    level, se = np.mean(tests, axis=0), np.full(spec.groups, BASELINE_SE_UOHM)
    built = [vehicle_built(fleet, row, scenes.name(row), level[row], se) for row in range(10)]
    genealogy = Genealogy()
    for one in built:
        genealogy.fold(one)
    states = [Watched() for _ in built]
    said: list[VehicleAnomaly | VehicleScore] = []
    for week in range(30):
        at_h = 24.0 * (40 + 7 * week)
        km = fleet.distance_km(at_h)
        ohm = new_ohm + 1e-6 * fleet.gained_uohm(km)
        answer = slopes(drive(draw, cell_ohm, ohm).windows())
        at = spec.start + timedelta(hours=at_h)
        for row, one in enumerate(built):
            features = {"distance_km": float(km[row])}
            for group in range(spec.groups):
                features[f"delta_r_uohm.{group}"] = float(answer.delta_r_uohm[row, group])
                features[f"standard_error_uohm.{group}"] = float(answer.se_uohm[row, group])
                features[f"noise.{group}"] = float(answer.noise[row, group])
            seen = Anomaly(
                event_id=f"{row}-{week}",
                asset=one.asset,
                at=at,
                observed_at=at,
                trace_id="t",
                signal_set="vehicle.cells.v1",
                part_id="",
                sequence=week,
                row=59,
                score=1.0,
                threshold=0.0,
                features=features,
                deviations={},
                model="cells",
                model_version=1,
                input_digest="",
            )
            states[row], events = watch(states[row], seen, genealogy.joints(one.vehicle), one.observed_at, at)
            said += events
    (found,) = [event for event in said if isinstance(event, VehicleAnomaly)]
    assert (found.vehicle, found.cell_group) == (scenes.name(4), 17)
    joint = genealogy.joint(found.vehicle, found.cell_group)
    assert joint is not None
    assert joint.part_id == fleet.part_id(4, 17)
    assert sum(isinstance(event, VehicleScore) for event in said) == 10 * 30


def test_from_events_to_a_proposal_and_a_list_of_vehicles() -> None:
    scene = small_scene()
    spec = scene.fleet.spec
    grid, spell = grid_of(spec), spec.spells[0]
    genealogy, evidence = folded(scene)
    now = spec.start + timedelta(days=200)
    (finding,) = look(evidence, genealogy, grid, FieldPolicy(), now)
    assert finding.asset == spec.stations[spell.station]
    assert finding.window_from < spec.start + timedelta(hours=spell.to_h)
    assert spec.start + timedelta(hours=spell.from_h) < finding.window_to
    assert finding.more_low <= finding.more <= finding.more_high
    listed = {
        one.vehicle for one in affected(genealogy, finding.asset, finding.window_from, finding.window_to)
    }
    assert len(listed) == finding.built
    marginal = np.flatnonzero(scene.fleet.marginal.any(axis=1))
    assert len(listed & {scenes.name(one) for one in marginal}) > 0.8 * len(marginal)
    proposal = propose_field(finding, genealogy, limit_uohm=55.0)
    assert proposal.limit_uohm is not None
    assert set(proposal.evidence) <= {
        event.event_id for event in events_of(scene, grid) if not isinstance(event, VehicleBuilt)
    }


def test_a_spell_is_named_and_nobody_when_nothing_is_wrong() -> None:
    found = {"spell": [measure("spell", 1)], "harsh_customers": [measure("harsh_customers", 0)]}
    ours = found["spell"][0]["both"]
    assert (ours["claims"], ours["wrong"]) == (1, 0)
    assert ours["first"]["more_low"] <= ours["first"]["more"] <= ours["first"]["more_high"]
    assert found["harsh_customers"][0]["both"]["claims"] == 0
    table = table_of_figures({"seeds": 1, "scenes": found})
    assert "1 of 1" in table
    assert "0 of 1" in table


def test_the_plot_shows_when_the_station_was_named() -> None:
    drawn = plot(seed=0)
    assert drawn.startswith("<svg")
    assert drawn.count("<path") > 10
    assert "named" in drawn


def test_a_contestant_that_has_seen_nothing_claims_nothing() -> None:
    scene = small_scene()
    grid = grid_of(scene.fleet.spec)
    claims = betting(before(table_of(scene, grid), 1), grid, FieldPolicy())
    assert claims == {"both": [], "fleet": [], "within": []}
