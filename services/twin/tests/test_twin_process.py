"""The twin's process model: forecasts that hold what they promise, and none where it was not identified."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.calibration import LIMIT_UOHM, table
from support.process_models import PROCESS, process_model, write_process_model

from twinloop.twin.estimate import Part, State, estimate
from twinloop.twin.models import Processes
from twinloop.twin.process import BadProcessModel, ProcessModel, Setpoints
from twinloop.twin.whatif import forecast, invalid

MODEL = process_model()
NOMINAL = Setpoints(1000.0, 0.0)


def exactly(transmission: float, error_mm: float) -> State:
    return State(np.array([transmission]), np.array([error_mm]), np.array([1.0]))


def resistance(watts: float, transmission: float = 1.0) -> float:
    [found] = MODEL.at(("resistance_uohm",), Setpoints(watts, 0.0), np.array([transmission]), np.zeros(1))
    return float(found[0])


@pytest.mark.parametrize("seed", range(3))
def test_forecasts_are_calibrated_against_what_the_plant_then_makes(seed: int) -> None:
    for row in table(MODEL, 40, seed):
        if row.kind == "beyond the trials":
            assert row.refused == row.cases
            continue
        assert row.refused < 0.1 * row.cases
        assert 0.90 <= row.covered <= 0.99
        assert row.error_uohm < 2.0
        assert row.scrap_forecast == pytest.approx(row.scrap_made, abs=0.04)


def test_more_energy_conducts_better_until_it_is_too_much() -> None:
    assert resistance(850, 0.9) > resistance(900, 0.95) > resistance(1000)
    assert resistance(1350) > resistance(1250) > resistance(1100)


@given(st.floats(900, 1300), st.floats(0.8, 1.0))
def test_what_is_not_known_of_the_state_widens_the_interval(watts: float, transmission: float) -> None:
    at = Setpoints(watts, 0.0)
    sure = forecast(MODEL, exactly(transmission, 0.0), at, LIMIT_UOHM)
    spread = transmission + np.linspace(-0.05, 0.05, 11)
    unsure = State(spread, np.zeros(11), np.full(11, 1 / 11))
    blurred = forecast(MODEL, unsure, at, LIMIT_UOHM)
    assert blurred.high_uohm - blurred.low_uohm >= 0.98 * (sure.high_uohm - sure.low_uohm)


def test_the_parameters_uncertainty_is_in_the_variance_and_in_the_draws() -> None:
    variance, draws = MODEL.at(
        ("resistance_variance", "resistance_draws_uohm"), NOMINAL, np.array([1.0]), np.zeros(1)
    )
    assert draws.std() > 0
    assert variance[0] >= draws.var() + 0.9 * MODEL.card.resistance_sigma_uohm**2


@pytest.mark.parametrize(
    ("transmission", "error_mm", "at", "said"),
    [
        (1.0, 0.0, Setpoints(840.0, 0.0), "840 W is outside"),
        (1.0, 0.0, Setpoints(1000.0, 1.3), "a focus of 1.3 mm is outside"),
        (0.6, 0.0, Setpoints(1300.0, 0.0), "a transmission of the window of 0.60 is outside"),
        (1.0, 1.3, Setpoints(1350.0, 0.0), "a focus 1.30 mm from the surface is outside"),
        (1.0, -1.0, Setpoints(900.0, 0.0), "an energy of"),
        (float("nan"), 0.0, NOMINAL, "outside"),
    ],
)
def test_outside_what_was_identified_there_is_a_reason(
    transmission: float, error_mm: float, at: Setpoints, said: str
) -> None:
    reason = invalid(MODEL, exactly(transmission, error_mm), at)
    assert reason is not None
    assert said in reason


def test_inside_there_is_none() -> None:
    assert invalid(MODEL, exactly(0.9, 0.2), NOMINAL) is None


def test_a_sensor_that_is_wrong_is_explained_by_no_state() -> None:
    [depth, plasma] = MODEL.at(("depth_mm", "plasma"), NOMINAL, np.ones(1), np.zeros(1))
    parts = [Part(n, float(depth[0]), 28.0, 2.5, float(plasma[0]), NOMINAL) for n in range(8)]
    assert estimate(MODEL, parts) is None


def test_a_forecast_takes_less_than_20_ms() -> None:
    state = exactly(0.9, 0.1)
    took = []
    for _ in range(20):
        began = time.thread_time()
        forecast(MODEL, state, NOMINAL, LIMIT_UOHM)
        took.append(time.thread_time() - began)
    assert min(took) < 0.02


def test_a_model_is_found_once_it_is_there_and_the_newest_one_at_a_start(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    missing = processes.of(PROCESS)
    assert isinstance(missing, str)
    assert "identify it from a commissioning trial" in missing
    card = write_process_model(tmp_path)
    found = processes.of(PROCESS)
    assert isinstance(found, ProcessModel)
    assert found.card == card
    first, later = tmp_path / PROCESS / "1", tmp_path / PROCESS / "10"
    later.mkdir()
    newer = msgspec.structs.replace(card, version=10)
    (later / "card.json").write_bytes(msgspec.json.encode(newer))
    (later / "model.onnx").write_bytes((first / "model.onnx").read_bytes())
    assert processes.of(PROCESS) is found
    again = Processes(tmp_path).of(PROCESS)
    assert isinstance(again, ProcessModel)
    assert again.card.version == 10


def test_a_file_that_is_not_the_one_of_its_card_is_not_used(tmp_path: Path) -> None:
    card = write_process_model(tmp_path)
    path = tmp_path / PROCESS / "1" / "model.onnx"
    file = path.read_bytes()
    path.write_bytes(file + b"x")
    told = Processes(tmp_path).of(PROCESS)
    assert isinstance(told, str)
    assert "not the one of its card" in told
    with pytest.raises(BadProcessModel):
        ProcessModel(card, b"")
