"""The guardrails that the twin takes part in, by their numbers: each broken once, and each held.

02 modes, 05 nested limits, 10 the envelope, 11 the life cycle, 18 the audit.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.twins import ASSET, NOW, Twin, control, focus, gate, power, promotion, proposed

from twinloop.contracts.changes import WRITER, Hold, SetParameter, State, signing_bytes, state_of
from twinloop.contracts.controls import CONTROL_WRITERS, ControlEvent, ModeShed
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.trust.errors import Forged
from twinloop.trust.keys import Signer, Trusted
from twinloop.twin.errors import Conflict


@pytest.fixture
def twin(tmp_path: Path) -> Twin:
    made = Twin(tmp_path)
    made.observe()
    return made


def bring_to(twin: Twin, mode: Mode) -> None:
    twin.read(*promotion(*[Mode.SUPERVISED, Mode.AUTO][: max(0, mode.rank - 1)]))
    if mode is Mode.OFF:
        twin.read(ModeShed(**control("off"), mode=Mode.OFF, by="controller", reason="x"))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.OFF, ["simulated", "rejected"]),
        (Mode.SHADOW, ["simulated", "rejected"]),
        (Mode.SUPERVISED, ["simulated"]),
        (Mode.AUTO, ["simulated", "approved"]),
    ],
)
async def test_02_modes_what_is_in_force_decides_and_not_what_a_proposal_says(
    twin: Twin, mode: Mode, expected: list[str]
) -> None:
    bring_to(twin, mode)
    twin.read(proposed(mode=Mode.AUTO))
    await twin.decide()
    assert twin.told() == expected


@pytest.mark.parametrize("mode", [Mode.SUPERVISED, Mode.AUTO])
@pytest.mark.parametrize("proposed_in", [Mode.SUPERVISED, Mode.AUTO])
@pytest.mark.parametrize("rollback_of", [None, "c0"])
async def test_guardrail_02_field_evidence_is_never_released_by_a_policy(
    twin: Twin, mode: Mode, proposed_in: Mode, rollback_of: str | None
) -> None:
    """A quality gate has no forecast: whatever is in force and whatever a proposal says, a person decides."""
    bring_to(twin, mode)
    twin.read(proposed(action=gate(49.5), mode=proposed_in, rollback_of=rollback_of))
    await twin.decide()
    await twin.decide()
    assert twin.told() == ["simulated"]
    simulated = twin.last()
    assert (simulated.do_nothing, simulated.do_this) == (None, None)
    (change,) = twin.ledger.due()
    why = twin.decider.waits_for(change.proposed.change_id)
    assert why is not None
    assert "a person decides, in every mode" in why
    await twin.desk.approve(change.proposed.change_id, "person:ella", "the scrap is worth it")
    released = twin.last()
    assert (released.approver, released.envelope.unit) == ("person:ella", "µΩ")


async def test_a_quality_gate_outside_the_twins_range_is_rejected(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed(action=gate(44.0)))
    await twin.decide()
    assert twin.told() == ["simulated", "rejected"]
    assert "outside the twin's 45 to 55" in twin.last().reason


async def test_02_modes_after_a_restart_nothing_is_in_force_that_the_log_does_not_say(twin: Twin) -> None:
    twin.read(proposed())
    await twin.decide()
    assert twin.last().reason.startswith("mode: the asset is in shadow")


async def test_02_modes_only_one_step_up_at_a_time(twin: Twin) -> None:
    with pytest.raises(Conflict, match="one step"):
        await twin.desk.request_mode(ASSET, Mode.AUTO, "person:ella", "hurry")
    await twin.desk.request_mode(ASSET, Mode.SUPERVISED, "person:ella", "begin")
    assert twin.ledger.governance(ASSET).actual is Mode.SHADOW  # only the controller lets it in


async def test_02_modes_what_is_shed_while_a_change_is_judged_is_not_released(twin: Twin) -> None:
    """The mode falls between the forecast and the decision."""
    bring_to(twin, Mode.AUTO)
    twin.read(proposed())
    publish = twin.out.publish

    async def publish_and_shed(messages: Any) -> None:
        await publish(messages)
        twin.read(ModeShed(**control("shed"), mode=Mode.SHADOW, by="line", reason="watchdog"))

    twin.out.publish = publish_and_shed  # type: ignore[method-assign]
    await twin.decide()
    assert twin.told() == ["simulated", "rejected"]


@pytest.mark.parametrize("mode", [Mode.SUPERVISED, Mode.AUTO])
@pytest.mark.parametrize("rollback", [None, "c0"])
async def test_05_limits_outside_the_twins_own_range_nothing_is_released_by_anybody(
    twin: Twin, mode: Mode, rollback: str | None
) -> None:
    bring_to(twin, mode)
    own = twin.assets.assets[ASSET].approval.power_w
    for n, value in enumerate((own.low - 1, own.high + 1, float("nan"), float("inf"))):
        twin.read(proposed(f"c{n}", power(value), mode, rollback))
        await twin.decide()
        assert twin.told(f"c{n}") == ["simulated", "rejected"]
        with pytest.raises(Conflict):
            await twin.desk.approve(f"c{n}", "person:ella", "I insist")


@pytest.mark.parametrize("action", [focus(-1.4), focus(1.4)])
async def test_05_limits_beyond_the_models_own_validity_a_person_decides(
    twin: Twin, action: SetParameter
) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed(action=action))
    await twin.decide()
    assert twin.told() == ["simulated"]
    assert "model_validity" in (twin.decider.waits_for("c") or "")
    await twin.desk.approve("c", "person:ella", "a trial")
    assert twin.told() == ["simulated", "approved"]


async def test_10_envelope_says_all_of_the_command_and_is_valid_for_seconds(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    one = proposed(expires_s=600.0)
    twin.read(one)
    await twin.decide()
    approved = twin.last()
    said = approved.envelope
    assert (said.command_id, said.asset, said.action, said.unit) == ("c", ASSET, one.action, "W")
    assert (said.recipe, said.model, said.model_version) == (one.recipe, one.model, one.model_version)
    assert (said.input_digest, said.mode, said.rollback_of) == (one.input_digest, one.mode, None)
    assert (said.approver, said.sequence) == ("policy:auto", 1)
    assert (said.issued_at, said.expires_at) == (NOW, NOW + timedelta(seconds=5))
    Trusted([twin.signer.public]).verify(signing_bytes(said), approved.signature, approved.key_id)


async def test_10_envelope_of_another_key_or_another_word_is_forged(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed())
    await twin.decide()
    approved = twin.last()
    trusted = Trusted([twin.signer.public])
    for field, other in (
        ("action", power(1021.0)),
        ("sequence", 2),
        ("expires_at", NOW + timedelta(hours=1)),
        ("approver", "person:ella"),
        ("mode", Mode.SUPERVISED),
    ):
        altered = type(approved.envelope)(
            **{name: getattr(approved.envelope, name) for name in approved.envelope.__struct_fields__}
            | {field: other}
        )
        with pytest.raises(Forged):
            trusted.verify(signing_bytes(altered), approved.signature, approved.key_id)
    with pytest.raises(Forged):
        Trusted([Signer.generate().public]).verify(
            signing_bytes(approved.envelope), approved.signature, approved.key_id
        )


async def test_10_envelope_numbers_grow_over_policy_and_persons(twin: Twin) -> None:
    bring_to(twin, Mode.SUPERVISED)
    for n in range(3):
        twin.read(proposed(f"c{n}", Hold(reason="gap"), Mode.SUPERVISED))
        await twin.decide()
        await twin.desk.approve(f"c{n}", "person:olaf", "stop")
    sequences = [one.envelope.sequence for one in twin.out.of(CHANGES) if hasattr(one, "envelope")]
    assert sequences == [1, 2, 3]


async def test_11_life_cycle_the_twin_writes_its_own_states_and_no_others(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed("good"), proposed("bad", power(920.0)), proposed("hold", Hold(reason="gap")))
    await twin.decide()
    twin.read(proposed("asked", mode=Mode.SUPERVISED))
    await twin.decide()
    await twin.desk.veto("asked", "person:olaf", "no")
    for event in twin.out.of(CHANGES):
        if isinstance(event, ControlEvent):
            assert "twin" in CONTROL_WRITERS[type(event)]
        else:
            assert WRITER[state_of(event)] == "twin"
    assert State.EXPIRED not in {state_of(one) for one in twin.out.of(CHANGES)}


async def test_11_life_cycle_a_change_is_decided_once_however_often_it_is_looked_at(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    one = proposed()
    for _ in range(3):
        twin.read(one)
        await twin.decide()
    assert twin.told() == ["simulated", "approved"]


async def test_11_life_cycle_two_persons_at_once_decide_once(twin: Twin) -> None:
    """A veto that comes while an approval is on its way finds it released."""
    bring_to(twin, Mode.SUPERVISED)
    twin.read(proposed(mode=Mode.SUPERVISED))
    await twin.decide()
    publish = twin.out.publish
    vetoing: list[Any] = []

    async def publish_while_vetoing(messages: Any) -> None:
        if not vetoing:
            vetoing.append(asyncio.create_task(twin.desk.veto("c", "person:otto", "no")))
            await asyncio.sleep(0)
        await publish(messages)

    twin.out.publish = publish_while_vetoing  # type: ignore[method-assign]
    await twin.desk.approve("c", "person:olaf", "yes")
    with pytest.raises(Conflict, match="released already"):
        await vetoing[0]
    assert twin.told() == ["simulated", "approved"]


async def test_18_audit_who_decided_what_and_why_is_written_before_it_is_told(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed("good"), proposed("bad", power(920.0)), proposed("asked", mode=Mode.SUPERVISED))
    await twin.decide()
    await twin.desk.veto("asked", "person:olaf", "not today")
    await twin.desk.request_mode(ASSET, Mode.SHADOW, "person:olaf", "night")
    assert [one for one in twin.audit.log if "simulated" not in one] == [
        "audit approved",
        "kafka approved",
        "audit rejected",
        "kafka rejected",
        "audit rejected",
        "kafka rejected",
        "audit requested mode",
        "kafka mode_requested",
    ]
    assert twin.audit.of("good") == [("policy:auto", "approved")]
    assert twin.audit.of("asked") == [("person:olaf", "rejected")]
    entry = next(one for one in twin.audit.entries if one["change_id"] == "good")
    assert (entry["old"], entry["new"]) == ("laser_power_w 1000", "laser_power_w 1020")
    assert "µΩ expected" in entry["reason"]
    assert "release 1" in entry["result"]


async def test_18_audit_with_the_store_away_nothing_is_released_and_one_alarm_says_so(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.audit.away = "the disk is full"
    twin.read(proposed("c", Hold(reason="gap")))
    for _ in range(3):
        await twin.decide()
    assert twin.told() == []
    assert [one.code for one in twin.alarms()] == [AlarmCode.AUDIT_AWAY]
    assert twin.registry.get_sample_value("twinloop_twin_refusals_total", {"guard": "audit"}) == 1
    twin.audit.away = None
    await twin.decide()
    assert twin.told() == ["simulated", "approved"]


async def test_18_audit_a_store_that_goes_while_a_change_is_judged_stops_its_release(twin: Twin) -> None:
    bring_to(twin, Mode.AUTO)
    twin.read(proposed())
    publish = twin.out.publish

    async def publish_and_go(messages: Any) -> None:
        await publish(messages)
        twin.audit.away = "pulled out"

    twin.out.publish = publish_and_go  # type: ignore[method-assign]
    await twin.decide()
    assert twin.told() == ["simulated"]
    assert [one.code for one in twin.alarms()] == [AlarmCode.AUDIT_AWAY]
