"""Commissioning trials: welded in order at the setpoints of a person, then nominal."""

from __future__ import annotations

import json

import pytest

from twinloop.simulator.panel import BadCampaign, parse_campaign
from twinloop.simulator.plant import MadePart, Plant, StationSpec
from twinloop.simulator.plc import FOCUS, LIMIT, POWER, Range
from twinloop.simulator.trials import Trial, trial_of

SPEC = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
TRIALS = [
    {"power_w": 1200, "focus_mm": 0.3, "welds": 2},
    {"power_w": 9000, "focus_mm": 0, "welds": 1},
    {"power_w": 1000, "focus_mm": 0, "welds": 3, "transmission": 0.8},
]


def body(trials: object) -> bytes:
    one = {"name": "c", "welds": 8, "rate_hz": 20, "seed": 3, "stations": ["weld1"], "trials": trials}
    return json.dumps(one).encode()


def made(trials: object) -> tuple[Plant, list[MadePart]]:
    plant = Plant({"weld1": SPEC}, first_part=1)
    plant.start(parse_campaign(body(trials), ("weld1",)))
    parts = []
    while some := plant.weld_next():
        parts += some
    return plant, parts


def test_trials_are_welded_in_order_within_the_limits_of_the_plc_and_what_is_left_is_nominal() -> None:
    plant, parts = made(TRIALS)
    assert [(one.power_w, one.focus_mm) for one in parts] == [
        *[(1200.0, 0.3)] * 2,
        (1350.0, 0.0),
        *[(1000.0, 0.0)] * 5,
    ]
    assert plant.plc("weld1").setpoints == {POWER: 1000.0, FOCUS: 0.0, LIMIT: 55.0}


def test_a_test_glass_lets_less_through_and_is_taken_away_again() -> None:
    _, parts = made(TRIALS)
    temperature = [float(one.signals[:, 1].mean()) for one in parts]
    assert min(temperature[3:6]) > 38
    assert max(temperature[:3] + temperature[6:]) < 30


def test_every_weld_is_part_of_the_trial_that_it_falls_into() -> None:
    trials = [Trial(power_w=1.0, focus_mm=0.0, welds=2), Trial(power_w=2.0, focus_mm=0.0, welds=1)]
    found = [trial_of(trials, number) for number in range(4)]
    assert found == [trials[0], trials[0], trials[1], None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"power_w": -1, "focus_mm": 0, "welds": 2},
        {"power_w": 1000, "focus_mm": 0, "welds": 0},
        {"power_w": 1000, "focus_mm": 0, "welds": 1, "transmission": 1.2},
        {"power_w": 1000, "focus_mm": 0, "welds": 1, "colour": "red"},
    ],
)
def test_a_trial_that_nobody_can_weld_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadCampaign):
        parse_campaign(body([wrong]), ("weld1",))
