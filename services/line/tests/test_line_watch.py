"""The heartbeat: both sides watch each other, and an operator at the machine always wins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line import ASSET, DEVICE, Line, head, power, promotion, proposal
from support.waiting import until

from twinloop.contracts.changes import Parameter
from twinloop.contracts.controls import ModeRequested, OverrideCleared
from twinloop.contracts.modes import Mode
from twinloop.line.ledger import Ledger
from twinloop.line.plc import LOCAL, REMOTE, Device
from twinloop.line.watch import MISSED, Do, Lost, Overriding, Watched, Wish, heard, look

ACTS = Wish(owned=True, acts=True)
IDLE = Wish(owned=True, acts=False)
HOLDS = Watched(holds=True, beat=1, known=DEVICE.setpoints)


def device(beat: int = 2, **what: Any) -> Device:
    return replace(DEVICE, beat=beat, **what)


def local(reason: str, **what: Any) -> Device:
    return device(control_source=LOCAL, local_reason=reason, **what)


# ---- what one beat decides


@pytest.mark.parametrize(
    ("watched", "reading", "wish", "do"),
    [
        (Watched(), local("startup"), ACTS, Do.TAKE),
        (Watched(), local("watchdog"), ACTS, Do.TAKE),
        (Watched(), local("released"), ACTS, Do.TAKE),
        (Watched(), local("operator"), replace(ACTS, manual=True), Do.NOTHING),
        (Watched(), local("released", maintenance_lock=True), ACTS, Do.NOTHING),
        (Watched(), device(), ACTS, Do.TAKE),  # a predecessor has it: a new hold of control begins
        (HOLDS, device(), ACTS, Do.BEAT),
        (HOLDS, device(), IDLE, Do.RELEASE),
        (HOLDS, device(), replace(ACTS, killed=True), Do.RELEASE),
        (Watched(), device(), IDLE, Do.RELEASE),
        (Watched(), device(), Wish(owned=False, acts=False), Do.NOTHING),  # another member has it
        (Watched(), device(), Wish(owned=False, acts=False, killed=True), Do.RELEASE),
        (HOLDS, device(), Wish(owned=False, acts=False), Do.RELEASE),
        (Watched(), local("released"), IDLE, Do.NOTHING),
        (HOLDS, None, ACTS, Do.NOTHING),
    ],
)
def test_control_is_taken_kept_and_given_back(
    watched: Watched, reading: Device | None, wish: Wish, do: Do
) -> None:
    _, found, what = look(watched, reading, wish)
    assert (found, what) == (None, do)


def missed(readings: list[Device | None], wish: Wish = ACTS) -> list[bool]:
    watched, lost = HOLDS, []
    for reading in readings:
        watched, found, _ = look(watched, reading, wish)
        lost.append(isinstance(found, Lost))
    return lost


def test_three_beats_without_a_sign_of_life_and_the_device_counts_as_gone() -> None:
    assert missed([device(1)] * MISSED) == [False, False, True]
    assert missed([None] * MISSED) == [False, False, True]
    assert missed([device(1), None, device(2), None, device(2)]) == [False] * 5
    assert missed([device(0)] * MISSED) == [False, False, True]  # it counts from the start again


def test_a_device_that_is_back_has_as_long_as_ever_to_show_that_it_lives() -> None:
    gone: list[Device | None] = [None] * (MISSED + 5)
    assert missed([*gone, *[device(1)] * MISSED])[MISSED + 5 :] == [False] * MISSED
    assert missed([*gone, *[device(1)] * (MISSED + 1)])[-1]


def test_a_reading_before_its_time_is_no_beat_that_was_missed() -> None:
    assert missed([device(1)] * 9, replace(ACTS, early=True)) == [False] * 9
    assert missed([None] * MISSED, replace(ACTS, early=True))[-1]


def test_three_heartbeats_that_are_not_taken_and_the_device_counts_as_gone() -> None:
    watched = HOLDS
    for number in range(2, 2 + MISSED):
        watched, found, do = look(watched, device(number), ACTS)
        assert (found, do) == (None, Do.BEAT)
        watched = heard(watched, do, taken=False)
    _, found, do = look(watched, device(9), ACTS)
    assert isinstance(found, Lost)
    assert do is Do.RELEASE
    after, _, _ = look(watched, device(9), IDLE)
    assert after.unheard == 0  # the next promotion begins anew


def test_what_does_not_act_needs_no_watchdog() -> None:
    assert missed([None] * 9, IDLE) == [False] * 9


@pytest.mark.parametrize("reason", ["watchdog", "startup", "released"])
def test_control_that_is_gone_without_our_doing_is_the_watchdog(reason: str) -> None:
    watched, found, do = look(HOLDS, local(reason), ACTS)
    assert isinstance(found, Lost)
    assert (do, watched.holds) == (Do.NOTHING, False)


def test_the_watchdogs_own_setpoints_are_no_operators() -> None:
    _, found, _ = look(HOLDS, local("watchdog", power_w=900.0), ACTS)
    assert isinstance(found, Lost)


@pytest.mark.parametrize("acts", [True, False])
def test_a_turned_key_is_an_override_also_in_shadow_and_only_once(acts: bool) -> None:
    _, found, _ = look(Watched(), local("operator"), Wish(owned=True, acts=acts))
    assert isinstance(found, Overriding)
    _, found, _ = look(Watched(), local("operator"), Wish(owned=True, acts=acts, manual=True))
    assert found is None


def test_a_setpoint_that_moved_without_a_command_of_ours_is_an_override() -> None:
    _, found, do = look(HOLDS, device(power_w=1015.0), ACTS)
    assert found == Overriding(
        Parameter.LASER_POWER_W, 1015.0, 1000.0, "it was set at the machine: no command of ours did"
    )
    assert do is Do.RELEASE
    _, found, _ = look(HOLDS, device(focus_mm=-0.1), ACTS)
    assert isinstance(found, Overriding)
    assert (found.parameter, found.value) == (Parameter.FOCUS_MM, -0.1)
    # The key was turned and given back between two beats.
    _, found, _ = look(HOLDS, local("released", power_w=1015.0), ACTS)
    assert isinstance(found, Overriding)


def test_while_a_command_of_ours_is_under_way_nothing_is_concluded_from_setpoints() -> None:
    watched, found, _ = look(HOLDS, device(power_w=1015.0), replace(ACTS, quiet=False))
    assert found is None
    assert watched.known == DEVICE.setpoints


def test_without_control_a_setpoint_may_be_anybodys() -> None:
    watched, found, _ = look(Watched(known=DEVICE.setpoints), local("released", power_w=900.0), IDLE)
    assert found is None
    assert watched.known == device(power_w=900.0).setpoints


@given(
    st.builds(
        Watched,
        holds=st.booleans(),
        beat=st.one_of(st.none(), st.integers(0, 3)),
        still=st.integers(0, 4),
        unheard=st.integers(0, 4),
        known=st.one_of(st.none(), st.just(DEVICE.setpoints), st.just(device(power_w=900.0).setpoints)),
    ),
    st.one_of(
        st.none(),
        st.builds(
            device,
            beat=st.integers(0, 3),
            control_source=st.sampled_from([LOCAL, REMOTE]),
            local_reason=st.sampled_from(["", "operator", "watchdog", "released"]),
            maintenance_lock=st.booleans(),
        ),
    ),
    st.builds(
        Wish,
        owned=st.booleans(),
        acts=st.booleans(),
        manual=st.booleans(),
        killed=st.booleans(),
        quiet=st.booleans(),
        early=st.booleans(),
    ),
)
def test_control_is_never_sought_where_nobody_may_act(
    watched: Watched, reading: Device | None, wish: Wish
) -> None:
    after, found, do = look(watched, reading, wish)
    if do in (Do.TAKE, Do.BEAT):
        assert wish.owned
        assert wish.acts
        assert not wish.killed
        assert found is None
    if found is not None:
        assert not after.holds or reading is None


# ---- the same on a device in memory


async def test_promotion_takes_control_and_demotion_gives_it_back() -> None:
    line = Line(device=local("startup"), promoted=Mode.SHADOW)
    await line.take()
    assert line.plc.calls == []
    line.read(*promotion(Mode.SUPERVISED))
    await line.take()
    assert line.plc.calls == ["take", "heartbeat"]
    assert line.vigil.problem(ASSET) is None
    line.read(ModeRequested(**head("down"), mode=Mode.SHADOW, by="person:ada", reason="done"))
    await line.take()
    assert line.plc.calls == ["take", "heartbeat", "release"]
    assert line.plc.device.local_reason == "released"
    assert [one["what"] for one in line.audit.entries] == ["took control"]


async def test_a_mode_that_was_entered_or_shed_does_not_wait_for_the_next_beat() -> None:
    limits = Line().limits.model_copy(update={"beat_s": 3600.0})
    line = Line(device=local("startup"), promoted=Mode.SHADOW, limits=limits)
    stopping = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(line.vigil.run(stopping))
        await until(lambda: line.vigil.device(ASSET) is not None)
        line.read(*promotion(Mode.SUPERVISED))
        line.vigil.mind()
        await until(lambda: line.vigil.holds(ASSET))
        line.read(ModeRequested(**head("down"), mode=Mode.SHADOW, by="person:ada", reason="done"))
        line.vigil.mind()
        await until(lambda: line.plc.device.control_source == LOCAL)
        line.vigil.mind()  # nothing new
        stopping.set()
    assert line.plc.calls == ["take", "release"]


async def test_the_ceiling_of_our_own_file_is_not_passed() -> None:
    line = Line()
    ceiling = line.limits.model_copy(update={"highest_mode": Mode.SHADOW})
    line = Line(limits=ceiling, device=local("startup"))
    await line.take()
    assert line.plc.calls == []
    assert line.vigil.effective(ASSET) is Mode.SHADOW


@pytest.mark.parametrize("fault", ["frozen", "deaf", "away"])
async def test_a_device_that_is_not_heard_is_shed_and_alarmed_once(fault: str) -> None:
    line = Line()
    await line.take()
    setattr(line.plc.faults, fault, True)
    for _ in range(8):
        await line.vigil.beat(ASSET)
    await line.said()
    assert line.alarms == ["watchdog"]
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW
    (shed,) = line.published
    assert (shed.mode, shed.by) == (Mode.SHADOW, "line")
    assert [one["what"] for one in line.audit.entries] == ["took control", "mode_shed"]
    setattr(line.plc.faults, fault, False)
    line.read(shed, *promotion(name="again"))
    await line.take()
    assert line.vigil.problem(ASSET) is None


async def test_the_devices_own_watchdog_sheds() -> None:
    line = Line()
    await line.take()
    line.plc.fall()
    await line.take()
    await line.said()
    assert line.alarms == ["watchdog"]
    assert line.plc.device.control_source == LOCAL


async def test_an_operator_who_takes_the_key_latches_manual_until_a_person_hands_back() -> None:
    line = Line()
    await line.take()
    line.plc.by_hand(Parameter.LASER_POWER_W, 1015.0)
    await line.take()
    await line.said()
    assert line.alarms == ["overridden"]
    (found,) = line.published
    assert (found.value, found.expected, found.parameter) == (1015.0, 1000.0, Parameter.LASER_POWER_W)
    line.read(found)
    assert line.ledger.governance(ASSET).manual
    line.read(*promotion(name="early"))
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW
    line.plc.device = replace(line.plc.device, local_reason="released")
    line.read(OverrideCleared(**head("back"), by="person:ada", reason="done"), *promotion(name="again"))
    await line.take()
    assert line.vigil.problem(ASSET) is None


async def test_our_own_command_is_no_override_and_an_operators_right_after_it_is() -> None:
    line = Line()
    await line.take()
    line.release()
    await line.work()
    await line.take()
    assert line.ledger.governance(ASSET).actual is Mode.AUTO
    line.plc.device = replace(line.plc.device, power_w=1000.0)
    await line.take()
    await line.said()
    assert line.alarms == ["overridden"]


async def test_a_command_whose_outcome_is_unknown_is_no_override() -> None:
    line = Line()
    await line.take()
    line.plc.faults.lose_answer = True
    line.release()
    await line.work()
    await line.take()
    await line.work()
    await line.take()
    await line.said()
    assert (line.states, line.alarms) == (["issued", "applied"], [])


async def test_the_kill_switch_gives_control_back_and_keeps_it_there() -> None:
    line = Line()
    await line.take()
    line.switch.killed = "stopped"
    await line.take()
    assert line.plc.device.local_reason == "released"
    line.plc.device = replace(line.plc.device, control_source=REMOTE)
    await line.take()
    assert line.plc.device.control_source == LOCAL


async def test_a_kill_that_comes_while_control_is_taken_gives_it_back() -> None:
    line = Line(device=local("startup"))
    take = line.plc.take_control

    async def slow(station: str, command_id: str) -> None:
        await take(station, command_id)
        line.switch.killed = "stopped"

    line.plc.take_control = slow  # type: ignore[method-assign]
    await line.vigil.beat(ASSET)
    assert line.plc.calls == ["take", "release"]


async def test_without_an_audit_store_the_mode_is_shed_and_control_given_back() -> None:
    line = Line()
    await line.take()
    line.audit.away = True
    await line.take()
    await line.said()
    assert line.alarms == ["audit_away"]
    assert line.plc.device.control_source == LOCAL


async def test_a_machines_shedding_does_not_stop_a_rollback_that_is_under_way() -> None:
    line = Line()
    await line.take()
    line.release()
    await line.work()
    line.read(*line.told)
    line.read(proposal("back", power(1000.0, 1020.0), rollback_of="c1"))
    line.notices.say_shed(line.ledger, ASSET, "bad input")
    await line.take()
    assert line.plc.device.control_source == REMOTE
    line.release(proposal("back", power(1000.0, 1020.0), rollback_of="c1"))
    await line.work()
    assert line.states[-2:] == ["issued", "applied"]
    await line.take()
    assert line.plc.device.control_source == LOCAL


# ---- restart


async def test_a_new_process_sheds_what_it_did_not_see_entered() -> None:
    line = Line().restarted()
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW
    await line.take()
    assert line.plc.calls == ["release"]
    await line.said()
    assert line.alarms == ["mode_shed"]
    assert line.published[0].caused_by == "p-auto-entered"


async def test_a_partition_that_comes_back_is_not_shed_again_unless_others_promoted_meanwhile() -> None:
    line = Line()
    shed: list[str] = []
    again, changed = Ledger(), Ledger()
    down = ModeRequested(**head("down"), mode=Mode.SHADOW, by="person:ada", reason="")
    for ledger, log in ((again, line.log), (changed, [*line.log, down, *promotion(name="elsewhere")])):
        for one in log:
            ledger.fold(one)
        assert ledger.governance(ASSET).actual is Mode.AUTO
    line.admission.admit([again], lambda _ledger, asset, _state: shed.append(asset))
    assert shed == []
    line.admission.admit([changed], lambda _ledger, asset, _state: shed.append(asset))
    assert shed == [ASSET]


async def test_it_is_ready_only_when_what_was_left_is_shed() -> None:
    line, late = Line(), Ledger()
    assert line.admission.problem([line.ledger]) is None
    assert line.admission.problem([line.ledger, late]) is not None
    line.admission.admit([line.ledger, late], lambda *_: None)
    assert line.admission.problem([line.ledger, late]) is None


async def test_a_restart_says_the_same_however_often_it_is_tried() -> None:
    line = Line()
    first, second = line.restarted(), line.restarted()
    await first.said()
    await second.said()
    assert first.published[0].event_id == second.published[0].event_id
