"""Whatever comes in whatever order, and whatever the clock does: what the controller never does.

A small world of a plant, a person, the other services and a topic, driven by a list of acts. The plant's
clock runs; the controller's may be anywhere beside it. The world keeps its own account of limits, travel and
modes.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.weldloop import ASSET, POLICY, START, anomaly, joint, life, requested

from twinloop.contracts.changes import (
    Applied,
    ChangeEvent,
    Expired,
    Failed,
    Hold,
    Inconclusive,
    Parameter,
    Proposed,
    Rejected,
    RolledBack,
    SetParameter,
    Verified,
)
from twinloop.contracts.controls import (
    ControlEvent,
    Governance,
    IllegalControl,
    KillSwitchCleared,
    KillSwitchSet,
    ModeEntered,
    ModeShed,
    Overridden,
    OverrideCleared,
    govern,
)
from twinloop.contracts.events import Event
from twinloop.contracts.modes import Mode, lower
from twinloop.controller import guard, modes
from twinloop.controller.state import Cause, GaveUp, Ignored, Outcome, Refused, Station, WouldPropose
from twinloop.controller.station import decide

POWER, FOCUS = Parameter.LASER_POWER_W, Parameter.FOCUS_MM
LIMITS = {parameter: POLICY.limits(parameter) for parameter in Parameter}
NAMES = {name for name, _ in guard.GUARDS} | {"direction"}
USUAL = [*["dirty"] * 6, *["healthy"] * 2, "harm", "change", *["read back"] * 3, *["go on"] * 5]
USUAL += [*["promote"] * 3, "clear", "hand back"]
ODD = [
    "defocus", "gap", "unknown", "bad", "early", "missed", "refuse", "expire", "demote", "kill", "clear",
    "override", "hand back", "line sheds", "restart", "model", "clock", "hour", "clock back", "away", "back",
    "again", "shuffle", "counter",
]  # fmt: skip
ACTS = [*USUAL, *ODD]
ENDS = (Rejected, Expired, Failed, Verified, RolledBack, Inconclusive)


class World:
    """Everything but the controller, and the account of what it may do."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.station = Station(asset=ASSET)
        self.outcomes: list[Outcome] = []
        self.plant = START
        self.offset_s = 0.0
        self.number = self.served = 0
        self.setpoints = {POWER: 1000.0, FOCUS: 0.0}
        self.version = 1
        self.away: str | None = None
        self.topic: list[Any] = []
        self.folded: list[Any] = []
        self.governance = Governance()
        self.seen: set[str] = set()
        self.let_in: set[str] = set()
        self.moves: list[tuple[Any, str, float]] = []
        self.open: dict[str, list[Any]] = {}
        for act in [*["healthy"] * 12, *["promote", "read back"] * 2]:
            self.act(act)

    @property
    def now(self) -> Any:
        return self.plant + timedelta(seconds=self.offset_s)

    def fold(self, event: Any) -> None:
        """As the agent does it; then once more, which must change nothing."""
        self.note(event)
        before, shed = modes.take_over(self.station, self.let_in, Cause.of(event), self.now)
        self.station, came = decide(before, event, POLICY, self.now, self.away)
        self.check((*shed, *came))
        assert self.station.governance == self.governance  # as everyone who reads the topic has it
        again, nothing = decide(self.station, event, POLICY, self.now, self.away)
        assert again == self.station
        assert all(isinstance(one, Ignored) for one in nothing)
        self.folded.append(event)

    def note(self, event: Any) -> None:
        """Our own account of what the controller has read."""
        if isinstance(event, ControlEvent) and event.event_id not in self.seen:
            self.seen.add(event.event_id)
            try:
                self.governance = govern(self.governance, event)  # type: ignore[arg-type]
            except IllegalControl:
                return
        if isinstance(event, ENDS):
            self.open.pop(event.change_id, None)

    def check(self, came: tuple[Outcome, ...]) -> None:
        for one in came:
            if isinstance(one, Proposed):
                self.allowed(one)
                self.open[one.change_id] = life(one, self.plant, self.number)
            elif isinstance(one, (*ENDS, GaveUp)):
                self.open.pop(one.change_id, None)
            elif isinstance(one, Refused):
                assert one.guard in NAMES
                assert one.reason
            elif isinstance(one, ModeEntered):
                self.let_in.add(one.event_id)
            if isinstance(one, ChangeEvent | ControlEvent):
                self.topic.append(one)
        assert not (
            any(isinstance(one, Refused) for one in came) and any(isinstance(o, Proposed) for o in came)
        )
        self.outcomes.extend(came)

    def allowed(self, proposed: Proposed) -> None:
        # Never two in flight, but for a stop, which overtakes what nobody has released.
        overtaken = {one.change_id for one in (self.station.given_up,) if one is not None}
        assert self.open.keys() <= (overtaken if isinstance(proposed.action, Hold) else set())
        mode = lower(self.governance.actual, POLICY.highest_mode)
        assert mode.acts
        assert proposed.mode is mode
        assert not self.governance.killed
        assert not self.governance.manual
        assert self.away is None
        action = proposed.action
        if not isinstance(action, SetParameter):
            return
        limits, moved = LIMITS[action.parameter], abs(action.value - action.expected)
        assert limits.hard.holds(action.value)
        assert limits.operator.holds(action.value)
        assert moved <= limits.step * (1 + 1e-9)
        assert abs(action.value - limits.baseline) <= limits.authority * (1 + 1e-9)
        hour = [
            d for at, name, d in self.moves if name == action.parameter and at > self.now - timedelta(hours=1)
        ]
        assert sum(hour) + moved <= limits.hourly_travel * (1 + 1e-9)
        if proposed.rollback_of is None:
            assert moved >= limits.deadband

    def act(self, act: str) -> None:
        getattr(self, "_" + act.replace(" ", "_"))()

    # What the plant does.

    def _part(self, uohm: float = 42.0) -> None:
        self.plant += timedelta(milliseconds=100)
        self.number += 1
        measured = uohm + self.random.gauss(0, 1)
        self.fold(joint(self.number, self.plant, measured, self.setpoints[POWER], self.setpoints[FOCUS]))

    def _window(self, depth_mm: float, reflection: float = 0.81, **deviations: float) -> None:
        features = {
            "oct_depth_mm.mean": depth_mm + self.random.gauss(0, 0.001),
            "back_reflection.mean": reflection,
        }
        usual = {"oct_depth_mm": -9.5, "back_reflection": -18.0, "window_temperature_c": 15.0, "plasma": -5.0}
        found = {f"{name}.mean": value for name, value in (usual | deviations).items()}
        one = anomaly(self.number, self.plant, features, found)
        self.fold(_with(one, model_version=self.version))

    def _healthy(self) -> None:
        self._part()

    def _harm(self) -> None:
        for _ in range(3):
            self._part(60.0)

    def _change(self) -> None:
        """A change is proposed and carried out, if nothing objects."""
        for act in ["dirty"] * 2 + ["go on"] * 5:
            self.act(act)

    def _dirty(self) -> None:
        for _ in range(2):
            self._part()
            ratio = self.setpoints[POWER] / 1000.0
            warm = {"window_temperature_c": 15.0 * ratio}
            self._window(0.417 + 0.75 * (ratio - 1.0), 0.81 * ratio, **warm)

    def _defocus(self) -> None:
        for _ in range(4):
            self._part()
            self._window(0.4, 0.7, window_temperature_c=0.0)

    def _gap(self) -> None:
        for _ in range(3):
            self._part(300.0)
            self._window(0.5, plasma=20.0)

    def _unknown(self) -> None:
        self._part()
        self._window(0.42, window_temperature_c=2.0)

    def _bad(self) -> None:
        for _ in range(self.random.choice([1, 5])):
            self._part(20_000.0)

    def _early(self) -> None:
        """The windows of two parts come before the parts."""
        self.number += 2
        self._window(0.42)
        self.number -= 2
        self._part()
        self._part()

    def _missed(self) -> None:
        self.number += self.random.choice([1, 6])

    def _counter(self) -> None:
        self.number = 0

    def _model(self) -> None:
        self.version += 1

    # What people and the others do.

    def _control(self, kind: Any, **what: Any) -> None:
        number = len(self.folded)
        common = {"asset": ASSET, "at": self.plant, "observed_at": self.plant, "trace_id": "c" * 32}
        self.topic.append(kind(event_id=f"{kind.__name__}-{number}-{len(self.topic)}", **common, **what))

    def _promote(self) -> None:
        mode = Mode.AUTO if self.governance.actual is Mode.SUPERVISED else Mode.SUPERVISED
        if self.governance.actual is Mode.OFF:
            mode = Mode.SHADOW
        self.topic.append(requested(mode, self.plant, len(self.topic)))

    def _demote(self) -> None:
        self.topic.append(requested(self.random.choice([Mode.OFF, Mode.SHADOW]), self.plant, len(self.topic)))

    def _kill(self) -> None:
        self._control(KillSwitchSet, by="person:eva", reason="smoke")

    def _clear(self) -> None:
        self._control(KillSwitchCleared, by="person:eva", reason="aired")

    def _override(self) -> None:
        value = self.setpoints[POWER] = self.random.uniform(840.0, 1410.0)
        self._control(Overridden, parameter=POWER, value=value, expected=1000.0, reason="by hand")

    def _hand_back(self) -> None:
        self._control(OverrideCleared, by="person:eva", reason="done")

    def _line_sheds(self) -> None:
        self._control(ModeShed, mode=Mode.SHADOW, by="line", reason="watchdog")

    def _go_on(self) -> None:
        """The others take a change one state further."""
        for change_id, ahead in list(self.open.items()):
            if ahead:
                event = ahead.pop(0)
                if isinstance(event, Applied):
                    event = _with(event, part_counter=self.number, at=self.plant)
                    self._applied(change_id, event)
                self.topic.append(event)
        self._read_back()

    def _applied(self, change_id: str, event: Applied) -> None:
        action = next(
            one.action for one in self.outcomes if isinstance(one, Proposed) and one.change_id == change_id
        )
        if isinstance(action, SetParameter):
            self.moves.append((event.at, action.parameter, abs(action.value - action.expected)))
            self.setpoints[action.parameter] = action.value

    def _refuse(self) -> None:
        for change_id in self.open:
            self._control(Failed, change_id=change_id, guard="device", reason="no")

    def _expire(self) -> None:
        for change_id in self.open:
            self._control(Expired, change_id=change_id, reason="too late")

    # What time, Kafka and the disk do.

    def _read_back(self) -> None:
        while self.served < len(self.topic):
            self.served += 1
            self.fold(self.topic[self.served - 1])

    def _again(self) -> None:
        """The last records are delivered once more, in order."""
        for event in self.folded[-self.random.randint(1, 6) :]:
            self.fold(event)

    def _shuffle(self) -> None:
        """Somebody's record comes again, out of order, with what others write in between."""
        recent = [one for one in self.folded[-6:] if isinstance(one, ChangeEvent | ControlEvent)]
        if recent:
            self.fold(self.random.choice(recent))

    def _restart(self) -> None:
        self.let_in.clear()

    def _clock(self) -> None:
        self.offset_s = self.random.choice([0.0, 0.0, 0.5, 2.0, 50.0, 3700.0])

    def _clock_back(self) -> None:
        self.offset_s = self.random.choice([0.0, -0.5, -50.0, -3700.0])

    def _hour(self) -> None:
        self.plant += timedelta(seconds=self.random.choice([1, 40, 700, 3700]))

    def _away(self) -> None:
        self.away = "the disk is full"

    def _back(self) -> None:
        self.away = None


def _with(event: Any, **what: Any) -> Any:
    return msgspec.structs.replace(event, **what)


@given(seed=st.integers(0, 2**16), acts=st.lists(st.sampled_from(ACTS), max_size=60))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_the_guardrails_hold(seed: int, acts: list[str]) -> None:
    world = World(seed)
    for act in acts:
        world.act(act)


def test_long_lives_reach_what_the_guardrails_are_about() -> None:
    """The same world, long enough that the property above is known not to hold for want of anything to do."""
    found: list[Outcome] = []
    for seed in range(20):
        world = World(seed)
        for _ in range(400):
            world.act(world.random.choice(USUAL if world.random.random() < 0.92 else ODD))
        found.extend(world.outcomes)
    kinds = {type(one) for one in found}
    assert {
        Proposed,
        RolledBack,
        Verified,
        Inconclusive,
        WouldPropose,
        ModeEntered,
        ModeShed,
        GaveUp,
    } <= kinds
    rollbacks = [one for one in found if isinstance(one, Proposed) and one.rollback_of is not None]
    assert len(rollbacks) >= 3
    refused = {one.guard for one in found if isinstance(one, Refused)}
    assert {
        "input_validity",
        "fault_gate",
        "cooldown",
        "in_flight",
        "override",
        "kill_switch",
        "audit",
    } <= refused
    assert all(isinstance(one, Event) or type(one).__module__.endswith("controller.state") for one in found)
