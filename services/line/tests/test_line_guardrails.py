"""The safety rules that the line enforces, by their numbers; each on a whole line with a device in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
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
    focus,
    head,
    hold,
    power,
    promotion,
    proposal,
    simulated,
)

from twinloop.contracts.changes import Action, Parameter, Proposed
from twinloop.contracts.controls import KillSwitchSet, ModeRequested, Overridden
from twinloop.contracts.modes import Mode
from twinloop.line.limits import Range
from twinloop.line.plc import EXECUTE, HELD, LOCAL
from twinloop.runtime.clock import ManualClock
from twinloop.trust.keys import Signer


async def ready(**what: Any) -> Line:
    line = Line(**what)
    await line.take()
    return line


async def refused(line: Line, one: Proposed | None = None, **how: Any) -> str | None:
    """What the line makes of a release: the guard that refuses, or `None` when it is applied. A refusal is
    audited once, and nothing reaches the device."""
    line.release(one, **how)
    sent, entries = len(line.plc.commands), len(line.audit.of("refused"))
    await line.work()
    last = line.told[-1]
    if line.states[-1] == "applied":
        return None
    assert line.states[-1] == "failed"
    assert len(line.plc.commands) == sent
    assert len(line.audit.of("refused")) == entries + 1
    assert line.audit.entries[-1]["reason"] == f"{last.guard}: {last.reason}"
    guard: str = last.guard
    return guard


def limited(line: Line, parameter: str = "laser_power_w", **what: Any) -> Line:
    own = getattr(line.limits, parameter).model_copy(update=what)
    return Line(limits=line.limits.model_copy(update={parameter: own}), device=line.device)


async def test_guardrail_02_modes() -> None:
    """OFF and SHADOW do nothing, SUPERVISED what a person approved, AUTO also what a policy did; a restart is
    SHADOW, and one step at a time leads up."""
    for mode, policy, person in (
        (Mode.OFF, "mode", "mode"),
        (Mode.SHADOW, "mode", "mode"),
        (Mode.SUPERVISED, "mode", None),
        (Mode.AUTO, None, None),
    ):
        line = await ready(promoted=mode)
        if mode is Mode.OFF:
            line.read(ModeRequested(**head("off"), mode=Mode.OFF, by="person:ada", reason=""))
        assert await refused(line) == policy
        line = await ready(promoted=mode)
        assert await refused(line, approver="person:ada") == person
        assert await refused(line, proposal("stop", hold()), approver="person:ada") == person
    again = (await ready()).restarted()
    assert await refused(again) == "mode"
    line = Line(promoted=Mode.SHADOW)
    line.read(*promotion()[2:])
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW


@pytest.mark.parametrize(
    ("device", "action", "guard"),
    [
        ({"power_w": 1390.0}, power(1410.0, 1390.0), "hard_limits"),
        ({"power_w": 1340.0}, power(1360.0, 1340.0), "operator_limits"),
        ({"power_w": 1110.0}, power(1125.0, 1110.0), "model_validity"),
        ({"power_w": 1080.0}, power(1100.0, 1080.0), None),
        ({"focus_mm": 1.9}, focus(2.1, 1.9), "hard_limits"),
        ({"focus_mm": 1.4}, focus(1.6, 1.4), "operator_limits"),
    ],
)
async def test_guardrail_05_nested_limits(device: dict[str, Any], action: Action, guard: str | None) -> None:
    line = limited(Line(device=replace(DEVICE, **device)), validity=Range(low=900, high=1120))
    await line.take()
    assert await refused(line, proposal(action=action)) == guard


async def test_guardrail_06_rate_per_command_per_hour_and_in_all() -> None:
    line = await ready()
    assert await refused(line, proposal(action=power(1030.1))) == "step"
    line = limited(Line(), hourly_travel=50.0)
    await line.take()
    at = 1000.0
    for number, (to, guard) in enumerate(((1030.0, None), (1010.0, None), (1020.0, "hourly_travel"))):
        assert await refused(line, proposal(f"t{number}", power(to, at))) == guard
        at = line.plc.device.power_w
        line.plc.device = replace(line.plc.device, part_counter=line.plc.device.part_counter + 10)
        line.clock.advance(1.0)
    line.clock.advance(3600.0)
    await line.take()
    assert await refused(line, proposal("t9", power(1020.0, at))) is None
    line = limited(Line(device=replace(DEVICE, power_w=1090.0)), authority=100.0)
    await line.take()
    assert await refused(line, proposal(action=power(1101.0, 1090.0))) == "authority"


async def test_guardrail_07_deadband() -> None:
    line = await ready()
    assert await refused(line, proposal(action=power(1004.9))) == "deadband"
    assert await refused(line, proposal("f", focus(0.04))) == "deadband"
    assert await refused(line, proposal("c2", power(1005.0))) is None


async def test_guardrail_08_cooldown_in_seconds_and_in_parts() -> None:
    for parts, seconds, guard in ((10, 0.1, "cooldown"), (9, 9.0, "cooldown"), (10, 0.3, None)):
        line = await ready(clock=ManualClock(NOW))
        assert await refused(line) is None
        line.plc.device = replace(line.plc.device, part_counter=100 + parts)
        line.clock.advance(seconds)
        assert await refused(line, proposal("c2", focus(0.1))) == guard


@pytest.mark.parametrize(
    "device",
    [
        {"mode": HELD},
        {"recipe": "another"},
        {"maintenance_lock": True},
        {"high_alarm": True},
        {"control_source": LOCAL, "local_reason": "released"},
    ],
)
async def test_guardrail_09_permissive(device: dict[str, Any]) -> None:
    line = await ready()
    line.plc.device = replace(line.plc.device, **device)
    assert await refused(line) == "permissive"
    assert await refused(line, proposal("stop", hold())) is None


async def test_guardrail_09_another_recipe_gets_no_setpoint_though_all_agree_on_it() -> None:
    line = await ready()
    line.plc.device = replace(line.plc.device, recipe="another")
    foreign = msgspec.structs.replace(proposal(), recipe="another")
    assert await refused(line, foreign) == "permissive"


async def test_guardrail_10_envelope() -> None:
    """Forged, altered, mismatched, of the future, replayed: refused and alarmed. Late: expired."""
    one = proposal()
    genuine = approved(envelope(one))
    wrong = {
        "forged": approved(envelope(one), Signer.generate()),
        "altered": msgspec.structs.replace(
            genuine, envelope=msgspec.structs.replace(genuine.envelope, expires_at=NOW + timedelta(days=1))
        ),
        "mismatched": approved(
            msgspec.structs.replace(genuine.envelope, action=power(1021.0)), change_id="c1"
        ),
        "of the future": approved(envelope(one, at=NOW + timedelta(minutes=1))),
    }
    for told in wrong.values():
        line = await ready()
        line.read(one, simulated("c1"), told)
        await line.work()
        await line.said()
        assert (line.states, line.refused, line.alarms) == (["failed"], ["envelope"], ["forged_command"])
        assert line.plc.commands == []
    line = await ready()
    assert await refused(line) is None
    assert await refused(line, proposal("c2"), sequence=1) == "envelope"
    line.release(proposal("c3"), valid_s=0.5)
    line.clock.advance(1.0)
    await line.work()
    assert line.states[-1] == "expired"


async def test_guardrail_10_compare_and_set() -> None:
    line = await ready(device=replace(DEVICE, power_w=1007.0))
    assert await refused(line) == "compare_and_set"


async def test_guardrail_11_one_writer_writes_each_state_in_order() -> None:
    line = await ready()
    line.release()
    line.read(*line.log)  # everything again
    await line.work()
    await line.work()
    assert line.states == ["issued", "applied"]
    line.read(*line.told, *line.log)
    await line.work()
    assert (line.states, line.plc.commands) == (["issued", "applied"], ["c1"])


async def test_guardrail_12_read_back_from_the_device_and_not_an_echo() -> None:
    """An answer is not believed, an unknown outcome is read, and nothing is sent again."""
    line = await ready()
    line.plc.faults.ignore = True
    line.release()
    await line.work()
    assert line.refused == ["read_back"]
    line = await ready()
    line.plc.faults.lose_answer = True
    line.release()
    await line.work()
    assert line.states == ["issued"]
    await line.work()
    assert (line.states, line.plc.commands) == (["issued", "applied"], ["c1"])


async def test_guardrail_13_watchdog_both_ways() -> None:
    for fault in ("frozen", "deaf"):
        line = await ready()
        setattr(line.plc.faults, fault, True)
        for _ in range(4):
            await line.vigil.beat(ASSET)
        await line.said()
        assert line.alarms == ["watchdog"]
        assert line.ledger.governance(ASSET).actual is Mode.SHADOW
        assert await refused(line) == "mode"
    line = await ready()
    line.plc.fall()
    assert await refused(line) == "permissive"
    await line.vigil.beat(ASSET)
    assert line.vigil.problem(ASSET) is not None


async def test_guardrail_15_a_rollback_passes_the_same_gates_but_cooldown_and_deadband() -> None:
    line = await ready()
    assert await refused(line) is None
    line.read(*line.told)
    assert await refused(line, proposal("x", power(1000.0, 1020.0), rollback_of="other")) == "cooldown"
    assert await refused(line, proposal("b", power(1000.0, 1020.0), rollback_of="c1")) is None
    assert line.plc.device.power_w == 1000.0
    line = await ready()
    assert await refused(line) is None
    line.read(*line.told, KillSwitchSet(**head("k"), by="person:ada", reason="smoke"))
    assert await refused(line, proposal("b", power(1000.0, 1020.0), rollback_of="c1")) == "kill_switch"


async def test_guardrail_16_an_operators_hand_wins_and_latches_manual() -> None:
    line = await ready()
    line.plc.by_hand(Parameter.LASER_POWER_W, 1015.0)
    await line.vigil.beat(ASSET)
    await line.said()
    assert line.alarms == ["overridden"]
    assert line.ledger.governance(ASSET).manual
    line.read(*line.published, *promotion(name="again"))
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW
    assert await refused(line) == "mode"
    assert line.plc.device.power_w == 1015.0
    by_log = await ready()
    by_log.read(Overridden(**head("o"), parameter=Parameter.FOCUS_MM, value=1, expected=0, reason="key"))
    assert await refused(by_log) == "mode"


async def test_guardrail_16_a_kill_switch_here_or_in_the_log_stops_everything() -> None:
    line = await ready()
    line.switch.killed = "stopped"
    assert await refused(line) == "kill_switch"
    assert await refused(line, proposal("stop", hold())) == "kill_switch"
    await line.vigil.beat(ASSET)
    assert line.plc.device.control_source == LOCAL
    line = await ready()
    line.read(KillSwitchSet(**head("k"), by="person:ada", reason="smoke"))
    assert await refused(line) == "mode"


async def test_guardrail_17_a_new_model_version_does_not_inherit_the_mode() -> None:
    line = await ready()
    assert await refused(line, proposal(model_version=2)) == "model_swap"
    assert await refused(line, proposal("stop", hold(), model_version=2)) == "model_swap"
    assert await refused(line, proposal("c2")) is None
    line = await ready()
    line.read(ModeRequested(**head("down"), mode=Mode.SHADOW, by="person:ada", reason="a new model"))
    line.read(*promotion(name="v2", version=2))
    assert await refused(line, proposal("old")) == "model_swap"
    assert await refused(line, proposal("new", model_version=2)) is None


async def test_guardrail_18_audit() -> None:
    """Every act has an entry before the device is called; without a store nothing is done."""
    line = await ready()
    assert await refused(line) is None
    whats = [one["what"] for one in line.audit.entries]
    assert whats == ["took control", "issued", "applied"]
    issued = line.audit.of("issued")[0]
    assert (issued["who"], issued["old"], issued["new"], issued["change_id"]) == (
        "line",
        "1000.0 W",
        "1020 W",
        "c1",
    )
    assert "policy:auto" in issued["reason"]
    line.audit.away = True
    line.plc.device = replace(line.plc.device, part_counter=200, mode=EXECUTE)
    line.clock.advance(1.0)
    line.release(proposal("c2", power(1040.0, 1020.0)))
    await line.work()
    assert line.refused == ["audit"]
    assert line.plc.commands == ["c1"]
    await line.vigil.beat(ASSET)
    await line.said()
    assert line.alarms == ["audit_away"]
    assert line.ledger.governance(ASSET).actual is Mode.SHADOW
