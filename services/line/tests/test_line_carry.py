"""One change on its way to a device in memory: at most once, decided by what the device then holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from support.line import (
    ASSET,
    DEVICE,
    NOW,
    Line,
    approved,
    envelope,
    head,
    hold,
    power,
    promotion,
    proposal,
    simulated,
)

from twinloop.contracts.changes import Rejected, Verified
from twinloop.contracts.controls import ModeRequested, ModeShed, Overridden
from twinloop.contracts.modes import Mode
from twinloop.line.errors import PlcUnavailable
from twinloop.line.plc import HELD, LOCAL, Device
from twinloop.runtime.clock import ManualClock
from twinloop.trust.keys import Signer


async def ready(**what: Any) -> Line:
    """A line in AUTO that has control of its station."""
    line = Line(**what)
    await line.take()
    assert line.vigil.problem(ASSET) is None
    return line


async def test_a_released_change_is_issued_commanded_read_back_and_applied() -> None:
    line = await ready()
    line.release()
    await line.work()
    assert line.states == ["issued", "applied"]
    issued, applied = line.told
    assert (issued.command_sequence, issued.part_counter, issued.caused_by) == (1, 100, "c1-approved")
    assert (applied.actual, applied.part_counter, applied.caused_by) == (1020.0, 100, issued.event_id)
    assert line.plc.device.power_w == 1020.0


async def test_a_hold_is_carried_at_any_time_and_read_back_as_held() -> None:
    line = Line(device=replace(DEVICE, recipe="other", control_source=LOCAL, local_reason="released"))
    line.release(proposal(action=hold()))
    await line.work()
    assert line.states == ["issued", "applied"]
    assert (line.told[1].actual, line.plc.device.mode) == (HELD, HELD)


async def test_issued_is_audited_and_acknowledged_before_the_device_is_called() -> None:
    line = await ready()
    seen: list[tuple[Sequence[str], int]] = []
    command = line.plc.command

    async def watched(station: str, one: Any) -> None:
        seen.append((line.states, len(line.audit.of("issued"))))
        await command(station, one)

    line.plc.command = watched  # type: ignore[method-assign]
    line.release()
    await line.work()
    assert seen == [(["issued"], 1)]
    assert [one["what"] for one in line.audit.entries if one.get("change_id")] == ["issued", "applied"]


async def test_the_command_is_the_envelope_and_not_the_proposal() -> None:
    line = await ready()
    told = line.release(proposal(at=NOW))
    await line.work()
    (command,) = line.plc.acted
    assert (command.command_id, command.action, command.recipe, command.expires_at) == (
        told.envelope.command_id,
        told.envelope.action,
        told.envelope.recipe,
        told.envelope.expires_at,
    )


async def test_the_same_log_read_again_and_again_acts_once() -> None:
    line = await ready()
    line.release()
    await line.work()
    line.read(*list(line.log), *line.told)
    await line.work()
    again = line.restarted()
    await again.work()
    assert line.plc.commands == ["c1"]
    assert again.states == []


@pytest.mark.parametrize("event", [None, "rejected"])
async def test_what_is_not_released_is_left_alone(event: str | None) -> None:
    line = await ready()
    line.read(proposal(), simulated("c1"))
    if event:
        line.read(Rejected(**head("c1-rejected"), change_id="c1", approver="p", reason=""))
        line.read(approved(envelope(proposal())))  # too late: it has ended
    await line.work()
    assert line.states == []
    assert line.plc.commands == []


async def test_released_too_late_it_expires_unissued() -> None:
    line = await ready()
    line.release(valid_s=1.0)
    line.clock.advance(1.5)
    await line.work()
    assert line.states == ["expired"]
    assert line.plc.commands == []


async def test_the_expiry_is_that_of_the_envelope() -> None:
    line = await ready()
    line.release(proposal(expires_at=NOW), valid_s=60.0)
    await line.work()
    assert line.states == ["issued", "applied"]


async def test_while_the_device_is_away_it_waits_and_then_goes_on() -> None:
    line = await ready()
    line.plc.faults.away = True
    line.release()
    await line.work()
    assert line.states == []
    line.plc.faults.away = False
    await line.work()
    assert line.states == ["issued", "applied"]


async def test_a_device_that_stays_away_lets_it_expire() -> None:
    line = await ready()
    line.plc.faults.away = True
    line.release()
    await line.work_until_ended()
    assert line.states == ["expired"]


REFUSED = {
    "hard_limits": ({"power_w": 1395.0}, power(1420.0, 1395.0)),
    "operator_limits": ({"power_w": 1340.0}, power(1360.0, 1340.0)),
    "compare_and_set": ({"power_w": 1010.0}, power(1020.0)),
    "step": ({}, power(1031.0)),
    "deadband": ({}, power(1004.0)),
    "permissive": ({"mode": HELD}, power(1020.0)),
}


@pytest.mark.parametrize("guard", list(REFUSED))
async def test_a_guard_of_our_own_refuses_before_anything_is_issued(guard: str) -> None:
    device, action = REFUSED[guard]
    line = await ready(device=replace(DEVICE, **device))
    line.release(proposal(action=action))
    await line.work()
    assert (line.states, line.refused) == (["failed"], [guard])
    assert line.plc.commands == []
    (entry,) = line.audit.of("refused")
    assert entry["reason"].startswith(f"{guard}: ")


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("parts", "seconds", "guard"), [(9, 60.0, "cooldown"), (10, 0.1, "cooldown"), (10, 0.4, None)]
)
async def test_the_next_change_waits_for_parts_and_seconds(
    parts: int, seconds: float, guard: str | None, restarts: bool
) -> None:
    line = await ready(clock=ManualClock(NOW))
    line.release()
    await line.work()
    if restarts:  # a new process knows of the last command from the log alone
        line = line.restarted()
        await line.said()
        line.read(*line.published, *promotion(name="again"))
        await line.take()
    line.plc.device = replace(line.plc.device, part_counter=100 + parts)
    line.clock.advance(seconds)
    line.release(proposal("c2", power(1040.0, 1020.0)))
    await line.work()
    assert line.states[-1] == ("applied" if guard is None else "failed")
    assert line.refused == ([] if guard is None else [guard])


async def test_a_refusal_of_the_device_fails_the_change_and_starts_the_cooldown() -> None:
    line = await ready()
    line.plc.faults.refuse = "BadUserAccessDenied"
    line.release()
    await line.work()
    assert line.states == ["issued", "failed"]
    assert (line.told[1].guard, "BadUserAccessDenied" in line.told[1].reason) == ("plc", True)
    line.plc.faults.refuse = None
    line.release(proposal("c2"))
    await line.work()
    assert line.refused[-1] == "cooldown"


async def test_an_answer_that_was_lost_is_concluded_by_reading_and_never_sent_again() -> None:
    line = await ready()
    line.plc.faults.lose_answer = True
    line.release()
    await line.work()
    assert line.states == ["issued"]
    again = line.restarted()
    await again.work_until_ended()
    assert again.states == ["applied"]
    assert again.plc.commands == ["c1"]


async def test_a_command_that_never_arrived_fails_after_its_expiry_and_is_never_sent_again() -> None:
    line = await ready()
    line.plc.faults.drop_command = True
    line.release()
    await line.work()
    again = line.restarted()
    await again.work()
    assert again.states == []  # it might still arrive
    await again.work_until_ended()
    assert again.refused == ["outcome"]
    assert again.plc.commands == ["c1"]


async def test_an_operator_who_resumes_before_the_outcome_is_known_does_not_hide_it() -> None:
    line = await ready()
    line.plc.faults.lose_answer = True
    line.release()
    await line.work()
    line.plc.device = replace(line.plc.device, last_command_id="resume-by-hand")
    await line.work()
    assert line.states == ["issued", "applied"]


async def test_a_command_that_another_overtook_has_failed_at_once() -> None:
    line = await ready()
    line.plc.faults.drop_command = True
    told = line.release()
    await line.work()
    line.plc.device = replace(line.plc.device, last_sequence=1, last_command_id="by-hand")
    await line.work()
    assert line.states == ["issued", "failed"]
    assert line.clock.now() < told.envelope.expires_at


async def unknown() -> Line:
    """A line whose first command was never heard of again."""
    line = await ready()
    line.plc.faults.drop_command = True
    line.release(valid_s=50.0)
    await line.work()
    line.plc.faults.drop_command = False
    line.plc.device = replace(line.plc.device, part_counter=200)
    line.clock.advance(10.0)
    return line


async def test_while_an_outcome_is_unknown_no_other_setpoint_is_commanded() -> None:
    line = await unknown()
    line.release(proposal("c2"), valid_s=1e3)
    line.release(proposal("c3"), valid_s=20.0)
    await line.work()
    assert line.story == [("c1", "issued")]
    line.clock.advance(60.0)
    await line.work()
    assert line.story[1:] == [("c1", "failed"), ("c2", "issued"), ("c2", "applied"), ("c3", "expired")]


async def test_an_outcome_is_looked_for_before_another_change_that_was_proposed_earlier() -> None:
    line = await ready()
    line.read(proposal("c2"))
    line.plc.faults.lose_answer = True
    line.release()
    await line.work()
    line.plc.faults.lose_answer = False
    line.plc.device = replace(line.plc.device, part_counter=200)
    line.clock.advance(10.0)
    line.release(proposal("c2"))
    await line.work()
    assert line.story == [("c1", "issued"), ("c1", "applied"), ("c2", "failed")]


async def test_a_hold_waits_for_no_outcome_and_overtakes_what_was_released_before() -> None:
    line = await unknown()
    line.release(proposal("c2"), valid_s=1e3)
    line.release(proposal("stop", hold()), valid_s=1e3)
    await line.work()
    assert line.story == [("c1", "issued"), ("stop", "issued"), ("stop", "applied")]
    assert line.plc.device.mode == HELD
    await line.work()  # c2 was released before the stop: nobody forged it, and it must not follow
    assert line.story[3:] == [("c1", "failed"), ("c2", "failed")]
    assert line.refused[-1] == "envelope"
    await line.said()
    assert line.alarms == []


async def test_what_expires_while_the_device_takes_its_time_is_not_issued() -> None:
    line = await ready()
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
    line = await ready()
    line.plc.faults.drop_command = True
    one = msgspec.structs.replace(envelope(proposal()), expires_at=datetime.max.replace(tzinfo=UTC))
    line.read(proposal(), simulated("c1"), approved(one))
    await line.work()
    await line.work()
    assert line.states == ["issued"]


async def test_verdicts_of_others_are_none_of_its_business() -> None:
    line = await ready()
    line.release()
    await line.work()
    verdict = Verified(**head("v"), change_id="c1", parts=10, before_uohm=42, after_uohm=42)
    line.read(*line.told, verdict, verdict)
    await line.work()
    assert line.states == ["issued", "applied"]


# ---- what comes between `issued` and the call


def meanwhile(line: Line, what: Any) -> None:
    """`what` happens while Kafka takes `issued`."""
    publish = line.out.publish

    async def slow(messages: Any) -> None:
        await publish(messages)
        if line.states == ["issued"]:
            what()

    line.out.publish = slow  # type: ignore[method-assign]


CAME: dict[str, Any] = {
    "kill_switch": lambda line: setattr(line.switch, "killed", "stopped"),
    "mode": lambda line: line.read(
        ModeRequested(**head("down"), mode=Mode.SHADOW, by="person:ada", reason="stop")
    ),
    "override": lambda line: line.ledger.say(
        Overridden(**head("o"), parameter="laser_power_w", value=1.0, expected=2.0, reason="key")
    ),
    "watchdog": lambda line: line.vigil._stations[ASSET].__setattr__(
        "watched", replace(line.vigil._stations[ASSET].watched, unheard=3)
    ),
    "envelope": lambda line: line.clock.advance(60.0),
}


@pytest.mark.parametrize("guard", list(CAME))
async def test_what_came_while_kafka_took_its_time_has_the_last_word(guard: str) -> None:
    line = await ready()
    meanwhile(line, lambda: CAME[guard](line))
    line.release()
    await line.work()
    assert line.states == ["issued", "failed"]
    # An override sheds the mode, and the mode is asked first.
    assert line.refused == ["mode" if guard == "override" else guard]
    assert line.plc.commands == []


# ---- who released it


async def test_a_forged_release_is_refused_alarmed_and_audited_without_asking_the_device() -> None:
    line = await ready()
    line.plc.faults.away = True
    line.read(proposal(), simulated("c1"), approved(envelope(proposal()), Signer.generate()))
    await line.work()
    await line.said()
    assert (line.states, line.refused, line.alarms) == (["failed"], ["envelope"], ["forged_command"])
    (entry,) = line.audit.of("refused")
    assert "nobody trusted" in entry["reason"]


async def test_a_forged_release_does_not_use_up_sequence_numbers() -> None:
    line = await ready()
    line.read(proposal("f"), simulated("f"))
    line.read(approved(envelope(proposal("f"), 10**9), Signer.generate()))
    await line.work()
    line.release(proposal("c1"))
    await line.work()
    assert line.story[1:] == [("c1", "issued"), ("c1", "applied")]


async def test_what_a_stop_has_come_after_does_not_come_back_with_a_promotion() -> None:
    line = await ready()
    line.release(valid_s=60.0)
    line.read(ModeShed(**head("s"), mode=Mode.SHADOW, by="controller", reason="bad input"))
    line.read(*promotion(name="again"))
    await line.take()
    await line.work()
    assert line.refused == ["mode"]
    assert "bad input" in line.told[0].reason


async def test_without_an_audit_store_nothing_is_done_and_the_mode_is_shed() -> None:
    line = await ready()
    line.release()
    line.audit.away = True
    await line.work()
    assert line.refused == ["audit"]
    assert line.plc.commands == []


async def test_an_audit_store_that_fails_at_the_last_moment_sheds_too() -> None:
    line = await ready()
    append = line.audit.append

    async def full(**fields: Any) -> Any:
        if fields["what"] == "issued":
            line.audit.away = True
        return await append(**fields)

    line.audit.append = full  # type: ignore[method-assign]
    line.release()
    await line.work()
    await line.said()
    assert (line.states, line.refused, line.alarms) == (["failed"], ["audit"], ["audit_away"])
    assert line.plc.commands == []
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW


# ---- a device that is not to be trusted


@pytest.mark.parametrize(
    ("faults", "ends"),
    [
        ({"ignore": True}, ["read_back"]),
        ({"fraction": 0.5}, ["read_back"]),
        ({"drop_command": True}, ["outcome"]),
        ({"lose_answer": True}, []),
        ({"lose_answer": True, "ignore": True}, ["read_back"]),
        ({"lose_answer": True, "fraction": 0.5}, ["read_back"]),
        ({"refuse": "BadOutOfRange"}, ["plc"]),
    ],
)
async def test_whatever_the_device_does_the_outcome_is_true(faults: dict[str, Any], ends: list[str]) -> None:
    line = await ready()
    for name, value in faults.items():
        setattr(line.plc.faults, name, value)
    line.release()
    await line.work_until_ended()
    assert line.refused == ends
    applied = line.states[-1] == "applied"
    assert applied == (line.plc.in_force["laser_power_w"] == 1020.0)  # type: ignore[index]
    assert line.plc.commands == ["c1"]


async def test_a_value_that_somebody_else_set_does_not_make_a_lost_command_applied() -> None:
    line = await ready()
    line.plc.faults.drop_command = True
    line.release()
    await line.work()
    line.plc.device = replace(line.plc.device, power_w=1020.0)
    await line.work_until_ended()
    assert line.refused == ["outcome"]


async def test_a_device_that_lies_cannot_be_told_from_one_that_obeys() -> None:
    """Only the parts tell: the controller's measurement finds it, and nobody here may claim to."""
    line = await ready()
    line.plc.faults.ignore = line.plc.faults.lie = True
    line.release()
    await line.work()
    assert line.states == ["issued", "applied"]
    assert line.plc.in_force["laser_power_w"] == 1000.0  # type: ignore[index]


async def test_a_connection_lost_during_the_read_back_leaves_it_open() -> None:
    line = await ready()
    command = line.plc.command

    async def then_gone(station: str, one: Any) -> None:
        await command(station, one)
        line.plc.faults.away = True

    line.plc.command = then_gone  # type: ignore[method-assign]
    line.release()
    await line.work()
    with pytest.raises(PlcUnavailable):
        await line.plc.read("weld1")
    assert line.states == ["issued"]
    line.plc.faults.away = False
    await line.work()
    assert line.states == ["issued", "applied"]
