"""The ledger: a fold over the log of changes, whatever is repeated in it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.twins import ASSET, OTHER, applied, approved, control, head, promotion, proposed, verified

from twinloop.contracts.changes import (
    Expired,
    Failed,
    Forecast,
    Issued,
    Parameter,
    RolledBack,
    Simulated,
    State,
)
from twinloop.contracts.controls import (
    Endorsed,
    Governance,
    IllegalControl,
    KillSwitchCleared,
    KillSwitchSet,
    ModeShed,
    Overridden,
    OverrideCleared,
    govern,
)
from twinloop.contracts.modes import Mode
from twinloop.twin.ledger import Ledger

FORECAST = Forecast(expected_uohm=45.0, low_uohm=43.0, high_uohm=47.0)
ONE = proposed()
EVENTS: tuple[Any, ...] = (
    ONE,
    Simulated(**head("simulated"), do_nothing=FORECAST, do_this=FORECAST),
    Endorsed(**head("endorsed-a"), by="person:a", reason="x"),
    Endorsed(**head("endorsed-b"), by="person:b", reason="x"),
    approved(ONE, 7),
    Issued(**head("issued"), command_sequence=1),
    applied(ONE),
    verified(ONE, 46.0),
    Failed(**head("failed"), guard="g", reason=""),
    RolledBack(**head("rolled_back"), restored_by="back", reason=""),
)
CONTROLS: tuple[Any, ...] = (
    *promotion(Mode.SUPERVISED, Mode.AUTO),
    ModeShed(**control("shed"), mode=Mode.SHADOW, by="line", reason="x"),
    KillSwitchSet(**control("kill"), by="person:a", reason="x"),
    KillSwitchCleared(**control("clear"), by="person:a", reason="x"),
    Overridden(
        **control("over"), parameter=Parameter.LASER_POWER_W, value=950.0, expected=1000.0, reason="x"
    ),
    OverrideCleared(**control("back"), by="person:a", reason="x"),
)


@given(st.lists(st.sampled_from(EVENTS), max_size=20))
def test_however_the_log_is_repeated_a_change_is_due_only_before_its_decision(events: list[Any]) -> None:
    ledger = Ledger()
    ledger.fold(EVENTS[0])
    decided = False
    for event in events:
        ledger.fold(event)
        states = [one.state for one in ledger.due()]
        assert all(one in (State.PROPOSED, State.SIMULATED) for one in states)
        decided = decided or not states
        assert not (decided and states)


@given(st.lists(st.sampled_from(CONTROLS), max_size=25))
def test_what_governs_is_the_contracts_fold_of_what_comes_first_of_each_event(events: list[Any]) -> None:
    ledger, expected, seen, illegal = Ledger(), Governance(), set(), 0
    for event in events:
        ledger.fold(event)
        if event.event_id in seen:
            continue
        seen.add(event.event_id)
        try:
            expected = govern(expected, event)
        except IllegalControl:
            illegal += 1
    assert ledger.governance(ASSET) == expected
    assert ledger.illegal == illegal
    assert ledger.governance(OTHER) == Governance()


@given(st.lists(st.sampled_from(EVENTS + CONTROLS), max_size=25))
def test_what_was_taken_once_changes_nothing_when_it_is_told_again(events: list[Any]) -> None:
    one, other, taken = Ledger(), Ledger(), []
    for event in events:
        if one.fold(event):
            taken.append(event)
        other.fold(event)
        for again in taken:
            assert not other.fold(again)
    for ask in (Ledger.governance, Ledger.releases, Ledger.outcomes, Ledger.shadow, Ledger.in_flight):
        assert ask(one, ASSET) == ask(other, ASSET)
    assert one.recent() == other.recent()
    assert one.endorsements("c") == other.endorsements("c")


def test_one_person_endorses_once_and_endorsements_end_with_the_change() -> None:
    ledger = Ledger()
    for event in EVENTS[:4]:
        ledger.fold(event)
    ledger.fold(Endorsed(**head("endorsed-again"), by="person:a", reason="y"))
    assert [one.by for one in ledger.endorsements("c")] == ["person:a", "person:b"]
    for event in (approved(ONE), Failed(**head("failed"), guard="g", reason="")):
        ledger.fold(event)
    assert not ledger.endorsements("c")


def test_a_number_that_was_given_away_is_not_given_again_whatever_became_of_the_release() -> None:
    ledger = Ledger()
    assert ledger.releases(ASSET) == 0
    ledger.fold(approved(ONE, 9))  # of a change that was never proposed
    assert ledger.releases(ASSET) == 9
    ledger.fold(approved(proposed("d"), 4))
    assert ledger.releases(ASSET) == 9


# ---- the shadow


def powers(ledger: Ledger) -> tuple[float | None, float | None]:
    """Reported and desired."""
    shadow, name = ledger.shadow(ASSET), Parameter.LASER_POWER_W
    reported, desired = shadow.reported.get(name), shadow.desired.get(name)
    return (None if reported is None else reported.value), (None if desired is None else desired.value)


def fold(*events: Any) -> Ledger:
    ledger = Ledger()
    for event in events:
        ledger.fold(event)
    return ledger


def test_a_release_is_desired_and_what_is_read_back_is_reported() -> None:
    begin = [*EVENTS[:2], approved(ONE)]
    assert powers(fold(*begin)) == (None, 1020.0)
    assert powers(fold(*begin, EVENTS[5], applied(ONE))) == (1020.0, 1020.0)


def test_what_failed_or_expired_is_not_desired_any_more() -> None:
    for end in (
        Failed(**head("failed"), guard="g", reason=""),
        Expired(**head("expired"), reason=""),
    ):
        assert powers(fold(*EVENTS[:2], approved(ONE), end)) == (None, None)
    two = proposed("two")
    second = [two, Simulated(**head("simulated", "two"), do_nothing=None, do_this=None), approved(two, 2)]
    done = [*EVENTS[:2], approved(ONE), EVENTS[5], applied(ONE)]
    assert powers(fold(*done, *second, Failed(**head("f", "two"), guard="g", reason=""))) == (1020.0, 1020.0)


def test_what_an_operator_sets_by_hand_is_reported_and_desired() -> None:
    assert powers(fold(*EVENTS[:2], approved(ONE), EVENTS[5], applied(ONE), CONTROLS[-2])) == (950.0, 950.0)


# ---- outcomes


def test_an_outcome_is_measured_once_and_a_rollback_makes_it_a_miss() -> None:
    ledger = fold(*EVENTS[:2], approved(ONE), EVENTS[5], applied(ONE))
    (waiting,) = ledger.unmeasured()
    assert ledger.measured(waiting, 44.0) is not None
    assert ledger.measured(waiting, 90.0) is None
    assert [one.covered for one in ledger.outcomes(ASSET)] == [True]
    ledger.fold(RolledBack(**head("rolled_back"), restored_by="back", reason=""))
    assert [(one.measured_uohm, one.covered) for one in ledger.outcomes(ASSET)] == [(44.0, False)]
    assert not ledger.unmeasured()


def test_only_news_is_told_and_only_once() -> None:
    ledger = fold(ONE)
    assert not ledger.news()
    ledger.live = True
    for event in (ONE, EVENTS[1], EVENTS[1], *CONTROLS[:1]):
        ledger.fold(event)
    assert ledger.news() == [EVENTS[1], CONTROLS[0]]
    assert not ledger.news()
