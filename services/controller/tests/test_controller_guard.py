"""The guards one by one: what each refuses, exactly from where on, and how it says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace as changed
from support.weldloop import ASSET, POLICY, START

from twinloop.contracts.changes import Action, Diagnosis, Hold, Parameter, SetParameter, State
from twinloop.contracts.controls import Governance
from twinloop.contracts.modes import Mode
from twinloop.controller import guard
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import Bad, Finding, Given, InFlight, Part, Settled, Station, Travel

POWER, FOCUS, GATE = Parameter.LASER_POWER_W, Parameter.FOCUS_MM, Parameter.END_OF_LINE_LIMIT_UOHM
NEWEST = 100
STATION = Station(
    asset=ASSET,
    parts=(Part(NEWEST, START, 42.0, 1000.0, 0.0),),
    recipe="cu-al-tab-7",
    voice=("weld", 2),
)
HOLD = Hold(reason="gap")
ROUNDING = 1 + 1e-9


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=POWER, value=value, expected=expected)


def focus(value: float, expected: float = 0.0) -> SetParameter:
    return SetParameter(parameter=FOCUS, value=value, expected=expected)


def case(
    action: Action | None = None,
    *,
    policy: AssetPolicy = POLICY,
    at: dict[str, Any] | None = None,
    **what: Any,
) -> guard.Case:
    """Everything speaks for `action`, apart from `what`, at a station that is otherwise as `at` says."""
    plain = guard.Case(
        action=power(1030.0) if action is None else action,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        station=changed(STATION, **(at or {})),
        mode=Mode.AUTO,
        seen_at=START,
        sequence=NEWEST,
        model="weld",
        model_version=2,
        given=Given(policy, START),
    )
    return replace(plain, **what)


def objection(name: str, one: guard.Case) -> str | None:
    """What the guard of this name has against the case."""
    return dict(guard.GUARDS)[name](one)


def change(action: Action, state: State = State.APPLIED, **what: Any) -> InFlight:
    return InFlight(
        change_id="c0",
        state=state,
        action=action,
        observed_at=START,
        trace_id="t",
        expires_at=START,
        before_uohm=42.0,
        before_parts=4,
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="cu-al-tab-7",
        model="weld",
        model_version=2,
        input_digest="d",
        **what,
    )


def limited(**limits: Any) -> AssetPolicy:
    """The shipped policy with other limits on the power."""
    return POLICY.model_copy(update={"laser_power_w": POLICY.laser_power_w.model_copy(update=limits)})


def test_the_guards_stand_in_the_order_of_the_safety_rules() -> None:
    assert [name for name, _ in guard.GUARDS] == [
        "mode", "input_validity", "fault_gate", "hard_limits", "operator_limits", "model_validity", "step",
        "hourly_travel", "authority", "deadband", "cooldown", "permissive", "failures", "in_flight",
        "override", "kill_switch", "model_swap", "audit",
    ]  # fmt: skip
    assert guard.refusal(case()) is None


@pytest.mark.parametrize(
    ("mode", "alone", "beside_the_kill_switch"),
    [
        (Mode.OFF, "mode", "mode"),
        (Mode.SHADOW, "mode", "kill_switch"),  # what would be proposed is known only when all else is content
        (Mode.SUPERVISED, None, "kill_switch"),
        (Mode.AUTO, None, "kill_switch"),
    ],
)
def test_in_shadow_the_mode_objects_last(
    mode: Mode, alone: str | None, beside_the_kill_switch: str | None
) -> None:
    for killed, objects in ((False, alone), (True, beside_the_kill_switch)):
        refused = guard.refusal(case(mode=mode, at={"governance": Governance(killed=killed)}))
        assert (None if refused is None else refused.guard) == objects


def test_neither_limits_nor_recipe_nor_failures_say_anything_about_a_hold() -> None:
    late = {
        "recipe": "other",
        "failures": POLICY.scrap.failures,
        "findings": (found(NEWEST, Diagnosis.GAP),),
        "travels": (Travel(START, POWER, 5000.0),),
        "field_change": change(focus(0.1), State.ISSUED),
        "bad": (Bad(NEWEST, "out of range"),),
    }
    assert guard.refusal(case(HOLD, at=late, diagnosis=Diagnosis.GAP)) is None
    assert guard.refusal(case(at=late)) is not None


# ---- evidence


@pytest.mark.parametrize(
    ("at", "seen_s_ago", "says"),
    [
        ({"bad": (Bad(NEWEST - 1, "frozen"),)}, 0.0, None),
        ({"bad": (Bad(NEWEST - 2, "frozen"),)}, 0.0, "part 98: frozen"),
        ({"bad": (Bad(NEWEST, "missing"),)}, 0.0, "part 100: missing"),
        ({"parts": ()}, 0.0, "no part is known"),
        ({}, 3.1, "the evidence is no good: it is 3.1 s old"),
    ],
)
def test_neither_the_newest_part_nor_the_one_that_speaks_may_be_bad(
    at: dict[str, Any], seen_s_ago: float, says: str | None
) -> None:
    one = case(at=at, sequence=NEWEST - 2, seen_at=START - timedelta(seconds=seen_s_ago))
    assert objection("input_validity", one) == says


def found(part: int, diagnosis: Diagnosis) -> Finding:
    return Finding(part, START, f"anomaly-{part}", diagnosis, 0.4, 0.8)


def findings(diagnosis: Diagnosis, parts: Iterable[int]) -> tuple[Finding, ...]:
    return tuple(found(part, diagnosis) for part in parts)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (findings(Diagnosis.GAP, [90, 95]), None),  # of the last five: 96 to 100
        (findings(Diagnosis.GAP, [96]), "part 96 showed a gap"),
        (findings(Diagnosis.GAP, [96, 97, 98]), "part 98 showed a gap"),
        (findings(Diagnosis.SENSOR_FAULT, range(80, 96)), None),  # of the last ten, 91 to 100, only five
        (
            findings(Diagnosis.SENSOR_FAULT, range(91, 97)),
            "the sensors contradict each other on 6 of the last 10 parts",
        ),
        (
            findings(Diagnosis.SENSOR_FAULT, range(80, 101)),
            "the sensors contradict each other on 10 of the last 10 parts",
        ),
        *[
            (findings(one, range(80, 101)), None)
            for one in Diagnosis
            if one not in (Diagnosis.GAP, Diagnosis.SENSOR_FAULT)
        ],
    ],
)
def test_gaps_and_many_contradictions_among_the_last_parts_forbid_a_setpoint(
    told: tuple[Finding, ...], says: str | None
) -> None:
    assert objection("fault_gate", case(at={"findings": told})) == says


@pytest.mark.parametrize("diagnosis", Diagnosis)
def test_a_setpoint_is_changed_for_what_it_mends_alone(diagnosis: Diagnosis) -> None:
    mended = {
        parameter
        for parameter in Parameter
        if objection(
            "fault_gate",
            case(SetParameter(parameter=parameter, value=1.0, expected=0.0), diagnosis=diagnosis),
        )
        is None
    }
    assert mended == {
        Diagnosis.DIRTY_WINDOW: {POWER},
        Diagnosis.POWER_ERROR: {POWER},
        Diagnosis.DEFOCUS: {FOCUS},
        Diagnosis.MARGINAL_JOINTS: {GATE},
    }.get(diagnosis, set())


# ---- how far


@pytest.mark.parametrize(
    ("name", "limits", "action", "says"),
    [
        ("hard_limits", {}, power(1400.0), None),
        ("hard_limits", {}, power(1400.5), "1400.5 is outside 800 to 1400"),
        ("hard_limits", {}, power(799.5), "799.5 is outside 800 to 1400"),
        ("hard_limits", {}, power(1000.0, float("inf")), "the setpoint in force is no number"),
        ("operator_limits", {}, power(850.0), None),
        ("operator_limits", {}, power(849.5), "849.5 is outside 850 to 1350"),
        ("model_validity", {}, power(1350.0), None),
        ("model_validity", {}, power(1350.5), "1350.5 is outside 850 to 1350"),
        ("step", {}, power(1030.0), None),
        ("step", {}, power(970.0), None),
        ("step", {}, power(30.0 * ROUNDING, 0.0), None),
        ("step", {}, power(1030.5), "a step of 30.5 exceeds 30"),
        ("hourly_travel", {"hourly_travel": 60.0}, power(1030.0), None),
        ("hourly_travel", {"hourly_travel": 60.0}, power(30.0 * ROUNDING, 0.0), None),
        (
            "hourly_travel",
            {"hourly_travel": 60.0},
            power(1030.25),
            "0 of 60 were moved within the last hour",
        ),
        ("authority", {}, power(1350.0), None),
        ("authority", {"baseline": 0.0}, power(350.0 * ROUNDING), None),
        ("authority", {}, power(1350.5), "1350.5 is 350.5 off the baseline, and the authority 350"),
        ("authority", {}, power(649.5), "649.5 is 350.5 off the baseline, and the authority 350"),
        ("deadband", {}, power(1005.0), None),
        ("deadband", {}, power(995.0), None),
        ("deadband", {}, power(1004.5), "a step of 4.5 is within the deadband of 5"),
    ],
)
def test_a_limit_itself_is_allowed_and_more_is_not(
    name: str, limits: dict[str, float], action: SetParameter, says: str | None
) -> None:
    assert objection(name, case(action, policy=limited(**limits))) == says


@pytest.mark.parametrize(
    ("parameter", "age_s", "distance", "says"),
    [
        (FOCUS, 0, 5.5, None),
        (FOCUS, 3599, 5.5, None),
        (FOCUS, 3599, 5.75, "5.75 of 6 were moved within the last hour"),
        (FOCUS, -60, 5.75, "5.75 of 6 were moved within the last hour"),  # a clock was put back
        (FOCUS, 3600, 5.75, None),
        (POWER, 0, 500.0, None),
        (GATE, 0, 500.0, None),
    ],
)
def test_the_travel_of_the_last_hour_is_that_of_the_same_setpoint(
    parameter: Parameter, age_s: int, distance: float, says: str | None
) -> None:
    at = START - timedelta(seconds=age_s)
    travels = (Travel(at, parameter, distance / 2), Travel(at, parameter, distance / 2))
    one = case(focus(0.25), at={"travels": travels}, diagnosis=Diagnosis.DEFOCUS)
    assert objection("hourly_travel", one) == says


# ---- taking back


@pytest.mark.parametrize(
    ("value", "expected", "applied", "says"),
    [
        (1000.0, 1030.5, change(power(1030.0), actual=1030.5), None),  # the device rounded
        (1000.0, 1011.0, change(power(1030.0), actual=1011.0), None),
        (1000.0, 1030.0, change(power(1030.0), actual=1011.0), "a step of 30 exceeds 11"),
        (999.5, 1030.0, change(power(1030.0), actual=1030.0), "a step of 30.5 exceeds 30"),
        (1000.0, 1030.0, change(power(1030.0)), "a step of 30 exceeds 0"),  # never read back
        (1000.0, 1030.0, change(HOLD, actual="Held"), "a step of 30 exceeds 0"),
        (1000.0, 1000.0, change(HOLD, actual="Held"), None),
    ],
)
def test_a_rollback_takes_back_no_more_than_was_applied(
    value: float, expected: float, applied: InFlight, says: str | None
) -> None:
    assert objection("step", case(power(value, expected), takes_back=applied)) == says


def test_a_rollback_waits_for_nothing_and_needs_room_for_itself_alone() -> None:
    applied = change(power(1004.0), actual=1004.0)
    late = {"settled": Settled(at=START, part_counter=NEWEST, hold=False)}
    for travelled, objects in ((796.0, None), (796.5, "hourly_travel")):
        at = {**late, "travels": (Travel(START, POWER, travelled),)}
        refused = guard.refusal(case(power(1000.0, 1004.0), at=at, takes_back=applied))
        assert (None if refused is None else refused.guard) == objects


# ---- when


@pytest.mark.parametrize(
    ("action", "last_was_hold", "parts", "seconds", "says"),
    [
        (power(1030.0), False, 10, 0.3, None),
        (power(1030.0), True, 10, 0.3, None),
        (power(1030.0), False, 9, 60.0, "9 parts and 60.0 s since the last change"),
        (power(1030.0), False, 90, 0.2, "90 parts and 0.2 s since the last change"),
        (power(1030.0), True, 9, 60.0, "9 parts and 60.0 s since the last change"),
        (HOLD, False, 0, 0.0, None),
        (HOLD, True, 10, 0.3, None),
        (HOLD, True, 9, 60.0, "9 parts and 60.0 s since the last change"),
    ],
)
def test_the_cooldown_is_counted_in_parts_and_in_seconds(
    action: Action, last_was_hold: bool, parts: int, seconds: float, says: str | None
) -> None:
    since = START - timedelta(seconds=seconds)
    settled = Settled(at=since, part_counter=NEWEST - parts, hold=last_was_hold)
    assert objection("cooldown", case(action, at={"settled": settled})) == says


def test_where_no_part_is_known_none_was_made_since_the_last_hold() -> None:
    settled = Settled(at=START - timedelta(minutes=1), part_counter=0, hold=True)
    one = case(HOLD, at={"settled": settled, "parts": ()})
    assert objection("cooldown", one) == "0 parts and 60.0 s since the last change"


@pytest.mark.parametrize("recipe", ["", "cu-al-tab-6", "cu-al-tab-8"])
def test_any_other_recipe_than_the_released_one_is_refused(recipe: str) -> None:
    says = f"the station makes {recipe!r}, 'cu-al-tab-7' was released"
    assert objection("permissive", case(at={"recipe": recipe})) == says
    unreleased = case(at={"recipe": recipe}, policy=POLICY.model_copy(update={"recipe": None}))
    assert objection("permissive", unreleased) == "no recipe was released for the asset"


@pytest.mark.parametrize(
    ("failures", "says"),
    [(0, None), (2, None), (3, "3 changes in a row failed"), (4, "4 changes in a row failed")],
)
def test_a_device_that_failed_often_is_left_alone(failures: int, says: str | None) -> None:
    assert objection("failures", case(at={"failures": failures})) == says


@pytest.mark.parametrize("state", [State.PROPOSED, State.SIMULATED, State.APPROVED, State.ISSUED])
@pytest.mark.parametrize(
    ("action", "diagnosis", "waits"),
    [
        (power(1030.0), Diagnosis.DIRTY_WINDOW, False),
        (power(1030.0), Diagnosis.POWER_ERROR, False),
        (focus(0.25), Diagnosis.DEFOCUS, False),
        (SetParameter(parameter=GATE, value=50.0, expected=55.0), Diagnosis.MARGINAL_JOINTS, True),
    ],
)
def test_what_waits_for_a_person_is_in_the_way_of_its_like_alone_until_it_is_released(
    action: SetParameter, diagnosis: Diagnosis, waits: bool, state: State
) -> None:
    asked = change(SetParameter(parameter=GATE, value=50.0, expected=55.0), state)
    says = f"change c0 is {state}" if waits or state in (State.APPROVED, State.ISSUED) else None
    assert objection("in_flight", case(action, diagnosis=diagnosis, at={"field_change": asked})) == says
    assert objection("in_flight", case(HOLD, diagnosis=Diagnosis.GAP, at={"field_change": asked})) is None
    for any_action in (action, HOLD):
        one = case(any_action, diagnosis=diagnosis, at={"in_flight": asked})
        assert objection("in_flight", one) == f"change c0 is {state}"


# ---- who


@pytest.mark.parametrize(
    ("model", "version", "diagnosis", "says"),
    [
        ("weld", 2, Diagnosis.DIRTY_WINDOW, None),
        ("weld", 1, Diagnosis.DIRTY_WINDOW, "weld 1 spoke, and the mode belongs to weld 2"),
        ("weld", 3, Diagnosis.DIRTY_WINDOW, "weld 3 spoke, and the mode belongs to weld 2"),
        ("cells", 2, Diagnosis.POWER_ERROR, "cells 2 spoke, and the mode belongs to weld 2"),
        ("x-ray", 2, Diagnosis.GAP, "x-ray 2 spoke, and the mode belongs to weld 2"),
        ("cells", 7, Diagnosis.MARGINAL_JOINTS, None),
    ],
)
def test_no_other_model_and_no_other_version_inherits_the_mode(
    model: str, version: int, diagnosis: Diagnosis, says: str | None
) -> None:
    one = case(model=model, model_version=version, diagnosis=diagnosis)
    assert objection("model_swap", one) == says
    assert objection("model_swap", replace(one, station=changed(STATION, voice=None))) is None
    assert objection("model_swap", replace(one, takes_back=change(power(1004.0), actual=1004.0))) is None


def test_what_else_is_in_force_is_said_in_so_many_words() -> None:
    by_hand, killed = (Governance(manual=True), Governance(killed=True))
    assert objection("mode", case(mode=Mode.SHADOW)) == "the mode is shadow"
    assert objection("override", case(at={"governance": by_hand})) == "an operator has the asset in hand"
    assert objection("kill_switch", case(at={"governance": killed})) == "the kill switch is set"
    assert objection("audit", case(given=Given(POLICY, START, "it is full"))) == (
        "nothing can be audited: it is full"
    )
