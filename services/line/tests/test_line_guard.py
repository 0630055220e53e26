"""The guards, one by one and as a whole: what passes them keeps every limit of this service's own file."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line import DEVICE, LIMITS, NOW, RECIPE, envelope, focus, gate, hold, power, proposal

from twinloop.contracts.changes import Action, Parameter, SetParameter
from twinloop.contracts.controls import Governance
from twinloop.contracts.modes import Mode
from twinloop.line.case import Case
from twinloop.line.envelope import Objection
from twinloop.line.guard import GUARDS, LAST_WORD, refusal
from twinloop.line.limits import Range
from twinloop.line.plc import HELD, LOCAL
from twinloop.line.standing import Last, Move, Standing, Touched

AUTO = Governance(requested=Mode.AUTO, actual=Mode.AUTO, since="entered")
STANDING = Standing(governance=AUTO, model=("weld", 1))
ROUNDING = 1 + 1e-9


def case(
    action: Action,
    *,
    at: dict[str, Any] | None = None,
    standing: Standing = STANDING,
    of: dict[str, Any] | None = None,
    **other: Any,
) -> Case:
    one = envelope(proposal(action=action, **(of or {})))
    return Case(one, replace(DEVICE, **(at or {})), standing, LIMITS, NOW, **other)


def guard(one: Case) -> str | None:
    refused = refusal(one)
    return None if refused is None else refused.guard


def governed(**what: Any) -> Standing:
    return replace(STANDING, governance=msgspec.structs.replace(AUTO, **what))


def shown(value: float, **other: Any) -> dict[str, Any]:
    return {"power_w": value, **other}


def test_the_guards_stand_in_the_order_of_the_safety_rules() -> None:
    assert [name for name, _ in GUARDS] == [
        "envelope", "mode", "hard_limits", "operator_limits", "model_validity", "step", "hourly_travel",
        "authority", "deadband", "cooldown", "permissive", "compare_and_set", "watchdog", "override",
        "kill_switch", "model_swap", "audit",
    ]  # fmt: skip
    assert set(LAST_WORD) <= {name for name, _ in GUARDS}


@pytest.mark.parametrize(
    ("one", "objects"),
    [
        (case(power(1400.0, 1380.0), at=shown(1380.0)), "operator_limits"),
        (case(power(1400.1, 1380.0), at=shown(1380.0)), "hard_limits"),
        (case(power(799.9, 810.0), at=shown(810.0)), "hard_limits"),
        (case(power(math.nan)), "hard_limits"),
        (case(power(math.inf)), "hard_limits"),
        (case(power(1350.0, 1330.0), at=shown(1330.0)), None),
        (case(power(1350.1, 1330.0), at=shown(1330.0)), "operator_limits"),
        (case(power(850.0, 870.0), at=shown(870.0)), None),
        (case(power(1030.0)), None),
        (case(power(1030.1)), "step"),
        (case(power(1005.0)), None),
        (case(power(1004.9)), "deadband"),
        (case(power(1020.0), at=shown(1000.1)), "compare_and_set"),
        (case(power(1020.0), at=shown(1000.0001)), None),
        (case(power(1020.0, math.nan)), "compare_and_set"),
        (case(power(1020.0), at=shown(math.nan)), "step"),
        (case(focus(0.25)), None),
        (case(focus(-0.26)), "step"),
        (case(focus(0.04)), "deadband"),
        (case(focus(1.6, 1.4), at={"focus_mm": 1.4}), "operator_limits"),
        (case(focus(2.1, 1.9), at={"focus_mm": 1.9}), "hard_limits"),
        (case(gate(45.0)), None),
        (case(gate(44.9)), "operator_limits"),
        (case(gate(41.9)), "hard_limits"),
        (case(gate(54.1)), "deadband"),
        (case(gate(50.0, 54.0)), "compare_and_set"),
        (case(gate(50.0), of={"model": "cells"}), None),  # vehicles have a model of their own
        (case(gate(50.0), standing=replace(STANDING, touched=Touched(NOW, 100, hold=False))), None),
        (case(power(1020.0), at={"mode": HELD}), "permissive"),
        (case(power(1020.0), at={"recipe": "other"}), "permissive"),
        (case(power(1020.0), at={"maintenance_lock": True}), "permissive"),
        (case(power(1020.0), at={"high_alarm": True}), "permissive"),
        (case(power(1020.0), at={"control_source": LOCAL}), "permissive"),
        (case(power(1020.0), link="no beat"), "watchdog"),
        (case(power(1020.0), at={"local_reason": "operator"}), "override"),
        (case(power(1020.0), standing=governed(manual=True)), "override"),
        (case(power(1020.0), standing=governed(killed=True)), "kill_switch"),
        (case(power(1020.0), killed="somebody stopped it"), "kill_switch"),
        (case(power(1020.0), of={"model_version": 2}), "model_swap"),
        (case(power(1020.0), of={"model": "other"}), "model_swap"),
        (case(power(1020.0), standing=replace(STANDING, model=None), of={"model_version": 2}), None),
        (case(power(1020.0), audit="the disk is full"), "audit"),
        (case(power(1020.0), objection=Objection("forged")), "envelope"),
        (case(power(1020.0), stopped="line restarted"), "mode"),
        (case(hold(), at=shown(math.nan, mode=HELD, recipe="other", control_source=LOCAL)), None),
        (case(hold(), link="no beat"), None),
        (case(hold(), standing=governed(actual=Mode.SHADOW)), "mode"),
        (case(hold(), killed="somebody stopped it"), "kill_switch"),
        (case(hold(), audit="the disk is full"), "audit"),
    ],
)
def test_each_guard_holds_to_the_last_digit(one: Case, objects: str | None) -> None:
    assert guard(one) == objects


@pytest.mark.parametrize(
    ("actual", "ceiling", "approver", "allowed"),
    [
        (Mode.OFF, Mode.AUTO, "person:ada", False),
        (Mode.SHADOW, Mode.AUTO, "person:ada", False),
        (Mode.SUPERVISED, Mode.AUTO, "person:ada", True),
        (Mode.SUPERVISED, Mode.AUTO, "policy:auto", False),
        (Mode.AUTO, Mode.AUTO, "policy:auto", True),
        (Mode.AUTO, Mode.AUTO, "person:ada", True),
        (Mode.AUTO, Mode.AUTO, "somebody", False),
        (Mode.AUTO, Mode.AUTO, "", False),
        (Mode.AUTO, Mode.AUTO, "agent:ada", False),
        (Mode.AUTO, Mode.AUTO, "personal:ada", False),
        (Mode.AUTO, Mode.SUPERVISED, "policy:auto", False),
        (Mode.AUTO, Mode.SUPERVISED, "person:ada", True),
        (Mode.AUTO, Mode.SHADOW, "person:ada", False),
    ],
)
def test_who_may_release_depends_on_the_mode_under_the_ceiling(
    actual: Mode, ceiling: Mode, approver: str, allowed: bool
) -> None:
    one = case(power(1020.0), standing=governed(actual=actual))
    one = replace(
        one,
        envelope=envelope(proposal(), approver=approver),
        limits=LIMITS.model_copy(update={"highest_mode": ceiling}),
    )
    assert guard(one) == (None if allowed else "mode")


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.SUPERVISED])
def test_a_policy_releases_nothing_that_was_proposed_for_a_person(mode: Mode) -> None:
    found = refusal(case(power(1020.0), of={"mode": mode}))
    assert found is not None
    assert (found.guard, found.reason) == ("mode", f"the mode is {mode}: a person must release it")


def test_the_models_validity_is_the_innermost_range() -> None:
    narrow = LIMITS.laser_power_w.model_copy(update={"validity": Range(low=900, high=1100)})
    limits = LIMITS.model_copy(update={"laser_power_w": narrow})
    for value, objects in ((1100.0, None), (1100.1, "model_validity"), (1350.1, "operator_limits")):
        one = case(power(value, value - 20), at=shown(value - 20))
        assert guard(replace(one, limits=limits)) == objects


@pytest.mark.parametrize(
    ("value", "authority", "objects"),
    [(1100.0, 100.0, None), (1100.1, 100.0, "authority"), (900.0, 100.0, None), (899.9, 100.0, "authority")],
)
def test_total_authority_is_counted_from_the_baseline(
    value: float, authority: float, objects: str | None
) -> None:
    own = LIMITS.laser_power_w.model_copy(update={"authority": authority})
    start = value - 20 if value > 1000 else value + 20
    one = case(power(value, start), at=shown(start))
    assert guard(replace(one, limits=LIMITS.model_copy(update={"laser_power_w": own}))) == objects


@pytest.mark.parametrize(
    ("name", "limits", "to", "says"),
    [
        ("step", {}, 0.25, None),
        ("step", {}, 0.25 * ROUNDING, None),
        ("step", {}, -0.25 * ROUNDING, None),
        ("step", {}, 0.25 * (1 + 1e-8), "a step of 0.25 exceeds 0.25"),
        ("step", {}, 0.5, "a step of 0.5 exceeds 0.25"),
        ("hourly_travel", {}, 6.0 * ROUNDING, None),
        ("hourly_travel", {}, 6.0 * (1 + 1e-8), "0 in the last hour and 6 now exceed 6"),
        ("hourly_travel", {}, 6.5, "0 in the last hour and 6.5 now exceed 6"),
        ("authority", {}, 1.5 * ROUNDING, None),
        ("authority", {}, 1.5 * (1 + 1e-8), "1.5 from the baseline of 0 exceeds 1.5"),
        ("authority", {"baseline": 0.5}, -1.5, "2 from the baseline of 0.5 exceeds 1.5"),
        ("deadband", {}, 0.05, None),
        ("deadband", {}, 0.04, "a step of 0.04 is within the deadband of 0.05"),
    ],
)
def test_only_the_rounding_of_numbers_is_forgiven(
    name: str, limits: dict[str, Any], to: float, says: str | None
) -> None:
    own = LIMITS.focus_mm.model_copy(update=limits)
    one = replace(case(focus(to)), limits=LIMITS.model_copy(update={"focus_mm": own}))
    assert dict(GUARDS)[name](one) == says


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ({"mode": "Aborted"}, "the station is in Aborted"),  # before Execute in the alphabet, and after
        ({"mode": "Suspended"}, "the station is in Suspended"),
        ({"recipe": ""}, "the station makes '', 'cu-al-tab-7' was released"),
        ({"recipe": "cu-al-tab-6"}, "the station makes 'cu-al-tab-6', 'cu-al-tab-7' was released"),
        ({"recipe": "cu-al-tab-8"}, "the station makes 'cu-al-tab-8', 'cu-al-tab-7' was released"),
        ({"maintenance_lock": True}, "the maintenance lock is on"),
        ({"high_alarm": True}, "a high alarm is active"),
        (
            {"control_source": LOCAL, "local_reason": "watchdog"},
            "the control source is Local (watchdog)",
        ),
        ({"control_source": LOCAL}, "the control source is Local (no reason given)"),
    ],
)
def test_a_station_that_is_not_ours_to_command_is_told_of_in_words(at: dict[str, Any], says: str) -> None:
    found = refusal(case(power(1020.0), at=at))
    assert found is not None
    assert (found.guard, found.reason) == ("permissive", says)


@pytest.mark.parametrize("recipe", ["cu-al-tab-6", "cu-al-tab-8"])
def test_a_change_for_another_recipe_than_the_one_made_is_refused(recipe: str) -> None:
    found = refusal(case(power(1020.0), of={"recipe": recipe}))
    assert found is not None
    assert found.guard == "permissive"
    assert found.reason == f"the station makes 'cu-al-tab-7', the change is for {recipe!r}"


@pytest.mark.parametrize(
    ("model", "version", "says"),
    [
        ("weld", 0, "weld 0 speaks, the mode was entered with weld 1"),
        ("weld", 2, "weld 2 speaks, the mode was entered with weld 1"),
        ("cells", 1, "cells 1 speaks, the mode was entered with weld 1"),
    ],
)
def test_who_speaks_and_whose_mode_it_is_are_told(model: str, version: int, says: str) -> None:
    found = refusal(case(power(1020.0), of={"model": model, "model_version": version}))
    assert found is not None
    assert (found.guard, found.reason) == ("model_swap", says)


@pytest.mark.parametrize(
    ("age_s", "by", "objects"),
    [
        (3599, 780.0, None),
        (3599, 780.1, "hourly_travel"),
        (3600, 5000.0, None),
        (-60, 790.0, "hourly_travel"),  # a clock was put back: what is in the future counts
    ],
)
def test_the_travel_of_an_hour_is_limited_whatever_its_direction(
    age_s: float, by: float, objects: str | None
) -> None:
    at = NOW - timedelta(seconds=age_s)
    moves = (Move(at, Parameter.LASER_POWER_W, by / 2), Move(at, Parameter.LASER_POWER_W, by / 2))
    assert guard(case(power(1020.0), standing=replace(STANDING, moves=moves))) == objects
    assert guard(case(focus(0.25), standing=replace(STANDING, moves=moves))) is None


@pytest.mark.parametrize(
    ("action", "last_was_hold", "parts", "seconds", "objects"),
    [
        (power(1020.0), False, 10, 0.3, None),
        (power(1020.0), False, 9, 3600.0, "cooldown"),
        (power(1020.0), False, 1000, 0.29, "cooldown"),
        (focus(0.25), False, 9, 3600.0, "cooldown"),
        (power(1020.0), True, 9, 3600.0, "cooldown"),
        (hold(), False, 0, 0.0, None),
        (hold(), True, 9, 3600.0, "cooldown"),
        (hold(), True, 10, 0.3, None),
    ],
)
def test_the_cooldown_is_counted_in_parts_and_in_seconds(
    action: Action, last_was_hold: bool, parts: int, seconds: float, objects: str | None
) -> None:
    touched = Touched(NOW - timedelta(seconds=seconds), 100, last_was_hold)
    one = case(action, at={"part_counter": 100 + parts}, standing=replace(STANDING, touched=touched))
    assert guard(one) == objects


def rollback(value: float = 1000.0, expected: float = 1020.0, *, of: str = "c0", **governance: Any) -> Case:
    """A rollback right after `c0` had moved the power from 1000 W to 1020 W."""
    standing = replace(
        governed(**governance),
        touched=Touched(NOW, 100, hold=False),
        applied={Parameter.LASER_POWER_W: Last("c0", 1000.0, 1020.0)},
    )
    return case(power(value, expected), at=shown(expected), standing=standing, of={"rollback_of": of})


@pytest.mark.parametrize(
    ("one", "objects"),
    [
        (rollback(), None),
        (rollback(of="c7"), "cooldown"),  # it says so, and the log does not: a change like any other
        (rollback(1016.0), None),  # exempt from the deadband
        (rollback(980.0), "step"),
        (rollback(requested=Mode.AUTO, actual=Mode.SHADOW), None),
        (rollback(requested=Mode.SHADOW, actual=Mode.SHADOW), "mode"),
        (rollback(manual=True), "override"),
        (rollback(killed=True), "kill_switch"),
    ],
)
def test_a_rollback_waits_for_nothing_and_passes_the_same_gates(one: Case, objects: str | None) -> None:
    assert guard(one) == objects


def test_a_rollback_may_take_back_exactly_what_was_applied_beyond_a_step() -> None:
    far = {Parameter.LASER_POWER_W: Last("c0", 1000.0, 1030.4)}  # the device rounded
    one = rollback(1000.0, 1030.4)
    assert guard(replace(one, standing=replace(one.standing, applied=far))) is None
    for value in (1000.2, 999.9):
        other = rollback(value, 1030.4)
        assert guard(replace(other, standing=replace(one.standing, applied=far))) == "step"


def test_the_last_word_asks_only_what_may_have_come_meanwhile() -> None:
    one = case(power(1400.1), killed="stopped")
    found = refusal(one, only=LAST_WORD)
    assert found is not None
    assert (found.guard, found.reason) == ("kill_switch", "stopped")
    assert refusal(case(power(1400.1)), only=LAST_WORD) is None


numbers = st.one_of(st.floats(), st.floats(700, 1500), st.floats(-3, 3))


@given(
    st.sampled_from(Parameter),
    numbers,
    st.one_of(numbers, st.floats(-40, 40)),
    st.one_of(st.none(), numbers),
    st.fixed_dictionaries(
        {
            "mode": st.sampled_from([DEVICE.mode, DEVICE.mode, HELD, ""]),
            "recipe": st.sampled_from([RECIPE, RECIPE, "other"]),
            "part_counter": st.integers(105, 130),
        }
    ),
    st.floats(0, 2),
    st.floats(0, 900),
)
def test_what_passes_is_within_every_limit_and_what_is_within_passes(
    parameter: Parameter,
    actual: float,
    moved: float,
    expected: float | None,
    at: dict[str, Any],
    seconds: float,
    travelled: float,
) -> None:
    value, expected = actual + moved, actual if expected is None else expected
    touched = Touched(NOW - timedelta(seconds=seconds), 100, hold=False)
    one = case(
        SetParameter(parameter=parameter, value=value, expected=expected),
        at={"power_w": actual, "focus_mm": actual, "limit_uohm": actual, **at},
        standing=replace(STANDING, touched=touched, moves=(Move(NOW, parameter, travelled),)),
    )
    limits = LIMITS.of(parameter)
    tiny = 1 + 1e-9
    allowed = (
        limits.operator.low <= value <= limits.operator.high
        and math.isclose(expected, actual, rel_tol=1e-6, abs_tol=1e-6)
        and limits.deadband <= abs(value - actual) <= limits.step * tiny
        and travelled + abs(value - actual) <= limits.hourly_travel * tiny
        and abs(value - limits.baseline) <= limits.authority * tiny
        and at["mode"] == DEVICE.mode
        and at["recipe"] == RECIPE
        and (
            parameter is Parameter.END_OF_LINE_LIMIT_UOHM  # it changes no part, and waits for none
            or (at["part_counter"] >= 110 and NOW - touched.at >= timedelta(seconds=0.3))
        )
    )
    assert (refusal(one) is None) == allowed
