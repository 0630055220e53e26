"""The PLC through whatever comes: commands, repeats, operators, faults, and clocks that are set back.

A machine that sends at random and knows nothing of how the PLC decides: it holds every step against what
must be true of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twinloop.simulator import by_hand
from twinloop.simulator.commands import (
    FOCUS,
    POWER,
    Code,
    Command,
    Heartbeat,
    Hold,
    Outcome,
    ReleaseControl,
    Resume,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.plc import decide, new_plc, reset
from twinloop.simulator.plc_faults import HEALTHY, PlcFaults
from twinloop.simulator.plc_state import ControlSource, LocalReason, Mode, PlcState, Range, tick

START = datetime(2030, 1, 1, tzinfo=UTC)
RECIPE = "cu-al-tab-7"
WATCHDOG_S = 1.5
# Limits within two steps, so that random commands come to them.
RANGES = {
    POWER: Range(nominal=1000, low=955, high=1045, max_step=30),
    FOCUS: Range(nominal=0, low=-0.4, high=0.4, max_step=0.25),
}
FAULTS = (
    HEALTHY,
    PlcFaults(ignore_writes=True),
    PlcFaults(apply_fraction=0.5),
    PlcFaults(read_back_offset={POWER: 9, FOCUS: -0.3}),
    PlcFaults(apply_fraction=0.25, echo_read_back=True),
    PlcFaults(ignore_writes=True, echo_read_back=True),
    PlcFaults(refuse_writes=True),
    PlcFaults(freeze_beat=True, lose_heartbeats=True),
)
WRONGS = ("id", "early", "expired", "sequence", "parameter", "expected", "value", "recipe")
wrongs = st.sets(st.sampled_from(WRONGS), max_size=1)
wall_s = st.sampled_from([0.0, 0.0, 0.3, 2.0, -5.0])
uptime_s = st.sampled_from([0.0, 0.0, 0.1, 0.7, WATCHDOG_S - 0.001, WATCHDOG_S])


class Whatever(RuleBasedStateMachine):
    """Sends anything. `heard_s`, `acted` and `newest` are the machine's own account of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.state: PlcState = new_plc(RANGES, RECIPE, WATCHDOG_S)
        self.now = START
        self.uptime_s = 0.0
        self.sent: list[Command] = []
        self.number = 0
        self.heard_s = -math.inf
        self.acted: set[str] = set()
        self.newest = 0
        self.counters: list[int] = []

    @initialize(faults=st.sampled_from(FAULTS))
    def begin(self, faults: PlcFaults) -> None:
        self.state = reset(self.state, faults)
        self.take()

    # ---- what is sent

    @rule(
        wrong=wrongs,
        parameter=st.sampled_from([POWER, FOCUS]),
        steps=st.sampled_from([-1.1, -1, 0.7, 1, 1, 1.1]),
        anything=st.floats(),
        behind=st.integers(0, 2),
    )
    def set_parameter(
        self, wrong: set[str], parameter: str, steps: float, anything: float, behind: int
    ) -> None:
        shown = self.state.shown[parameter]
        self.send(
            SetParameter(
                command_id=self.new_id(wrong),
                parameter="speed_mm_s" if "parameter" in wrong else parameter,
                value=anything if "value" in wrong else shown + steps * RANGES[parameter].max_step,
                expected=shown + 1 if "expected" in wrong else shown,
                sequence=max(0, self.state.last_sequence - behind)
                if "sequence" in wrong
                else self.state.last_sequence + 1,
                recipe="other" if "recipe" in wrong else RECIPE,
                issued_at=self.now + timedelta(seconds=1.001 if "early" in wrong else -0.1),
                expires_at=self.now + timedelta(seconds=0 if "expired" in wrong else 1),
            )
        )

    @rule(wrong=wrongs)
    def hold(self, wrong: set[str]) -> None:
        behind = 0 if "sequence" in wrong else 1
        expires_s = 0 if "expired" in wrong else 1
        times = (self.now, self.now + timedelta(seconds=expires_s))
        self.send(Hold(self.new_id(wrong), "gap", self.state.last_sequence + behind, *times))

    @rule()
    def resume(self) -> None:
        self.send(Resume(self.new_id(set())))

    @rule()
    def take(self) -> None:
        self.send(TakeControl(self.new_id(set())))

    @rule()
    def release(self) -> None:
        self.send(ReleaseControl(self.new_id(set()), "done"))

    @rule(growth=st.integers(-1, 2))
    def heartbeat(self, growth: int) -> None:
        self.send(Heartbeat(max(0, (self.state.counter or 0) + growth)))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """Duplicates, and what was overtaken on its way."""
        self.send(data.draw(st.sampled_from(self.sent)))

    # ---- what happens

    @rule(wall=wall_s, uptime=uptime_s)
    def time_passes(self, wall: float, uptime: float) -> None:
        """The wall clock and the uptime go on as they like; the wall clock may be set back."""
        self.now += timedelta(seconds=wall)
        self.uptime_s += uptime

    @rule()
    def look_at_the_clock(self) -> None:
        before, self.state = self.state, tick(self.state, self.uptime_s)
        self.check_watchdog(before)

    @rule(
        act=st.sampled_from(
            [
                by_hand.lock,
                by_hand.unlock,
                by_hand.unlock,
                by_hand.raise_alarm,
                by_hand.clear_alarm,
                by_hand.clear_alarm,
                lambda state: by_hand.set_setpoint(state, POWER, 980.0),
                lambda state: by_hand.set_setpoint(state, FOCUS, -0.4),
            ]
        )
    )
    def operate(self, act: Callable[[PlcState], PlcState]) -> None:
        self.state = act(self.state)

    @precondition(lambda self: self.state.local_reason is LocalReason.OPERATOR)
    @rule()
    def give_the_key_back(self) -> None:
        self.state = by_hand.give_back(self.state)
        assert self.state.control is ControlSource.LOCAL

    @rule(faults=st.sampled_from(FAULTS))
    def other_faults(self, faults: PlcFaults) -> None:
        self.state = replace(self.state, faults=faults)

    @rule(faults=st.sampled_from(FAULTS))
    def campaign(self, faults: PlcFaults) -> None:
        control = self.state.control
        self.state = reset(self.state, faults)
        assert self.state.control is control
        assert self.state.setpoints == {POWER: 1000, FOCUS: 0}

    # ---- what must be true

    @invariant()
    def setpoints_are_within_the_limits(self) -> None:
        for values in (self.state.setpoints, self.state.local_setpoints, self.state.shown):
            for name, limits in RANGES.items():
                assert limits.low <= values[name] <= limits.high

    @invariant()
    def nobody_has_control_against_the_operator(self) -> None:
        local = self.state.control is ControlSource.LOCAL
        assert local == (self.state.local_reason is not LocalReason.NONE)

    def new_id(self, wrong: set[str]) -> str:
        self.number += 1
        return "" if "id" in wrong else str(self.number)

    def send(self, command: Command) -> None:
        self.sent.append(command)
        before = tick(self.state, self.uptime_s)
        self.check_watchdog(self.state, before)
        self.state, outcome = decide(self.state, command, self.now, self.uptime_s)
        match command:
            case SetParameter() | Hold() | Resume():
                self.check_change(before, command, outcome)
            case TakeControl():
                self.check_taken(before, outcome)
            case ReleaseControl():
                assert self.state.setpoints == before.setpoints
            case Heartbeat():
                self.check_heartbeat(before, command, outcome)
        assert self.state.last_sequence >= before.last_sequence

    def check_watchdog(self, before: PlcState, after: PlcState | None = None) -> None:
        after = after or self.state
        silent_s = self.uptime_s - self.heard_s
        if after.control is ControlSource.REMOTE:
            assert silent_s < WATCHDOG_S
            assert after.setpoints == before.setpoints
        elif before.control is ControlSource.REMOTE:
            assert silent_s >= WATCHDOG_S
            assert after.local_reason is LocalReason.WATCHDOG
            assert after.setpoints == before.local_setpoints == after.shown

    def check_change(self, before: PlcState, command: SetParameter | Hold | Resume, outcome: Outcome) -> None:
        after = self.state
        assert (after.control, after.local_reason) == (before.control, before.local_reason)
        for name, limits in RANGES.items():
            off = abs(before.faults.read_back_offset.get(name, 0.0))
            step = abs(after.setpoints[name] - before.setpoints[name])
            assert step <= limits.max_step * (1 + 1e-6) + off + 1e-9
        if (after.setpoints, after.shown, after.mode) == (before.setpoints, before.shown, before.mode):
            return
        assert outcome.code is Code.GOOD
        assert command.command_id not in self.acted
        self.acted.add(command.command_id)
        if isinstance(command, Resume):
            return
        assert command.sequence > self.newest
        self.newest = command.sequence
        assert command.issued_at <= self.now + timedelta(seconds=1)
        assert command.expires_at > self.now
        if isinstance(command, SetParameter):
            assert before.control is ControlSource.REMOTE
            assert before.mode is Mode.EXECUTE
            assert not before.maintenance_lock
            assert not before.high_alarm
            assert command.recipe == before.recipe
            step = abs(command.value - before.shown[command.parameter])
            assert step <= RANGES[command.parameter].max_step * (1 + 1e-6)
            assert not before.faults.refuse_writes

    def check_taken(self, before: PlcState, outcome: Outcome) -> None:
        assert self.state.setpoints == before.setpoints
        if self.state.controls == before.controls:
            # A repeated one takes nothing, and keeps no watchdog from falling.
            assert replace(self.state, controls={}) == replace(before, controls={})
            return
        refused = before.maintenance_lock or before.local_reason is LocalReason.OPERATOR
        assert outcome.code is (Code.BAD_INVALID_STATE if refused else Code.GOOD)
        if refused:
            assert self.state.control is before.control
        else:
            assert self.state.control is ControlSource.REMOTE
            self.heard_s, self.counters = self.uptime_s, []

    def check_heartbeat(self, before: PlcState, command: Heartbeat, outcome: Outcome) -> None:
        assert self.state.setpoints == before.setpoints
        assert self.state.control is before.control
        if before.control is ControlSource.LOCAL:
            assert outcome.code is Code.BAD_INVALID_STATE
        elif self.counters and command.counter <= max(self.counters):
            assert outcome.code is Code.BAD_SEQUENCE_NUMBER_INVALID
        else:
            assert outcome.code is Code.GOOD
            self.heard_s = self.uptime_s
            self.counters.append(command.counter)


Whatever.TestCase.settings = settings(max_examples=400, stateful_step_count=50)
TestWhateverComes = Whatever.TestCase
