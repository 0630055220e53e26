"""Who decides: the policy, a person, or nobody. Over memory, with the twin's real judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.twins import (
    ASSET,
    ASSETS,
    Twin,
    applied,
    approved,
    control,
    focus,
    head,
    joint,
    power,
    promotion,
    proposed,
    verified,
)

from twinloop.contracts.changes import Forecast, Hold, Issued, RolledBack, Simulated, signing_bytes
from twinloop.contracts.controls import Governance, KillSwitchSet, ModeShed
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.trust.keys import Trusted
from twinloop.twin.approve import ROLLBACK, Answer, answer, decide, forbidden, in_force, overlap
from twinloop.twin.errors import Conflict

POLICY = ASSETS.assets[ASSET].approval


@pytest.fixture
def twin(tmp_path: Path) -> Twin:
    return Twin(tmp_path)


@pytest.fixture
def auto(twin: Twin) -> Twin:
    twin.read(*promotion(Mode.SUPERVISED, Mode.AUTO))
    twin.observe()
    return twin


@pytest.fixture
def supervised(twin: Twin) -> Twin:
    twin.read(*promotion(Mode.SUPERVISED))
    twin.observe()
    return twin


async def test_in_auto_a_correction_is_released_and_signed(auto: Twin) -> None:
    auto.read(proposed())
    await auto.decide()
    assert auto.told() == ["simulated", "approved"]
    event = auto.last()
    assert event.approver == event.envelope.approver == "policy:auto"
    Trusted([auto.signer.public]).verify(signing_bytes(event.envelope), event.signature, event.key_id)
    assert not auto.alarms()


async def test_each_release_has_the_next_number_also_after_a_restart(auto: Twin) -> None:
    first = proposed("before")
    auto.read(first, Simulated(**head("s", "before"), do_nothing=None, do_this=None), approved(first, 41))
    for n in range(3):
        auto.read(proposed(f"c{n}", Hold(reason="gap")))
        await auto.decide()
        assert auto.last().envelope.sequence == 42 + n


async def test_in_supervised_every_change_waits_and_no_alarm_is_raised(supervised: Twin) -> None:
    supervised.read(proposed("set"), proposed("hold", Hold(reason="gap")))
    supervised.read(proposed("back", power(990.0), rollback_of="set"))
    for _ in range(3):
        await supervised.decide()
    for one in ("set", "hold", "back"):
        assert supervised.told(one) == ["simulated"]
        assert "a person approves" in (supervised.decider.waits_for(one) or "")
    assert not supervised.alarms()


async def test_what_was_proposed_under_supervised_is_not_released_by_policy_in_auto(auto: Twin) -> None:
    auto.read(proposed(mode=Mode.SUPERVISED))
    await auto.decide()
    assert auto.told() == ["simulated"]


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.SUPERVISED])
async def test_what_is_plainly_bad_is_rejected_and_nobody_is_asked(twin: Twin, mode: Mode) -> None:
    steps = [Mode.SUPERVISED, Mode.AUTO][: mode.rank - 1]
    twin.read(*promotion(*steps))
    twin.observe()
    twin.read(proposed("far", power(1360.0), mode), proposed("less", power(920.0), mode))
    await twin.decide()
    assert [twin.told(one) for one in ("far", "less")] == [["simulated", "rejected"]] * 2
    assert not twin.alarms()


async def test_where_the_model_was_not_identified_a_person_is_called_and_called_once(auto: Twin) -> None:
    auto.read(proposed(action=focus(-1.4)))
    for _ in range(5):
        await auto.decide()
    assert auto.told() == ["simulated"]
    (alarm,) = auto.alarms()
    assert alarm.code is AlarmCode.PERSON_NEEDED
    assert "model_validity: a focus of -1.4 mm is outside" in alarm.text
    assert "within 30 s" in alarm.text


async def test_without_a_forecast_a_person_decides_until_the_deadline(twin: Twin) -> None:
    twin.read(*promotion(Mode.SUPERVISED, Mode.AUTO))
    twin.observe(2)
    twin.read(proposed())
    await twin.decide()
    assert "no forecast" in twin.alarms()[0].text
    twin.clock.advance(29.9)
    await twin.decide()
    assert twin.told() == ["simulated"]
    twin.clock.advance(0.1)
    await twin.decide()
    assert twin.told() == ["simulated", "rejected"]
    assert twin.last().reason == "nobody decided in time"


async def test_a_change_that_waits_is_rejected_once_the_mode_is_shed(supervised: Twin) -> None:
    supervised.read(proposed())
    await supervised.decide()
    supervised.read(ModeShed(**control("shed"), mode=Mode.SHADOW, by="line", reason="watchdog"))
    await supervised.decide()
    assert supervised.told() == ["simulated", "rejected"]
    assert "line: watchdog" in supervised.last().reason


async def test_after_a_restart_a_change_that_waits_is_taken_up_and_not_released(twin: Twin) -> None:
    twin.read(*promotion(Mode.SUPERVISED, Mode.AUTO))
    twin.read(proposed(), Simulated(**head("simulated"), do_nothing=None, do_this=None))
    twin.observe()  # now there would be a forecast, but it is none that anybody can read
    await twin.decide()
    assert twin.told() == []
    assert "when it was simulated" in (twin.decider.waits_for("c") or "")


async def test_a_rollback_in_auto_is_released_by_its_own_policy_whatever_the_model_says(auto: Twin) -> None:
    auto.read(proposed("bad", power(920.0)), proposed("back", power(920.0), rollback_of="c0"))
    await auto.decide()
    assert auto.told("bad")[-1] == "rejected"
    event = auto.last()
    assert (event.change_id, event.approver) == ("back", ROLLBACK)
    assert event.envelope.rollback_of == "c0"
    auto.read(proposed("far", power(1400.0), rollback_of="c0"))
    await auto.decide()
    assert auto.told("far")[-1] == "rejected"


async def test_a_lost_partition_is_left_to_its_new_owner(auto: Twin) -> None:
    auto.read(proposed())
    auto.held.discard(auto.ledger)
    await auto.decide()
    assert auto.told() == []


# ---- calibration


def outcomes(twin: Twin, count: int, uohm: float, prefix: str = "o") -> None:
    """Changes that were forecast 45 µΩ [43, 47], applied, and measured `uohm`."""
    forecast = Forecast(expected_uohm=45.0, low_uohm=43.0, high_uohm=47.0)
    for n in range(count):
        one = proposed(f"{prefix}{n}")
        simulated = Simulated(**head("simulated", one.change_id), do_nothing=forecast, do_this=forecast)
        issued = head("issued", one.change_id)
        twin.read(one, simulated, approved(one, n + 1), Issued(**issued, command_sequence=n), applied(one))
        twin.read(verified(one, uohm))


async def test_a_twin_whose_forecasts_do_not_come_true_gives_up_auto_once_and_stops_releasing(
    auto: Twin,
) -> None:
    outcomes(auto, 10, 60.0)
    auto.read(proposed())
    for _ in range(3):
        await auto.decide()
    sheds = [one for one in auto.out.of(CHANGES) if isinstance(one, ModeShed)]
    assert [(one.mode, one.by) for one in sheds] == [(Mode.SUPERVISED, "twin")]
    assert [one.code for one in auto.alarms()] == [AlarmCode.TWIN_DRIFT, AlarmCode.PERSON_NEEDED]
    assert auto.told() == ["simulated"]
    auto.read(sheds[0])
    assert auto.ledger.governance(ASSET).actual is Mode.SUPERVISED


async def test_with_good_outcomes_and_a_new_promotion_it_releases_again(auto: Twin) -> None:
    outcomes(auto, 10, 60.0)
    await auto.decide()
    outcomes(auto, 20, 45.5, prefix="good")
    auto.read(proposed())
    await auto.decide()
    assert auto.told() == ["simulated", "approved"]


async def test_a_calibration_lost_is_lost_after_a_restart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first, second = Twin(tmp_path / "a"), Twin(tmp_path)
    for one in (first, second):
        outcomes(one, 10, 60.0)
    assert first.calibrator.of(first.ledger, ASSET) == second.calibrator.of(second.ledger, ASSET)
    assert second.calibrator.of(second.ledger, ASSET).problem is not None


async def test_an_outcome_is_measured_from_the_parts_that_are_made_and_shown(twin: Twin) -> None:
    forecast = Forecast(expected_uohm=45.0, low_uohm=43.0, high_uohm=47.0)
    one = proposed("m")
    twin.read(one, Simulated(**head("simulated", "m"), do_nothing=forecast, do_this=forecast))
    twin.read(approved(one), Issued(**head("issued", "m"), command_sequence=1), applied(one, 10))
    for n in range(11, 20):
        twin.joints.made(joint(n, uohm=46.0, power_w=1020.0))
    await twin.decide()
    assert twin.calibrator.of(twin.ledger, ASSET).outcomes == 0
    twin.joints.made(joint(20, uohm=46.0, power_w=1020.0))
    await twin.decide()
    for name, value in (("coverage_ratio", 1.0), ("bias_uohm", 1.0)):
        shown = twin.registry.get_sample_value(f"twinloop_twin_forecast_{name}", {"asset": ASSET})
        assert shown == pytest.approx(value)
    twin.read(verified(one, 99.0))  # the controller's figure comes later, and is not another outcome
    assert twin.calibrator.of(twin.ledger, ASSET).bias_uohm == pytest.approx(1.0)


async def test_auto_is_not_asked_for_while_the_record_is_lost(twin: Twin) -> None:
    twin.read(*promotion(Mode.SUPERVISED))
    outcomes(twin, 10, 60.0)
    with pytest.raises(Conflict, match="calibration is lost"):
        await twin.desk.request_mode(ASSET, Mode.AUTO, "person:ella", "again")
    outcomes(twin, 20, 45.5, prefix="good")
    await twin.desk.request_mode(ASSET, Mode.AUTO, "person:ella", "again")


# ---- the rule itself

forecasts = st.tuples(st.floats(30, 200), st.floats(0, 60), st.floats(0, 60)).map(
    lambda f: Forecast(expected_uohm=f[0], low_uohm=f[0] - f[1], high_uohm=f[0] + f[2])
)
values = st.floats(800, 1400)


@given(forecasts, forecasts)
def test_overlap_is_a_share_and_symmetric(one: Forecast, other: Forecast) -> None:
    share = overlap(one, other)
    assert 0 <= share <= 1
    assert share == overlap(other, one)
    assert overlap(one, one) == 1


def test_overlap_of_shifted_intervals_is_the_formula_in_its_docstring() -> None:
    def interval(low: float, high: float) -> Forecast:
        return Forecast(expected_uohm=(low + high) / 2, low_uohm=low, high_uohm=high)

    assert overlap(interval(40, 50), interval(44, 54)) == pytest.approx((10 - 4) / (10 + 4))
    assert overlap(interval(40, 50), interval(60, 70)) == 0
    assert overlap(interval(40, 80), interval(50, 60)) == pytest.approx(0.25)


@given(values, forecasts, forecasts)
def test_what_the_policy_releases_is_never_outside_worse_or_an_untold_risk(
    value: float, do_nothing: Forecast, do_this: Forecast
) -> None:
    decision = decide(power(value), do_nothing, do_this, POLICY)
    if decision.answer is not Answer.RELEASE:
        return
    gain = do_nothing.expected_uohm - do_this.expected_uohm
    assert POLICY.power_w.holds(value)
    assert gain >= -POLICY.allowance_uohm
    if do_this.high_uohm > POLICY.limit_uohm:
        assert gain >= POLICY.gain_uohm
        assert overlap(do_nothing, do_this) <= POLICY.overlap
    if gain > POLICY.claim_uohm:
        assert overlap(do_nothing, do_this) <= POLICY.overlap


@given(st.sampled_from(Mode), st.sampled_from(Mode), st.booleans(), st.booleans(), values, st.booleans())
def test_nothing_is_released_by_policy_but_in_auto_and_nothing_at_all_where_nobody_may_act(
    then: Mode, now: Mode, killed: bool, manual: bool, value: float, rollback: bool
) -> None:
    governance = Governance(requested=now, actual=now, killed=killed, manual=manual)
    one = proposed(action=power(value), mode=then, rollback_of="x" if rollback else None)
    mode = in_force(one, governance)
    assert mode.rank <= min(then.rank, now.rank)
    assert (forbidden(one, governance) is None) == (mode.acts and not killed and not manual)
    if mode is Mode.AUTO:
        return
    good: Any = (
        Forecast(expected_uohm=50, low_uohm=49, high_uohm=51),
        Forecast(expected_uohm=42, low_uohm=41, high_uohm=43),
    )
    assert answer(one, good, POLICY, mode, None).answer is not Answer.RELEASE


async def test_a_set_kill_switch_rejects_what_is_proposed_and_names_the_guard(auto: Twin) -> None:
    auto.read(KillSwitchSet(**control("kill"), by="person:olaf", reason="smoke"), proposed())
    await auto.decide()
    assert auto.last().reason.startswith("kill_switch:")


async def test_a_rolled_back_change_is_a_miss(twin: Twin) -> None:
    twin.read(*promotion(Mode.SUPERVISED, Mode.AUTO))
    forecast = Forecast(expected_uohm=45.0, low_uohm=43.0, high_uohm=47.0)
    one = proposed("r")
    twin.read(one, Simulated(**head("simulated", "r"), do_nothing=forecast, do_this=forecast))
    twin.read(approved(one), Issued(**head("issued", "r"), command_sequence=1), applied(one))
    twin.read(RolledBack(**head("rolled_back", "r"), restored_by="back", reason="worse"))
    found = twin.calibrator.of(twin.ledger, ASSET)
    assert (found.outcomes, found.coverage, found.bias_uohm) == (1, 0.0, None)
