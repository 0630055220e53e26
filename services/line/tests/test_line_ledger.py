"""The ledger: however often and in whatever pieces the log is read, it says the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Diagnosis,
    Expired,
    Failed,
    Hold,
    Issued,
    Parameter,
    Proposed,
    Rejected,
    SetParameter,
    Simulated,
    State,
    Verified,
)
from twinloop.contracts.codec import decode
from twinloop.contracts.topics import CHANGES
from twinloop.line.ledger import Ledger, Touched

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UP = SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0)


def event(kind: type[Any], change_id: str = "c1", after_s: float = 0.0) -> Any:
    own: dict[type[Any], dict[str, Any]] = {
        Proposed: {
            "action": Hold(reason="") if change_id == "hold" else UP,
            "diagnosis": Diagnosis.DIRTY_WINDOW,
            "recipe": "r",
            "reason": "",
            "evidence": (),
            "expires_at": NOW,
            "model": "m",
            "model_version": 1,
            "input_digest": "",
        },
        Simulated: {"do_nothing": None, "do_this": None},
        Approved: {"approver": "p", "reason": ""},
        Rejected: {"approver": "p", "reason": ""},
        Issued: {"command_sequence": 1, "part_counter": 100},
        Applied: {"actual": 1020.0, "part_counter": 101},
        Failed: {"guard": "plc", "reason": ""},
        Expired: {"reason": ""},
        Verified: {"parts": 10, "before_uohm": 42.0, "after_uohm": 42.0},
    }
    return kind(
        event_id=f"{change_id}-{kind.__struct_config__.tag}",
        asset="a",
        at=NOW + timedelta(seconds=after_s),
        observed_at=NOW,
        trace_id="",
        change_id=change_id,
        **own[kind],
    )


def folded(*events: AnyChange) -> Ledger:
    ledger = Ledger()
    for one in events:
        ledger.fold(one)
    return ledger


def facts(ledger: Ledger) -> Any:
    due = [(one.proposed.change_id, one.state, one.told_by, one.issued) for one in ledger.due()]
    return due, ledger.touched("a"), ledger.unknown("a")


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


def test_an_unknown_outcome_is_of_its_asset_and_ends_with_the_change() -> None:
    ledger = folded(*RELEASED, event(Issued))
    assert (ledger.unknown("a"), ledger.unknown("b")) == (True, False)
    ledger.fold(event(Applied))
    assert not ledger.unknown("a")


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
    assert ledger.touched("a") == touched
    assert ledger.touched("b") is None


def test_a_hold_is_remembered_as_one() -> None:
    touched = folded(*(event(kind, "hold") for kind in (Proposed, Simulated, Approved, Issued))).touched("a")
    assert touched is not None
    assert touched.hold


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
def logs(draw: st.DrawFn) -> list[AnyChange]:
    """Lives of some changes, interleaved, with events that do not belong there."""
    lives = {name: list(draw(LIVES)) for name in ("c1", "c2", "hold")}
    log = []
    while any(lives.values()):
        name = draw(st.sampled_from([one for one, life in lives.items() if life]))
        log.append(event(lives[name].pop(0), name))
        if draw(st.booleans()):
            log.append(event(draw(st.sampled_from(KINDS)), name))
    return log


@given(logs(), st.data())
def test_a_log_with_any_of_it_told_again_later_says_the_same(
    log: list[AnyChange], data: st.DataObject
) -> None:
    told_again = list(log)
    first = Ledger()
    for one in [one for one in log if first.fold(one)]:
        where = next(i for i, other in enumerate(told_again) if other is one)
        told_again.insert(
            data.draw(st.integers(where + 1, len(told_again))), decode(CHANGES, msgspec.json.encode(one))
        )
    assert facts(folded(*told_again)) == facts(first)


@given(logs())
def test_what_the_ledger_says_is_not_new_changes_nothing(log: list[AnyChange]) -> None:
    ledger = Ledger()
    for one in log:
        before = facts(ledger)
        if not ledger.fold(one):
            assert facts(ledger) == before
