"""What the operator does at the station's panel: `act(state) -> state`. Pure.

The operator goes before every remote command. A setpoint set by hand turns the key: control is `Local` until
the key is given back, and the value set is what the watchdog falls back to.
"""

from __future__ import annotations

import math
from dataclasses import replace

from twinloop.simulator.plc_state import LocalReason, PlcState, to_local


class CannotOperate(Exception):
    """The root of what an operator cannot do."""


class OutOfLimits(CannotOperate):
    """Raised when a value set by hand is outside the PLC's own limits.

    Operator action: choose one within them.
    """


class KeyNotTurned(CannotOperate):
    """Raised when the key is given back that nobody took.

    Operator action: none; control is not with the operator.
    """


def set_setpoint(state: PlcState, parameter: str, value: float) -> PlcState:
    """Set `parameter` and turn the key. Raises `OutOfLimits`, and `KeyError` for an unknown parameter."""
    limits = state.ranges[parameter]
    if not (math.isfinite(value) and limits.low <= value <= limits.high):
        raise OutOfLimits(f"{parameter} must be from {limits.low:g} to {limits.high:g}, not {value:g}")
    return replace(
        to_local(state, LocalReason.OPERATOR),
        setpoints={**state.setpoints, parameter: value},
        local_setpoints={**state.local_setpoints, parameter: value},
        claimed={name: one for name, one in state.claimed.items() if name != parameter},
    )


def give_back(state: PlcState) -> PlcState:
    """Give the key back; the setpoints stay. Raises `KeyNotTurned`."""
    if state.local_reason is not LocalReason.OPERATOR:
        raise KeyNotTurned(f"the key is not turned: control is {state.control} {state.local_reason}".rstrip())
    return to_local(state, LocalReason.RELEASED)


def lock(state: PlcState) -> PlcState:
    """Somebody works at the station: nothing is changed from afar. Locked already: the same."""
    return replace(state, maintenance_lock=True)


def unlock(state: PlcState) -> PlcState:
    """The work is done."""
    return replace(state, maintenance_lock=False)


def raise_alarm(state: PlcState) -> PlcState:
    """The station's high alarm comes on."""
    return replace(state, high_alarm=True)


def clear_alarm(state: PlcState) -> PlcState:
    """The high alarm goes off."""
    return replace(state, high_alarm=False)
