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
from twinloop.contracts.field import VehicleBuilt
from twinloop.controller.field.evidence import Evidence, Table
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import FieldPolicy
from twinloop.controller.field.propose_field import look, propose_field
from twinloop.controller.field.recall import affected
from twinloop.simulator.fleet import Spell, build
from twinloop.simulator.months import anomalies


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
    assert [one["right"] for one in found["spell"][0]["both"]] == [True]
    assert found["harsh_customers"][0]["both"] == []
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
