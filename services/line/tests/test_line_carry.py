"""One change on its way to a device in memory: at most once, decided by what the device then holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from twinloop.contracts.changes import (
    Applied,
    Approved,
    Diagnosis,
    Hold,
    Parameter,
    Proposed,
    Rejected,
    SetParameter,
    Simulated,
    Verified,
)
from twinloop.contracts.codec import decode
from twinloop.contracts.topics import CHANGES
from twinloop.line.carry import Carrier
from twinloop.line.errors import PlcUnavailable
from twinloop.line.fake import FakePlc
from twinloop.line.ledger import Ledger
from twinloop.line.limits import Cooldown, ParameterLimits, Range, StationLimits
from twinloop.line.metrics import Metrics
from twinloop.line.plc import EXECUTE, HELD, Device
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka import MemoryPublisher

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ASSET = "acme.berlin.packs.line1.weld1"
RECIPE = "cu-al-tab-7"
LIMITS = StationLimits(
    station="weld1",
    laser_power_w=ParameterLimits(
        hard=Range(low=800, high=1400),
        operator=Range(low=850, high=1350),
        step=30,
        deadband=5,
        tolerance=0.5,
    ),
    focus_mm=ParameterLimits(
        hard=Range(low=-2, high=2),
        operator=Range(low=-1.5, high=1.5),
        step=0.25,
        deadband=0.05,
        tolerance=0.005,
    ),
    cooldown=Cooldown(parts=10, seconds=0.3),
    read_back_s=0.05,
)
DEVICE = Device(1000.0, 0.0, 100, EXECUTE, RECIPE, 0, "")
UP = SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0)


class StepClock(ManualClock):
    """A clock that moves a little whenever it is asked, so that deadlines come."""

    def now(self) -> datetime:
        self.advance(0.01)
        return super().now()


def head(change_id: str, kind: str) -> dict[str, Any]:
    return {
        "event_id": f"{change_id}-{kind}",
        "asset": ASSET,
        "at": NOW,
        "observed_at": NOW,
        "trace_id": "0" * 32,
        "change_id": change_id,
    }


def proposed(
    change_id: str = "c1", action: SetParameter | Hold = UP, recipe: str = RECIPE, expires_s: float = 5.0
) -> Proposed:
    return Proposed(
        **head(change_id, "proposed"),
        action=action,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe=recipe,
        reason="",
        evidence=(),
        expires_at=NOW + timedelta(seconds=expires_s),
        model="weld",
        model_version=1,
        input_digest="",
    )


@dataclass
class Line:
    """A carrier with a device in memory, and the log of changes."""

    device: Device = DEVICE
    limits: StationLimits = LIMITS
    clock: ManualClock = field(default_factory=lambda: StepClock(NOW))
    ledger: Ledger = field(default_factory=Ledger)
    out: MemoryPublisher = field(default_factory=MemoryPublisher)

    def __post_init__(self) -> None:
        self.plc = FakePlc(self.clock, self.device)
        self.carrier = Carrier(self.plc, self.out, self.clock, Metrics(CollectorRegistry()))
        self.log: list[Any] = []

    def release(self, one: Proposed | None = None) -> None:
        one = one or proposed()
        self.read(
            one,
            Simulated(**head(one.change_id, "simulated"), do_nothing=None, do_this=None),
            Approved(**head(one.change_id, "approved"), approver="policy:auto", reason=""),
        )

    def read(self, *events: Any) -> None:
        for event in events:
            self.log.append(event)
            self.ledger.fold(event)

    async def work(self) -> None:
        """What the service does after each poll."""
        for change in self.ledger.due():
            await self.carrier.carry(change, self.ledger, self.limits)

    async def work_until_ended(self) -> None:
        for _ in range(100):
            await self.work()
            if not list(self.ledger.due()):
                return
            self.clock.advance(0.2)
        raise AssertionError("it never ended")

    def restarted(self) -> Line:
        """A new process that reads the log again; the device is the same."""
        other = Line(limits=self.limits, clock=self.clock)
        other.plc.device, other.plc.commands = self.plc.device, self.plc.commands
        other.read(*self.log, *self.told)
        return other

    @property
    def told(self) -> list[Any]:
        return [decode(CHANGES, one.value) for one in self.out.messages]

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(one.change_id, state) for one, state in zip(self.told, self.states, strict=True)]

    @property
    def states(self) -> list[str]:
        return [str(one.__struct_config__.tag) for one in self.told]


async def test_a_released_change_is_issued_commanded_read_back_and_applied() -> None:
    line = Line()
    line.release()
    await line.work()
    assert line.states == ["issued", "applied"]
    issued, applied = line.told
    assert (issued.command_sequence, issued.part_counter, issued.caused_by) == (1, 100, "c1-approved")
    assert (applied.actual, applied.part_counter, applied.caused_by) == (1020.0, 100, issued.event_id)
    assert line.plc.device.power_w == 1020.0


async def test_a_hold_is_carried_at_any_time_and_read_back_as_held() -> None:
    line = Line(device=replace(DEVICE, recipe="other"))
    line.release(proposed(action=Hold(reason="gap")))
    await line.work()
    assert line.states == ["issued", "applied"]
    assert (line.told[1].actual, line.plc.device.mode) == (HELD, HELD)


async def test_issued_is_acknowledged_before_the_device_is_called() -> None:
    line = Line()
    seen: list[Sequence[str]] = []
    command = line.plc.command

    async def watched(station: str, one: Any) -> None:
        seen.append(line.states)
        await command(station, one)

    line.plc.command = watched  # type: ignore[method-assign]
    line.release()
    await line.work()
    assert seen == [["issued"]]


async def test_the_same_log_read_again_and_again_acts_once() -> None:
    line = Line()
    line.release()
    await line.work()
    line.release()
    line.read(*line.told)
    await line.work()
    again = line.restarted()
    await again.work()
    assert line.plc.commands == ["c1"]
    assert again.states == []


@pytest.mark.parametrize("event", [None, "rejected"])
async def test_what_is_not_released_is_left_alone(event: str | None) -> None:
    line = Line()
    line.read(proposed(), Simulated(**head("c1", "simulated"), do_nothing=None, do_this=None))
    if event:
        line.read(Rejected(**head("c1", "rejected"), approver="p", reason=""))
        line.read(Approved(**head("c1", "approved"), approver="p", reason=""))  # too late: it has ended
    await line.work()
    assert line.states == []
    assert line.plc.commands == []


async def test_released_too_late_it_expires_unissued() -> None:
    line = Line()
    line.release(proposed(expires_s=1.0))
    line.clock.advance(1.5)
    await line.work()
    assert line.states == ["expired"]
    assert line.plc.commands == []


async def test_while_the_device_is_away_it_waits_and_then_goes_on() -> None:
    line = Line()
    line.plc.away = True
    line.release()
    await line.work()
    assert line.states == []
    line.plc.away = False
    await line.work()
    assert line.states == ["issued", "applied"]


async def test_a_device_that_stays_away_lets_it_expire() -> None:
    line = Line()
    line.plc.away = True
    line.release()
    await line.work_until_ended()
    assert line.states == ["expired"]


REFUSED = {
    "hard_limits": (replace(DEVICE, power_w=1395.0), {"value": 1420.0, "expected": 1395.0}),
    "operator_limits": (replace(DEVICE, power_w=1340.0), {"value": 1360.0, "expected": 1340.0}),
    "compare_and_set": (replace(DEVICE, power_w=1010.0), {"value": 1020.0, "expected": 1000.0}),
    "step": (DEVICE, {"value": 1031.0, "expected": 1000.0}),
    "deadband": (DEVICE, {"value": 1004.0, "expected": 1000.0}),
    "permissive": (replace(DEVICE, mode=HELD), {"value": 1020.0, "expected": 1000.0}),
}


@pytest.mark.parametrize("guard", list(REFUSED))
async def test_a_guard_of_our_own_refuses_before_anything_is_issued(guard: str) -> None:
    device, values = REFUSED[guard]
    line = Line(device=device)
    line.release(proposed(action=SetParameter(parameter=Parameter.LASER_POWER_W, **values)))
    await line.work()
    assert [(one.guard, state) for one, state in zip(line.told, line.states, strict=True)] == [
        (guard, "failed")
    ]
    assert line.plc.commands == []


async def test_another_recipe_is_refused() -> None:
    line = Line()
    line.release(proposed(recipe="other"))
    await line.work()
    assert [one.guard for one in line.told] == ["permissive"]


@pytest.mark.parametrize(
    ("parts", "seconds", "guard"), [(9, 60.0, "cooldown"), (10, 0.1, "cooldown"), (10, 0.4, None)]
)
async def test_the_next_change_waits_for_parts_and_seconds(
    parts: int, seconds: float, guard: str | None
) -> None:
    line = Line(clock=ManualClock(NOW))
    line.release()
    await line.work()
    line.plc.device = replace(line.plc.device, part_counter=100 + parts)
    line.clock.advance(seconds)
    up = SetParameter(parameter=Parameter.LASER_POWER_W, value=1040.0, expected=1020.0)
    line.release(proposed("c2", up, expires_s=1e4))
    await line.work()
    assert line.states[2:] == (["issued", "applied"] if guard is None else ["failed"])
    if guard is not None:
        assert line.told[-1].guard == guard
    # A new process knows of the last command from the log alone.
    fresh = Line(clock=ManualClock(line.clock.now()))
    fresh.plc.device = line.plc.device
    fresh.read(*[one for one in [*line.log, *line.told] if one.change_id == "c1"])
    fresh.release(proposed("c3", replace_expected(up, fresh.plc.device.power_w), expires_s=1e4))
    await fresh.work()
    assert (fresh.states == ["failed"]) == (guard is not None)


def replace_expected(action: SetParameter, expected: float) -> SetParameter:
    return SetParameter(parameter=action.parameter, value=expected + 20, expected=expected)


async def test_a_refusal_of_the_device_fails_the_change_and_starts_the_cooldown() -> None:
    line = Line()
    line.plc.refuse = "BadUserAccessDenied"
    line.release()
    await line.work()
    assert line.states == ["issued", "failed"]
    assert (line.told[1].guard, "BadUserAccessDenied" in line.told[1].reason) == ("plc", True)
    line.plc.refuse = None
    line.release(proposed("c2"))
    await line.work()
    assert line.told[-1].guard == "cooldown"


async def test_a_device_that_accepts_and_does_nothing_has_not_applied() -> None:
    line = Line()
    line.plc.ignore = True
    line.release()
    await line.work()
    assert line.states == ["issued", "failed"]
    assert line.told[1].guard == "read_back"


async def test_an_answer_that_was_lost_is_concluded_by_reading_and_never_sent_again() -> None:
    line = Line()
    line.plc.lose_answer = True
    line.release()
    await line.work()
    assert line.states == ["issued"]
    again = line.restarted()
    await again.work_until_ended()
    assert again.states == ["applied"]
    assert again.plc.commands == ["c1"]


async def test_a_command_that_never_arrived_fails_after_its_expiry_and_is_never_sent_again() -> None:
    line = Line()
    line.release()
    await line.work()
    issued, _ = line.told
    crashed = Line(clock=line.clock)  # it died between `issued` and the call
    crashed.read(*line.log, issued)
    await crashed.work()
    assert crashed.states == []  # it might still arrive
    await crashed.work_until_ended()
    assert [one.guard for one in crashed.told] == ["outcome"]
    assert crashed.plc.commands == []


async def test_an_operator_who_resumes_before_the_outcome_is_known_does_not_hide_it() -> None:
    line = Line()
    line.plc.lose_answer = True
    line.release()
    await line.work()
    line.plc.device = replace(line.plc.device, last_command_id="resume-by-hand")
    await line.work()
    assert line.states == ["issued", "applied"]


async def test_a_command_that_another_overtook_has_failed_at_once() -> None:
    line = Line()
    line.release()
    await line.work()
    crashed = Line(clock=line.clock, device=replace(DEVICE, last_sequence=1, last_command_id="by-hand"))
    crashed.read(*line.log, line.told[0])
    await crashed.work()
    assert crashed.states == ["failed"]
    assert crashed.clock.now() < line.log[0].expires_at
    assert crashed.plc.commands == []


async def unknown() -> Line:
    """A line whose first command was never heard of again."""
    line = Line()
    command = line.plc.command

    async def lost(station: str, one: Any) -> None:
        raise PlcUnavailable("lost on its way")

    line.plc.command = lost  # type: ignore[method-assign]
    line.release(proposed(expires_s=50.0))
    await line.work()
    line.plc.command = command  # type: ignore[method-assign]
    line.plc.device = replace(line.plc.device, part_counter=200)
    line.clock.advance(10.0)
    return line


async def test_while_an_outcome_is_unknown_no_other_setpoint_is_commanded() -> None:
    line = await unknown()
    line.release(proposed("c2", expires_s=1e3))
    line.release(proposed("c3", expires_s=20.0))
    await line.work()
    assert line.story == [("c1", "issued")]
    line.clock.advance(20.0)
    await line.work()
    assert line.story[1:] == [("c3", "expired")]
    line.clock.advance(50.0)
    await line.work()
    assert line.story[2:] == [("c1", "failed"), ("c2", "issued"), ("c2", "applied")]


async def test_an_outcome_is_looked_for_before_another_change_that_was_proposed_earlier() -> None:
    line = Line()
    line.read(proposed("c2", expires_s=1e4))
    line.plc.lose_answer = True
    line.release()
    await line.work()
    line.plc.lose_answer = False
    line.plc.device = replace(line.plc.device, part_counter=200)
    line.clock.advance(10.0)
    line.release(proposed("c2", expires_s=1e4))
    await line.work()
    assert line.story == [("c1", "issued"), ("c1", "applied"), ("c2", "failed")]


async def test_a_hold_waits_for_no_outcome() -> None:
    line = await unknown()
    line.release(proposed("stop", Hold(reason="gap"), expires_s=1e3))
    await line.work()
    assert line.story == [("c1", "issued"), ("stop", "issued"), ("stop", "applied")]
    assert line.plc.device.mode == HELD


async def test_what_expires_while_the_device_takes_its_time_is_not_issued() -> None:
    line = Line()
    read = line.plc.read

    async def slow(station: str) -> Device:
        line.clock.advance(10.0)
        return await read(station)

    line.plc.read = slow  # type: ignore[method-assign]
    line.release()
    await line.work()
    assert line.states == ["expired"]
    assert line.plc.commands == []


async def test_an_expiry_at_the_end_of_time_is_only_far_away() -> None:
    line = Line()
    line.release(msgspec.structs.replace(proposed(), expires_at=datetime.max.replace(tzinfo=UTC)))
    await line.work()
    crashed = Line(clock=line.clock)  # it died between `issued` and the call
    crashed.read(*line.log, line.told[0])
    await crashed.work()
    assert crashed.states == []


async def test_verdicts_of_others_are_none_of_its_business() -> None:
    line = Line()
    line.release()
    await line.work()
    verdict = Verified(**head("c1", "verified"), parts=10, before_uohm=42, after_uohm=42)
    line.read(*line.told, verdict, verdict)
    await line.work()
    assert line.states == ["issued", "applied"]


steps = st.lists(
    st.one_of(
        st.sampled_from(["lose", "ignore", "away", "back", "restart", "repeat", "work", "parts", "resume"]),
        st.floats(900, 1450).map(lambda value: round(value, 1)),
    ),
    max_size=30,
)


@given(steps)
async def test_whatever_happens_no_command_is_sent_twice_and_no_limit_is_passed(script: list[Any]) -> None:
    line = Line()
    number = 0
    held, applied = set(), set()
    for step in script:
        if isinstance(step, float):
            number += 1
            action = SetParameter(
                parameter=Parameter.LASER_POWER_W, value=step, expected=line.plc.device.power_w
            )
            line.release(proposed(f"c{number}", action, expires_s=1e4))
        elif step == "restart":
            line = line.restarted()
        elif step == "repeat":
            line.read(*list(line.log))
        elif step == "parts":
            line.plc.device = replace(line.plc.device, part_counter=line.plc.device.part_counter + 10)
            line.clock.advance(0.5)
        elif step in ("away", "back"):
            line.plc.away = step == "away"
        elif step == "resume":
            line.plc.device = replace(line.plc.device, last_command_id="by-hand")
        elif step == "lose":
            line.plc.lose_answer = not line.plc.lose_answer
        elif step == "ignore":
            line.plc.ignore = not line.plc.ignore
        before = line.plc.device.power_w
        sent = len(line.plc.commands)
        await line.work()
        after = line.plc.device.power_w
        assert len(line.plc.commands) <= sent + 1  # the second one meets the cooldown
        assert abs(after - before) <= 30
        assert 850 <= after <= 1350
        assert len(set(line.plc.commands)) == len(line.plc.commands)
        held.add(after)
        applied |= {one.actual for one in line.told if isinstance(one, Applied)}
    assert applied <= held
