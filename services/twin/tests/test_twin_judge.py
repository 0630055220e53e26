"""The twin's judgement: where a process stands, what a change would do, whether it is released.

The plant appears here as a witness only: the twin shares no formula with it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.process_models import process_model

from twinloop.contracts.changes import Diagnosis, Forecast, Hold, Parameter, Proposed, SetParameter
from twinloop.contracts.controls import Governance
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.modes import Mode
from twinloop.contracts.times import unix_ns
from twinloop.local.places import find_places
from twinloop.simulator import process as plant
from twinloop.twin.approve import HOLD, Answer, Decision, Forecasts, decide
from twinloop.twin.assets import TwinAssets
from twinloop.twin.estimate import Part, estimate, unexplained_plasma
from twinloop.twin.judge import foresee, judge
from twinloop.twin.observe import Observations
from twinloop.twin.process import Setpoints
from twinloop.twin.whatif import changed, forecast

ASSETS = TwinAssets.model_validate(tomllib.loads((find_places().config / "twin.toml").read_text()))
ASSET = "acme.berlin.packs.line1.weld1"
OWN = ASSETS.assets[ASSET]
MODEL = process_model()
NOMINAL = Setpoints(1000.0, 0.0)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
AUTO = Governance(requested=Mode.AUTO, actual=Mode.AUTO)


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def focus(value: float, expected: float = 0.0) -> SetParameter:
    return SetParameter(parameter=Parameter.FOCUS_MM, value=value, expected=expected)


def parts_like(transmission: float, error_mm: float, at: Setpoints = NOMINAL, count: int = 8) -> list[Part]:
    """Parts that are exactly what the twin's own model says."""
    names = ("depth_mm", "window_temperature_c", "back_reflection", "plasma")
    shown = MODEL.at(names, at, np.array([transmission]), np.array([error_mm]))
    return [Part(n, *(float(one[0]) for one in shown), at) for n in range(count)]


def made_by_the_plant(
    transmission: float, defocus_mm: float, at: Setpoints = NOMINAL, count: int = 10, gap_um: float = 20.0
) -> tuple[list[Part], float]:
    """Parts as the sensors of the simulated plant show them, and their median true resistance."""
    generator = np.random.default_rng(3)
    parts, measured = [], []
    for n in range(count):
        weld = plant.weld(
            plant.Setpoints(at.power_w, at.focus_mm),
            plant.Conditions(window_transmission=transmission, defocus_mm=defocus_mm, gap_um=gap_um),
            plant.draw_noise(generator),
        )
        means = weld.signals.mean(axis=0)
        parts.append(Part(n, *(float(means[column]) for column in (3, 1, 2, 0)), at))
        measured.append(weld.measured_uohm)
    return parts, float(np.median(measured))


def judged(one: Proposed, forecasts: Forecasts) -> Decision:
    return judge(one, forecasts, OWN, AUTO, None, NOW)


def outcome(parts: Sequence[Part], at: Setpoints, action: SetParameter) -> tuple[Forecast, Forecast]:
    state = estimate(MODEL, parts)
    assert state is not None
    limit = OWN.approval.limit_uohm
    return forecast(MODEL, state, at, limit), forecast(MODEL, state, changed(at, action), limit)


@given(st.floats(0.85, 1.0), st.floats(-0.5, 0.5))
def test_a_state_is_found_again_from_what_it_shows(transmission: float, error_mm: float) -> None:
    state = estimate(MODEL, parts_like(transmission, error_mm))
    assert state is not None
    found, error = state.mean
    assert found == pytest.approx(transmission, abs=0.02)
    # Depth and reflection fix the distance of the focus only as far as they depend on it.
    assert error == pytest.approx(error_mm, abs=0.12)


@given(st.floats(0.7, 1.0), st.floats(-0.4, 0.4), st.floats(1000, 1300))
def test_a_forecast_lies_within_its_own_interval(transmission: float, error_mm: float, watts: float) -> None:
    state = estimate(MODEL, parts_like(transmission, error_mm, Setpoints(watts, 0.0)))
    assert state is not None
    one = forecast(MODEL, state, Setpoints(watts, 0.0), OWN.approval.limit_uohm)
    assert 0 < one.low_uohm < one.high_uohm
    assert one.low_uohm <= one.expected_uohm <= one.high_uohm
    assert 0 <= one.scrap <= 1


@pytest.mark.parametrize("transmission", [0.95, 0.9, 0.85])
def test_more_power_is_released_for_a_dirty_window_of_the_plant(transmission: float) -> None:
    """Sign, and about the size, of what the plant then does."""
    parts, before = made_by_the_plant(transmission, 0.0)
    action = power(1030.0)
    do_nothing, do_this = outcome(parts, NOMINAL, action)
    assert decide(action, do_nothing, do_this, OWN.approval).approved
    _, after = made_by_the_plant(transmission, 0.0, Setpoints(1030.0, 0.0))
    assert after < before
    told, true = do_nothing.expected_uohm - do_this.expected_uohm, before - after
    assert 0.3 * true - 0.5 <= told <= 5 * true + 0.5


def test_small_corrections_of_a_drifting_window_are_released_without_a_person() -> None:
    """As the controller makes them: power follows the window, and gains are small beside the intervals."""
    for n in range(1, 22):
        transmission = 1 - 0.008 * n
        at = Setpoints(round(1000 * (1 + 0.01 * (n - 1)), 0), 0.0)
        parts, _ = made_by_the_plant(transmission, 0.0, at)
        action = power(at.power_w + 10, at.power_w)
        decision = decide(action, *outcome(parts, at, action), OWN.approval)
        assert decision.answer is Answer.RELEASE, (n, decision)


@pytest.mark.parametrize("error_mm", [0.6, 0.8, -0.6])
def test_the_focus_is_moved_the_right_way_and_never_the_wrong_one(error_mm: float) -> None:
    parts, _ = made_by_the_plant(1.0, error_mm)
    back, further = focus(-0.25 * np.sign(error_mm)), focus(0.25 * np.sign(error_mm))
    assert decide(back, *outcome(parts, NOMINAL, back), OWN.approval).approved
    assert not decide(further, *outcome(parts, NOMINAL, further), OWN.approval).approved


def test_less_power_for_a_shallow_weld_is_rejected_with_both_figures() -> None:
    parts, _ = made_by_the_plant(0.88, 0.0)
    action = power(970.0)
    decision = decide(action, *outcome(parts, NOMINAL, action), OWN.approval)
    assert decision.answer is Answer.REJECT
    assert "→" in decision.reason


@pytest.mark.parametrize("gap_um", [100.0, 140.0])
@pytest.mark.parametrize("transmission", [1.0, 0.9])
def test_a_gap_of_the_plant_shows_as_plasma_that_nothing_explains(gap_um: float, transmission: float) -> None:
    for gap, expected in ((gap_um, True), (20.0, False)):
        parts, _ = made_by_the_plant(transmission, 0.0, gap_um=gap)
        state = estimate(MODEL, parts)
        assert state is not None
        assert (unexplained_plasma(MODEL, state, parts) > OWN.estimate.gap_plasma) is expected


def test_parts_that_no_state_explains_have_none() -> None:
    impossible = [replace(one, setpoints=Setpoints(1e300, 0.0)) for one in parts_like(1.0, 0.0)]
    assert estimate(MODEL, impossible) is None


@pytest.mark.parametrize("action", [power(1360.0), power(840.0), focus(1.6), power(float("nan"))])
def test_outside_its_own_ranges_nothing_is_released_however_good(action: SetParameter) -> None:
    good = Forecast(expected_uohm=40, low_uohm=39, high_uohm=41)
    bad = Forecast(expected_uohm=90, low_uohm=80, high_uohm=100)
    decision = decide(action, bad, good, OWN.approval)
    assert decision.answer is Answer.REJECT
    assert "outside the twin's" in decision.reason


# ---- what is observed


def observe(
    observations: Observations,
    sequence: int,
    depth: float = 0.45,
    at: datetime = NOW,
    plasma_level: float = 0.85,
    spoilt: int = 0,
) -> None:
    samples = np.full((300, 6), 1.0, np.float32)
    samples[:, 0], samples[:, 1], samples[:, 3] = plasma_level, 30.0, depth
    samples[:spoilt] = np.nan
    frame = Frame(
        asset=ASSET,
        signal_set="weld.v1",
        sequence=sequence,
        first_at_ns=unix_ns(at),
        period_ns=10**6,
        samples=samples,
        observed_at_ns=unix_ns(at),
        event_id="e",
        trace_id="t",
        bad=np.isnan(samples),
    )
    joint = JointWelded(
        event_id="j",
        asset=ASSET,
        at=at,
        observed_at=at,
        trace_id="t",
        part_id=str(sequence),
        sequence=sequence,
        recipe="r",
        resistance_uohm=42.0,
        power_w=1000.0,
        focus_mm=0.0,
    )
    halves = [lambda: observations.show(frame), lambda: observations.made(joint)]
    for half in halves if sequence % 2 else reversed(halves):
        half()


def test_a_gap_forbids_any_setpoint() -> None:
    observations = Observations({ASSET: OWN.estimate.parts})
    for sequence in range(10):
        observe(observations, sequence, plasma_level=1.6)
    decision = judged(proposed(), foresee(proposed(), observations.of(ASSET), OWN, MODEL, NOW))
    assert decision.answer is Answer.REJECT
    assert "gap" in decision.reason


def test_what_is_marked_as_bad_does_not_count() -> None:
    observations = Observations({ASSET: OWN.estimate.parts})
    observe(observations, 1, spoilt=100)
    assert observations.of(ASSET).parts[1].depth_mm == pytest.approx(0.45)
    observe(observations, 2, spoilt=200)  # too few good ones are left
    assert 2 not in observations.of(ASSET).parts


def test_a_counter_that_begins_anew_is_followed_and_what_is_told_again_is_not() -> None:
    observations = observed(10)
    observe(observations, 3)
    assert observations.of(ASSET).newest_sequence == 9
    later = NOW + timedelta(seconds=1)
    observe(observations, 1, at=later)
    seen = observations.of(ASSET)
    assert (seen.newest_sequence, list(seen.parts)) == (1, [1])


def observed(count: int, at: datetime = NOW) -> Observations:
    observations = Observations({ASSET: OWN.estimate.parts})
    for sequence in range(count):
        observe(observations, sequence, at=at)
    return observations


def proposed(action: Any = None, expires: datetime = NOW + timedelta(seconds=5)) -> Proposed:
    return Proposed(
        **head("proposed"),
        action=action or power(1020.0),
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="r",
        reason="",
        evidence=(),
        expires_at=expires,
        model="weld",
        model_version=1,
        input_digest="",
    )


def head(kind: str) -> dict[str, Any]:
    return {
        "event_id": f"c-{kind}",
        "asset": ASSET,
        "at": NOW,
        "observed_at": NOW,
        "trace_id": "t",
        "change_id": "c",
    }


def test_both_halves_of_a_part_are_joined_in_either_order_and_the_last_ones_kept() -> None:
    seen = observed(30).of(ASSET)
    assert list(seen.parts) == list(range(20, 30))
    assert seen.parts[29].depth_mm == pytest.approx(0.45)
    assert seen.newest_sequence == 29


def test_a_shallow_weld_gets_more_power_as_a_whole() -> None:
    forecasts = foresee(proposed(), observed(10).of(ASSET), OWN, MODEL, NOW)
    assert isinstance(forecasts, tuple)
    assert judged(proposed(), forecasts).approved


def test_without_enough_parts_nothing_is_released() -> None:
    forecasts = foresee(proposed(), observed(OWN.estimate.minimum - 1).of(ASSET), OWN, MODEL, NOW)
    decision = judged(proposed(), forecasts)
    assert decision.answer is Answer.ASK
    assert "are needed" in decision.reason


def test_without_a_process_model_a_person_decides() -> None:
    forecasts = foresee(proposed(), observed(10).of(ASSET), OWN, "there is no process model", NOW)
    assert forecasts == "there is no process model"
    assert judged(proposed(), forecasts).answer is Answer.ASK


def test_outside_what_the_model_was_identified_in_there_is_no_forecast() -> None:
    beyond = proposed(focus(-1.4))
    told = foresee(beyond, observed(10).of(ASSET), OWN, MODEL, NOW)
    assert isinstance(told, str)
    assert "that the model was identified in" in told


def test_on_old_observations_nothing_is_released() -> None:
    old = NOW - timedelta(seconds=OWN.estimate.stale_s + 1)
    decision = judged(proposed(), foresee(proposed(), observed(10, old).of(ASSET), OWN, MODEL, NOW))
    assert decision.answer is Answer.ASK
    assert "s ago" in decision.reason


def test_what_has_expired_is_not_released() -> None:
    late = proposed(expires=NOW)
    assert not judged(late, foresee(late, observed(10).of(ASSET), OWN, MODEL, NOW)).approved


def test_a_hold_is_released_whatever_is_known() -> None:
    hold = proposed(Hold(reason="gap"))
    forecasts = foresee(hold, observed(0).of(ASSET), OWN, MODEL, NOW)
    assert forecasts is None
    assert judged(hold, forecasts) == HOLD
