"""A whole line under anything that may come: no order of events, no clock and no device leads past a limit.

What is commanded is checked at the device, by rules written down here a second time, from what the test did
and not from what the line remembers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.line import (
    ASSET,
    DEVICE,
    LIMITS,
    NOW,
    Line,
    StepClock,
    approved,
    envelope,
    head,
    hold,
    promotion,
    proposal,
    simulated,
)

from twinloop.contracts.changes import Action, Envelope, Parameter, SetParameter
from twinloop.contracts.controls import (
    Governance,
    IllegalControl,
    KillSwitchCleared,
    KillSwitchSet,
    ModeRequested,
    ModeShed,
    OverrideCleared,
    govern,
)
from twinloop.contracts.modes import Mode
from twinloop.line.fake import Faults
from twinloop.line.limits import Range
from twinloop.line.plc import EXECUTE, HELD, Command
from twinloop.trust.keys import Signer

MALLORY = Signer.generate()
POWER = LIMITS.laser_power_w.model_copy(
    update={"operator": Range(low=900, high=1040), "authority": 70.0, "hourly_travel": 100.0}
)
TIGHT = LIMITS.model_copy(update={"laser_power_w": POWER})
"""So tight that each is reached within a few commands: upwards the range, downwards the authority."""


@dataclass
class World:
    """A line, and what the test knows of it by itself."""

    line: Line = field(default_factory=lambda: Line(limits=TIGHT, promoted=Mode.SHADOW))
    released: dict[str, Envelope] = field(default_factory=dict)
    moves: list[tuple[datetime, Parameter, float]] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    number: int = 0
    unaudited: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.watch()

    def watch(self) -> None:
        """Look at every command that is about to reach the device."""
        command = type(self.line.plc).command

        async def watched(station: str, one: Command) -> None:
            self.check(one)
            await command(self.line.plc, station, one)

        self.line.plc.command = watched  # type: ignore[method-assign]

    def check(self, one: Command) -> None:
        now, device = self.line.clock.now(), self.line.plc.device
        genuine = self.released.get(one.command_id)
        assert genuine is not None, "forged, or never released"
        assert (one.action, one.recipe, one.expires_at) == (
            genuine.action,
            genuine.recipe,
            genuine.expires_at,
        )
        assert now < genuine.expires_at, "stale"
        assert one.command_id not in self.issued, "commanded twice"
        self.issued.append(one.command_id)
        assert any(each["change_id"] == one.command_id for each in self.line.audit.of("issued")), "unaudited"
        state = self.governance
        assert not state.killed
        assert not state.manual
        assert self.line.switch.killed is None
        rollback = genuine.rollback_of is not None and state.requested.acts
        assert state.actual.acts or rollback, "nobody allowed it"
        if genuine.approver.startswith("policy:"):
            assert rollback or state.actual is Mode.AUTO
        if isinstance(one.action, SetParameter):
            self.check_setpoint(one.action, device.value(one.action.parameter), now)
            assert device.remote
            assert device.mode == EXECUTE

    def check_setpoint(self, action: SetParameter, held: float, now: datetime) -> None:
        limits = TIGHT.of(action.parameter)
        moved = abs(action.value - held)
        assert limits.hard.low <= action.value <= limits.hard.high
        assert limits.operator.low <= action.value <= limits.operator.high
        assert moved <= limits.step * (1 + 1e-6)
        assert abs(action.value - limits.baseline) <= limits.authority * (1 + 1e-6)
        self.moves.append((now, action.parameter, moved))
        hour = [
            by
            for at, which, by in self.moves
            if which is action.parameter and (now - at).total_seconds() < 3600
        ]
        assert sum(hour) <= limits.hourly_travel * (1 + 1e-6)

    @property
    def governance(self) -> Governance:
        """Folded from all that was ever said, by anyone."""
        state, seen = Governance(), set()
        for one in [*self.line.log, *self.line.published]:
            if not hasattr(one, "change_id") and one.event_id not in seen:
                seen.add(one.event_id)
                try:
                    state = govern(state, one)
                except IllegalControl:
                    continue
        return state

    # ---- what may come

    def propose(self, value: float, parameter: Parameter, how: dict[str, Any]) -> None:
        self.number += 1
        name = f"c{self.number}"
        held = self.line.plc.device.value(parameter)
        value = held + value if how["relative"] else value
        action: Action = (
            hold()
            if how["hold"]
            else SetParameter(parameter=parameter, value=value, expected=held + how["off"])
        )
        one = proposal(
            name,
            action,
            mode=how["mode"],
            model_version=how["version"],
            rollback_of=f"c{how['rollback_of']}" if how["rollback_of"] else None,
        )
        at = self.line.clock.now()
        sequence = max(1, self.number + how["earlier"])
        made = envelope(one, sequence, at=at, valid_s=how["valid_s"], approver=how["approver"])
        made = msgspec.structs.replace(
            made, issued_at=at.__class__.fromtimestamp(at.timestamp() + how["ahead_s"], at.tzinfo)
        )
        told = approved(made, MALLORY if how["forged"] else approved.__defaults__[0])  # type: ignore[index]
        if how["altered"]:
            other = msgspec.structs.replace(told.envelope, sequence=told.envelope.sequence + 1)
            told = msgspec.structs.replace(told, envelope=other)
        elif not how["forged"]:
            self.released[name] = made
        events = [one, simulated(name), told]
        self.line.read(*(reversed(events) if how["reversed"] else events))

    def control(self, kind: str) -> None:
        self.number += 1
        named = head(f"control-{self.number}")
        person = {"by": "person:ada", "reason": ""}
        match kind:
            case "promote":
                self.line.read(*promotion(name=f"p{self.number}"))
            case "demote":
                self.line.read(ModeRequested(**named, mode=Mode.SHADOW, **person))
            case "shed":
                self.line.read(ModeShed(**named, mode=Mode.SHADOW, by="controller", reason=""))
            case "kill":
                self.line.read(KillSwitchSet(**named, **person))
            case "unkill":
                self.line.read(KillSwitchCleared(**named, **person))
            case "hand back":
                self.line.plc.device = replace(self.line.plc.device, local_reason="released")
                self.line.read(OverrideCleared(**named, **person))
            case "switch":
                self.line.switch.killed = None if self.line.switch.killed else "stopped"

    async def happen(self, what: str) -> None:
        line, device = self.line, self.line.plc.device
        match what:
            case "parts":
                line.plc.device = replace(device, part_counter=device.part_counter + 10)
                line.clock.advance(0.5)
            case "resume":
                line.plc.device = replace(device, mode=EXECUTE, last_command_id="by-hand")
            case "held":
                line.plc.device = replace(device, mode=HELD)
            case "lock":
                line.plc.device = replace(device, maintenance_lock=not device.maintenance_lock)
            case "operator":
                line.plc.by_hand(Parameter.LASER_POWER_W, 1010.0)
            case "fall":
                line.plc.fall()
            case "audit":
                line.audit.away = not line.audit.away
            case "again":
                line.read(*list(line.log))
            case "half":
                line.plc.faults.fraction = 1.5 - line.plc.faults.fraction
            case "restart":
                await self.restart()

    async def heal(self) -> None:
        """All is well again: what waits has its time, and the asset is promoted if it must be."""
        line = self.line
        line.plc.faults, line.audit.away, line.switch.killed = Faults(), False, None
        await self.go_on()
        line.clock.advance(10.0)
        await self.go_on()
        state = line.ledger.governance(ASSET)
        if state.killed:
            self.control("unkill")
        if state.manual:
            self.control("hand back")
        if state.actual is not Mode.AUTO:
            self.control("demote")
            self.control("promote")
        line.plc.device = replace(
            line.plc.device,
            mode=EXECUTE,
            maintenance_lock=False,
            part_counter=line.plc.device.part_counter + 10,
        )
        await self.go_on()
        await self.go_on()

    async def restart(self) -> None:
        """A new process; what the old one had said and not published is lost with it."""
        before = self.line
        self.told += before.published
        self.line = before.restarted()
        self.line.audit.entries = before.audit.entries
        self.line.out.messages = []

    def check_the_end(self) -> None:
        """Each change has one end, each refusal one reason on record, and each command was sent once."""
        told = [*self.told, *self.line.published]
        ends = [one for one in told if hasattr(one, "change_id") and one.__struct_config__.tag != "issued"]
        for one in ends:
            if one.__struct_config__.tag in ("failed", "expired") and one.event_id not in self.unaudited:
                entries = [
                    each["what"] for each in self.line.audit.entries if each.get("change_id") == one.change_id
                ]
                assert sum(each in ("refused", "failed", "expired") for each in entries) == 1, one
        assert max(Counter(one.change_id for one in ends).values(), default=1) == 1
        assert max(Counter(self.line.plc.commands).values(), default=1) == 1

    async def go_on(self) -> None:
        """A beat, a poll, and what was said comes back."""
        line = self.line
        away = line.audit.away
        await line.vigil.beat(ASSET)
        await line.work()
        await line.said()
        line.read(*line.published)
        if away:
            self.unaudited |= {one.event_id for one in line.told}


PLAIN: dict[str, Any] = {
    "relative": True,
    "hold": False,
    "off": 0.0,
    "mode": Mode.AUTO,
    "version": 1,
    "rollback_of": 0,
    "earlier": 0,
    "valid_s": 5.0,
    "ahead_s": 0.0,
    "approver": "policy:auto",
    "forged": False,
    "altered": False,
    "reversed": False,
}
ODD = st.sampled_from(
    [
        {"relative": False},
        {"hold": True},
        {"off": 3.0},
        {"mode": Mode.SUPERVISED, "approver": "person:ada"},
        {"mode": Mode.SUPERVISED},
        {"approver": "eve"},
        {"version": 2},
        {"rollback_of": 1},
        {"rollback_of": 2, "mode": Mode.SUPERVISED},
        {"earlier": -2},
        {"earlier": 5},
        {"valid_s": 600.0},
        {"valid_s": 0.02},
        {"ahead_s": 3600.0},
        {"forged": True},
        {"altered": True},
        {"reversed": True},
    ]
)
HOW = st.one_of(st.just({}), st.just({}), ODD).map(lambda odd: {**PLAIN, **odd})
VALUES = st.one_of(
    st.sampled_from([30.0, -30.0, 25.0, -25.0]),
    st.sampled_from([30.0, 30.0, -30.0, 30.1, 1e-3, -120.0, 500.0]),
    st.floats(-40, 40),
)
CONTROLS = st.sampled_from(["promote", "demote", "shed", "kill", "unkill", "hand back", "switch"])
FAULTS = st.sampled_from(["away", "ignore", "drop_command", "lose_answer", "frozen", "deaf", "lie"])
HAPPENINGS = st.sampled_from(
    ["parts", "resume", "held", "lock", "operator", "fall", "audit", "again", "restart", "half"]
)
DISTURBANCES = st.one_of(
    st.tuples(st.just("control"), CONTROLS),
    st.tuples(st.just("fault"), FAULTS),
    st.tuples(st.just("clock"), st.sampled_from([1.0, 10.0, 3000.0, 4000.0, -1.0, -4000.0])),
    st.tuples(st.just("happen"), HAPPENINGS),
)
PARAMETERS = st.sampled_from([Parameter.LASER_POWER_W] * 4 + [Parameter.FOCUS_MM])
ROUNDS = st.lists(
    st.tuples(
        st.sampled_from([True] * 5 + [False]),  # whether all is well before it
        st.lists(DISTURBANCES, max_size=1),  # what comes before the release
        st.lists(st.tuples(VALUES, PARAMETERS, HOW), min_size=1, max_size=2),
        st.lists(DISTURBANCES, max_size=1),  # what comes between the release and the work
        st.booleans(),  # whether a beat comes before the work
    ),
    min_size=4,
    max_size=14,
)


async def disturb(world: World, what: Any) -> None:
    faults = world.line.plc.faults
    match what:
        case ("control", kind):
            world.control(kind)
        case ("fault", name):
            setattr(faults, name, not getattr(faults, name))
        case ("clock", seconds):
            world.line.clock.advance(seconds)
        case ("happen", name):
            await world.happen(name)


@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(ROUNDS)
async def test_whatever_comes_nothing_leads_past_a_limit(rounds: list[Any]) -> None:
    world = World()
    await world.heal()
    for well, before, proposals, between, beat in rounds:
        if well:
            await world.heal()
        for one in before:
            await disturb(world, one)
        for value, parameter, how in proposals:
            world.propose(value, parameter, how)
        for one in between:
            await disturb(world, one)
        if not beat:
            await world.line.work()
        await world.go_on()
    world.check_the_end()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "ignore", "drop_command", "lose_answer", "half", "refuse"]),
            st.sampled_from([30.0, -30.0, 17.5]),
        ),
        min_size=1,
        max_size=8,
    )
)
async def test_whatever_the_device_does_applied_is_what_is_in_force(script: list[tuple[str, float]]) -> None:
    """As long as it does not lie about what it holds; then only the parts tell."""
    line = Line(clock=StepClock(NOW), device=DEVICE)
    await line.take()
    for number, (fault, by) in enumerate(script):
        line.plc.faults = type(line.plc.faults)(
            ignore=fault == "ignore",
            drop_command=fault == "drop_command",
            lose_answer=fault == "lose_answer",
            fraction=0.5 if fault == "half" else 1.0,
            refuse="BadUserAccessDenied" if fault == "refuse" else None,
        )
        held = line.plc.device.power_w
        if not LIMITS.laser_power_w.operator.holds(held + by):
            continue  # six steps down may lead beyond what an operator allows
        action = SetParameter(parameter=Parameter.LASER_POWER_W, value=held + by, expected=held)
        line.plc.device = replace(line.plc.device, part_counter=line.plc.device.part_counter + 10)
        line.clock.advance(1.0)
        line.release(proposal(f"c{number}", action))
        await line.work_until_ended()
        await line.take()
        last = line.told[-1]
        if line.states[-1] == "applied":
            assert last.actual == action.value == line.plc.in_force[Parameter.LASER_POWER_W]
        else:
            assert last.guard in ("read_back", "outcome", "plc")
    await line.said()
    assert line.alarms == []  # whatever it did, nobody took it for an operator
