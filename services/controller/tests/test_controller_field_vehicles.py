"""A vehicle is judged by its own baseline, twice before anything is said, and told of weekly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.events import Anomaly
from twinloop.contracts.field import BuiltJoint, VehicleAnomaly, VehicleScore
from twinloop.controller.field.vehicles import Watched, watch

START = datetime(2026, 3, 2, tzinfo=UTC)
BUILT_AT = START - timedelta(days=50)
BASELINE = (-40.0, 12.0, 0.0, 55.0)
JOINTS = tuple(
    BuiltJoint(
        cell_group=group,
        part_id=f"weld1-{group}",
        station="acme.berlin.packs.line1.weld1",
        sequence=group,
        welded_at=START - timedelta(days=60),
        recipe="tab-cu-al/3",
        resistance_uohm=42.0,
        baseline_uohm=baseline,
        baseline_se_uohm=1.25,
    )
    for group, baseline in enumerate(BASELINE)
)


def minute(day: int, gained: tuple[float, ...] = (0.0,) * 4, noise: float = 1.0) -> Anomaly:
    """What the model `cells` says on this day, with these gains on the baselines."""
    features = {"distance_km": 40.0 * day}
    for group, (baseline, gain) in enumerate(zip(BASELINE, gained, strict=True)):
        features |= {
            f"delta_r_uohm.{group}": baseline + gain,
            f"standard_error_uohm.{group}": 2.8,
            f"noise.{group}": noise,
        }
    at = START + timedelta(days=day)
    return Anomaly(
        event_id=f"minute-{day}",
        asset="vehicle." + "0" * 32,
        at=at,
        observed_at=at,
        trace_id="t",
        signal_set="vehicle.cells.v1",
        part_id="",
        sequence=day,
        row=59,
        score=9.0,
        threshold=0.0,
        features=features,
        deviations={},
        model="cells",
        model_version=1,
        input_digest="00",
    )


def play(minutes: list[Anomaly]) -> tuple[Watched, list[VehicleAnomaly | VehicleScore]]:
    state, said = Watched(), []
    for one in minutes:
        state, events = watch(state, one, JOINTS, BUILT_AT, one.at)
        said += events
    return state, said


def anomalies(said: list[VehicleAnomaly | VehicleScore]) -> list[VehicleAnomaly]:
    return [event for event in said if isinstance(event, VehicleAnomaly)]


def test_a_group_that_has_gained_twice_in_a_row_is_told_of_once() -> None:
    _, said = play([minute(day, (0.0, 0.0, 30.0, 0.0)) for day in range(5)])
    (told,) = anomalies(said)
    assert (told.cell_group, told.observed_at) == (2, START + timedelta(days=1))
    assert told.delta_r_uohm == pytest.approx(30.0)
    assert told.z == pytest.approx(30.0 / (2.8**2 + 1.25**2) ** 0.5)
    assert told.caused_by == "minute-1"
    assert told.distance_km == 40.0
    assert told.built_at == BUILT_AT


def test_once_is_not_enough_and_neither_is_what_differs_from_other_groups_only() -> None:
    _, said = play([minute(day, (0.0, 0.0, 30.0 if day % 2 else 0.0, 0.0)) for day in range(6)])
    assert anomalies(said) == []


def test_lines_that_scatter_are_not_judged_and_neither_are_groups_without_an_answer() -> None:
    _, said = play([minute(day, (99.0,) * 4, noise=3.0) for day in range(3)])
    assert anomalies(said) == []
    cut = minute(1, (99.0,) * 4)
    cut = msgspec.structs.replace(cut, features={"distance_km": 40.0})
    assert anomalies(play([minute(0, (99.0,) * 4), cut])[1]) == []


def test_a_score_comes_with_the_first_minute_of_each_week() -> None:
    _, said = play([minute(day, (0.0, float(day % 3), 0.0, 0.0)) for day in range(22)])
    scores = [event for event in said if isinstance(event, VehicleScore)]
    assert [one.snippets for one in scores] == [1, 3, 7, 7]  # weeks begin on Thursdays, as 1970 did
    assert scores[-1].worst_cell_group == 1
    assert scores[-1].distance_km == pytest.approx(17 * 40.0)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30))
def test_a_repeat_and_what_comes_too_late_change_nothing(days: list[int]) -> None:
    minutes = [minute(day, (0.0, 25.0 if day % 4 else 0.0, 0.0, 0.0)) for day in days]
    state, said = play(minutes)
    again, more = play([one for one in minutes for _ in range(2)])
    assert again == state
    assert more == said
    latest = [one for at, one in enumerate(minutes) if all(one.at > other.at for other in minutes[:at])]
    assert play(latest) == (state, said)
