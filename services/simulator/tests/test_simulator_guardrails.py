"""What the PLC decides for itself, whatever the rest of the plant believes; one test a guardrail."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from twinloop.simulator import by_hand
from twinloop.simulator.commands import POWER, Code, Heartbeat, Hold, SetParameter, TakeControl
from twinloop.simulator.plc import decide, new_plc
from twinloop.simulator.plc_state import ControlSource, Mode, PlcState, Range, tick

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RANGES = {POWER: Range(nominal=1000, low=850, high=1350, max_step=30)}
GOOD = SetParameter("c", POWER, 1020, 1000, 1, "r", NOW, NOW + timedelta(seconds=5))


def controlled() -> PlcState:
    """A PLC that obeys commands from afar."""
    state, outcome = decide(new_plc(RANGES, "r", watchdog_s=1.5), TakeControl("t"), NOW, 0.0)
    assert outcome.code is Code.GOOD
    return state


def test_what_is_good_acts() -> None:
    state, outcome = decide(controlled(), GOOD, NOW, 0.1)
    assert (outcome.code, state.setpoints[POWER]) == (Code.GOOD, 1020)


@pytest.mark.parametrize(
    "bad",
    [
        {"value": 1351, "expected": 1340},
        {"value": 1031},
        {"expected": 990},
        {"recipe": "other"},
        {"expires_at": NOW},
        {"issued_at": NOW + timedelta(seconds=2)},
        {"sequence": 0},
    ],
)
def test_guardrail_01_independence(bad: dict[str, Any]) -> None:
    """A command that everyone else has let through is checked again, and refused."""
    state, outcome = decide(controlled(), replace(GOOD, **bad), NOW, 0.1)
    assert outcome.code is not Code.GOOD
    assert state.setpoints[POWER] == 1000


@pytest.mark.parametrize("how", ["held", "locked", "alarmed", "local"])
def test_guardrail_09_permissive(how: str) -> None:
    """The station must be producing, and be given into remote hands."""
    state = controlled()
    if how == "held":
        state, _ = decide(state, Hold("h", "gap", 1, NOW, NOW + timedelta(seconds=5)), NOW, 0.1)
        assert state.mode is Mode.HELD
    elif how == "locked":
        state = by_hand.lock(state)
    elif how == "alarmed":
        state = by_hand.raise_alarm(state)
    else:
        state = new_plc(RANGES, "r")
    state, outcome = decide(state, replace(GOOD, sequence=2), NOW, 0.2)
    assert (outcome.code, state.setpoints[POWER]) == (Code.BAD_INVALID_STATE, 1000)


def test_guardrail_13_watchdog() -> None:
    """Without heartbeats it takes its local setpoint by itself; with them it does not."""
    state, _ = decide(controlled(), GOOD, NOW, 0.1)
    fed, _ = decide(state, Heartbeat(1), NOW, 1.4)
    assert tick(fed, 2.8).setpoints[POWER] == 1020
    starved = tick(state, 1.7)
    assert (starved.control, starved.setpoints[POWER]) == (ControlSource.LOCAL, 1000)


def test_guardrail_16_override() -> None:
    """An operator's hand at the panel wins, and control from afar is refused until it is given back."""
    state = by_hand.set_setpoint(controlled(), POWER, 1100)
    assert state.setpoints[POWER] == 1100
    state, outcome = decide(state, replace(GOOD, value=1110, expected=1100), NOW, 0.1)
    assert (outcome.code, state.setpoints[POWER]) == (Code.BAD_INVALID_STATE, 1100)
    _, outcome = decide(state, TakeControl("again"), NOW, 0.2)
    assert outcome.code is Code.BAD_INVALID_STATE
