"""The ledger: however often and in whatever pieces the log is read, it says the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line import ASSET, NOW, approved, envelope, head, hold, power, promotion, proposal, simulated

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Expired,
    Failed,
    Issued,
    Parameter,
    Proposed,
    Rejected,
    Simulated,
    State,
    Verified,
)
from twinloop.contracts.codec import decode
from twinloop.contracts.controls import (
    KillSwitchCleared,
    KillSwitchSet,
    ModeEntered,
    ModeRequested,
    ModeShed,
    Overridden,
    OverrideCleared,
)
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.line.ledger import Ledger
from twinloop.line.standing import Last, Touched

POWER = Parameter.LASER_POWER_W
SEQUENCE = {"c1": 1, "c2": 2, "hold": 3}


def event(kind: type[Any], change_id: str = "c1", after_s: float = 0.0) -> Any:
    at = NOW + timedelta(seconds=after_s)
    one = proposal(change_id, hold() if change_id == "hold" else power(1020.0))
    if kind is Proposed:
        return one
    if kind is Simulated:
        return simulated(change_id, at)
    if kind is Approved:
        return approved(envelope(one, SEQUENCE.get(change_id, 9)))
    own: dict[type[Any], dict[str, Any]] = {
        Rejected: {"approver": "p", "reason": ""},
        Issued: {"command_sequence": 1, "part_counter": 100},
        Applied: {"actual": 1020.0, "part_counter": 101},
        Failed: {"guard": "plc", "reason": ""},
        Expired: {"reason": ""},
        Verified: {"parts": 10, "before_uohm": 42.0, "after_uohm": 42.0},
    }
    name = f"{change_id}-{kind.__struct_config__.tag}"
    return kind(**head(name, at), change_id=change_id, **own[kind])


def folded(*events: Any) -> Ledger:
    ledger = Ledger()
    for one in events:
        ledger.fold(one)
    return ledger


def facts(ledger: Ledger) -> Any:
    due = [(one.proposed.change_id, one.state, one.told_by, one.issued, one.stopped) for one in ledger.due()]
    return due, ledger.standing(ASSET), ledger.unknown(ASSET), ledger.takes_back(ASSET)


RELEASED = (event(Proposed), event(Simulated), event(Approved))


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ((), []),
        (RELEASED[:2], []),
        (RELEASED, [State.APPROVED]),
        ((*RELEASED[:2], event(Rejected), event(Approved)), []),
        ((event(Approved),), []),
        ((RELEASED[0], event(Approved)), []),
        ((*RELEASED, event(Issued)), [State.ISSUED]),
        ((*RELEASED, event(Issued), *RELEASED), [State.ISSUED]),
        ((*RELEASED, event(Issued), event(Applied)), []),
        ((*RELEASED, event(Issued), event(Applied), *RELEASED), []),
        ((*RELEASED, event(Issued), event(Failed), *RELEASED), []),
        ((*RELEASED, event(Expired), event(Issued), *RELEASED), []),
    ],
)
def test_due_is_what_was_released_and_has_not_ended(events: tuple[AnyChange, ...], due: list[State]) -> None:
    assert [one.state for one in folded(*events).due()] == due


def test_what_was_issued_comes_before_what_was_released() -> None:
    second = [event(kind, "c2") for kind in (Proposed, Simulated, Approved, Issued)]
    assert [one.proposed.change_id for one in folded(*RELEASED, *second).due()] == ["c2", "c1"]


def test_what_was_released_first_comes_first_whatever_was_proposed_first() -> None:
    second = [event(kind, "c2") for kind in (Proposed, Simulated, Approved)]
    ledger = folded(*RELEASED[:2], *second, RELEASED[2])
    assert [(one.proposed.change_id, one.out_of_order) for one in ledger.due()] == [
        ("c2", False),
        ("c1", True),
    ]


def test_an_unknown_outcome_is_of_its_asset_and_ends_with_the_change() -> None:
    ledger = folded(*RELEASED, event(Issued))
    assert (ledger.unknown(ASSET), ledger.unknown("b")) == (True, False)
    ledger.fold(event(Applied))
    assert not ledger.unknown(ASSET)


@pytest.mark.parametrize(
    ("events", "touched"),
    [
        ((event(Failed),), None),  # refused by a guard of ours: the device was not touched
        ((event(Issued, after_s=1),), Touched(NOW + timedelta(seconds=1), 100, hold=False)),
        (
            (event(Issued, after_s=1), event(Failed, after_s=2)),
            Touched(NOW + timedelta(seconds=1), 100, hold=False),
        ),
        (
            (event(Issued, after_s=1), event(Applied, after_s=2)),
            Touched(NOW + timedelta(seconds=1), 101, hold=False),
        ),
    ],
)
def test_the_device_was_touched_by_every_command_applied_or_not(
    events: tuple[AnyChange, ...], touched: Touched | None
) -> None:
    ledger = folded(*RELEASED, *events)
    assert ledger.standing(ASSET).touched == touched
    assert ledger.standing("b").touched is None


def test_a_hold_is_remembered_as_one_and_travels_nowhere() -> None:
    standing = folded(*(event(kind, "hold") for kind in (Proposed, Simulated, Approved, Issued))).standing(
        ASSET
    )
    assert standing.touched is not None
    assert standing.touched.hold
    assert standing.moves == ()


def test_what_was_issued_has_travelled_for_an_hour_whether_or_not_it_was_applied() -> None:
    standing = folded(*RELEASED, event(Issued, after_s=10), event(Failed, after_s=11)).standing(ASSET)
    for after_s, travelled in ((10, 20.0), (3609, 20.0), (3610, 0.0), (-3600, 20.0)):
        assert standing.travelled(POWER, NOW + timedelta(seconds=after_s)) == travelled
    assert standing.travelled(Parameter.FOCUS_MM, NOW) == 0.0


def test_the_last_applied_value_is_known_with_what_was_before() -> None:
    standing = folded(*RELEASED, event(Issued), event(Applied)).standing(ASSET)
    assert standing.applied == {POWER: Last("c1", 1000.0, 1020.0)}


@pytest.mark.parametrize(
    ("end", "sequence"),
    [
        ([], 0),
        ([Issued], 1),
        ([Issued, Failed], 1),
        ([Expired], 1),
        ([Failed], 1),
    ],
)
def test_a_release_counts_once_it_was_answered(end: list[type[Any]], sequence: int) -> None:
    assert folded(*RELEASED, *map(event, end)).standing(ASSET).sequence == sequence


def test_what_was_no_release_uses_up_no_number() -> None:
    forged = msgspec.structs.replace(event(Failed), guard="envelope")
    assert folded(*RELEASED, forged).standing(ASSET).sequence == 0


def test_the_model_is_that_of_the_entry_or_the_first_that_acts_after_it() -> None:
    assert folded(*promotion(Mode.SUPERVISED)).standing(ASSET).model == ("weld", 1)
    ledger = folded(*promotion(Mode.SUPERVISED, model=""), *RELEASED)
    assert ledger.standing(ASSET).model is None
    ledger.fold(event(Issued))
    assert ledger.standing(ASSET).model == ("weld", 1)


# ---- who may act


def test_the_log_of_controls_is_folded_and_what_does_not_follow_is_counted() -> None:
    ledger = folded(*promotion(Mode.AUTO))
    assert ledger.governance(ASSET).actual is Mode.AUTO
    entered = promotion(Mode.AUTO, name="q")[1]
    assert not ledger.fold(entered)
    assert (ledger.illegal, ledger.governance(ASSET).actual) == (1, Mode.AUTO)
    assert not ledger.fold(entered)
    assert ledger.illegal == 1  # the same one again is a repeat


def shed(name: str = "shed") -> ModeShed:
    return ModeShed(**head(name), mode=Mode.SHADOW, by="line", reason="watchdog")


def test_what_we_said_is_in_force_at_once_and_until_the_log_has_it() -> None:
    """Also against a promotion that overtook it on its way into the log."""
    ledger = folded(*promotion(Mode.SUPERVISED))
    ledger.say(shed())
    assert ledger.governance(ASSET).actual is Mode.SHADOW
    for one in promotion(Mode.AUTO, name="q")[2:]:
        ledger.fold(one)
    assert ledger.governance(ASSET).actual is Mode.SHADOW
    ledger.fold(shed())
    assert ledger.governance(ASSET).actual is Mode.SHADOW
    for one in promotion(Mode.SUPERVISED, name="later"):
        ledger.fold(one)
    assert ledger.governance(ASSET).actual is Mode.SUPERVISED


def test_what_was_said_before_the_log_had_it_twice_changes_nothing() -> None:
    ledger = folded(*promotion(Mode.SUPERVISED), shed())
    before = ledger.governance(ASSET)
    ledger.say(shed())
    assert ledger.governance(ASSET) == before


@pytest.mark.parametrize(
    "stop",
    [
        shed(),
        KillSwitchSet(**head("k"), by="person:ada", reason="smoke"),
        Overridden(**head("o"), parameter=POWER, value=1.0, expected=2.0, reason="key"),
        ModeRequested(**head("r"), mode=Mode.OFF, by="person:ada", reason="stop"),
    ],
)
@pytest.mark.parametrize("ahead", [False, True])
def test_a_stop_stops_what_is_open_for_good_and_not_what_was_issued(stop: Any, ahead: bool) -> None:
    issued = [event(kind, "c2") for kind in (Proposed, Simulated, Approved, Issued)]
    ledger = folded(*promotion(), *RELEASED, *issued)
    if ahead:
        ledger.say(stop)
    else:
        ledger.fold(stop)
    for one in (
        KillSwitchCleared(**head("k2"), by="person:ada", reason="safe"),
        OverrideCleared(**head("o2"), by="person:ada", reason="safe"),
        *promotion(name="again"),
    ):
        ledger.fold(one)
    stopped = {one.proposed.change_id: one.stopped is not None for one in ledger.due()}
    assert stopped == {"c2": False, "c1": True}
    ledger.fold(event(Proposed, "hold"))
    new = ledger.change("hold")
    assert new is not None
    assert new.stopped is None


def test_a_rollback_is_under_way_while_it_is_open_and_of_what_was_applied() -> None:
    ledger = folded(*RELEASED, event(Issued), event(Applied))
    ledger.fold(proposal("c9", power(980.0), rollback_of="c7"))
    assert not ledger.takes_back(ASSET)
    ledger.fold(proposal("c8", power(1000.0, 1020.0), rollback_of="c1"))
    assert ledger.takes_back(ASSET)
    ledger.fold(Rejected(**head("r"), change_id="c8", approver="p", reason=""))
    assert not ledger.takes_back(ASSET)


# ---- whatever is read


KINDS: list[type[Any]] = [Proposed, Simulated, Approved, Rejected, Issued, Applied, Failed, Expired, Verified]
LIVES = st.sampled_from(
    [
        (Proposed, Simulated, Rejected),
        (Proposed, Simulated, Approved),
        (Proposed, Simulated, Approved, Expired),
        (Proposed, Simulated, Approved, Issued),
        (Proposed, Simulated, Approved, Issued, Failed),
        (Proposed, Simulated, Approved, Issued, Applied, Verified),
    ]
)


@st.composite
def controls(draw: st.DrawFn, number: int) -> Any:
    kind = draw(
        st.sampled_from([ModeRequested, ModeEntered, ModeShed, KillSwitchSet, KillSwitchCleared, Overridden])
    )
    named = head(f"control-{number}")
    if kind is ModeRequested:
        return kind(**named, mode=draw(st.sampled_from(Mode)), by="person:ada", reason="")
    if kind is ModeEntered:
        request = f"control-{draw(st.integers(0, number))}"
        mode = draw(st.sampled_from([Mode.SUPERVISED, Mode.AUTO]))
        return kind(**named, mode=mode, request=request, power_w=1.0, focus_mm=0.0)
    if kind is ModeShed:
        return kind(**named, mode=Mode.SHADOW, by="line", reason="")
    if kind is Overridden:
        return kind(**named, parameter=POWER, value=1.0, expected=2.0, reason="")
    return kind(**named, by="person:ada", reason="")


@st.composite
def logs(draw: st.DrawFn) -> list[Any]:
    """Lives of some changes, interleaved, with events that do not belong there, and controls."""
    lives = {name: list(draw(LIVES)) for name in ("c1", "c2", "hold")}
    log: list[Any] = []
    while any(lives.values()):
        name = draw(st.sampled_from([one for one, life in lives.items() if life]))
        log.append(event(lives[name].pop(0), name))
        if draw(st.booleans()):
            log.append(event(draw(st.sampled_from(KINDS)), name))
        if draw(st.booleans()):
            log.append(draw(controls(len(log))))
    return log


@given(logs(), st.data())
def test_a_log_with_any_of_it_told_again_later_says_the_same(log: list[Any], data: st.DataObject) -> None:
    told_again = list(log)
    first = Ledger()
    for one in [one for one in log if first.fold(one)]:
        where = next(i for i, other in enumerate(told_again) if other is one)
        told_again.insert(
            data.draw(st.integers(where + 1, len(told_again))), decode(CHANGES, msgspec.json.encode(one))
        )
    assert facts(folded(*told_again)) == facts(first)


@given(logs())
def test_what_the_ledger_says_is_not_new_changes_nothing(log: list[Any]) -> None:
    ledger = Ledger()
    for one in log:
        before = facts(ledger)
        if not ledger.fold(one):
            assert facts(ledger) == before
