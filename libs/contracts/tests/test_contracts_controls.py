"""The fold of modes, stops and overrides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts import codec, topics
from twinloop.contracts.changes import Envelope, Parameter, SetParameter, signing_bytes
from twinloop.contracts.controls import (
    AnyControl,
    Governance,
    IllegalControl,
    KillSwitchCleared,
    KillSwitchSet,
    ModeEntered,
    ModeRefused,
    ModeRequested,
    ModeShed,
    Overridden,
    OverrideCleared,
    govern,
    refusal_to_enter,
)
from twinloop.contracts.modes import Mode, lower

AT = datetime(2026, 5, 1, 8, 0, tzinfo=UTC)


def event(kind: type[Any], number: int = 0, **what: Any) -> Any:
    return kind(
        event_id=f"{kind.__name__}-{number}", asset="a.b.c", at=AT, observed_at=AT, trace_id="0" * 32, **what
    )


def request(mode: Mode, number: int = 0) -> ModeRequested:
    asked: ModeRequested = event(ModeRequested, number, mode=mode, by="ada", reason="commissioned")
    return asked


def entered(mode: Mode, number: int = 0) -> ModeEntered:
    made: ModeEntered = event(
        ModeEntered, number, mode=mode, request=f"ModeRequested-{number}", power_w=1000.0, focus_mm=0.0
    )
    return made


def promoted() -> Governance:
    state = Governance()
    for number, mode in enumerate((Mode.SUPERVISED, Mode.AUTO)):
        state = govern(govern(state, request(mode, number)), entered(mode, number))
    return state


def test_one_step_at_a_time_leads_to_auto() -> None:
    assert promoted().actual is Mode.AUTO


def test_a_request_alone_promotes_nothing() -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    assert (state.requested, state.actual) == (Mode.SUPERVISED, Mode.SHADOW)


def test_two_steps_at_once_are_refused() -> None:
    state = govern(Governance(), request(Mode.AUTO))
    with pytest.raises(IllegalControl, match="more than one step"):
        govern(state, entered(Mode.AUTO))


def test_a_person_demotes_at_once() -> None:
    state = govern(promoted(), request(Mode.OFF, 7))
    assert (state.requested, state.actual, state.pending) == (Mode.OFF, Mode.OFF, None)


def test_what_is_shed_keeps_the_request_apart_and_needs_a_new_one() -> None:
    state = govern(promoted(), event(ModeShed, mode=Mode.SHADOW, by="line", reason="restarted"))
    assert (state.requested, state.actual) == (Mode.AUTO, Mode.SHADOW)
    with pytest.raises(IllegalControl, match="does not wait"):
        govern(state, entered(Mode.AUTO, 1))


def test_shedding_voids_a_request_that_waits() -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    state = govern(state, event(ModeShed, mode=Mode.SHADOW, by="line", reason="watchdog"))
    with pytest.raises(IllegalControl):
        govern(state, entered(Mode.SUPERVISED))


def test_shedding_never_promotes() -> None:
    off = govern(Governance(), request(Mode.OFF))
    assert govern(off, event(ModeShed, mode=Mode.SHADOW, by="line", reason="restarted")).actual is Mode.OFF


@pytest.mark.parametrize(
    ("stop", "clear"),
    [
        (
            event(KillSwitchSet, by="bob", reason="smoke"),
            event(KillSwitchCleared, by="bob", reason="no smoke"),
        ),
        (
            event(
                Overridden,
                parameter=Parameter.LASER_POWER_W,
                value=1010.0,
                expected=1000.0,
                reason="at the panel",
            ),
            event(OverrideCleared, by="bob", reason="done"),
        ),
    ],
)
def test_what_stops_latches_until_a_person_clears_it(stop: AnyControl, clear: AnyControl) -> None:
    state = govern(promoted(), stop)
    assert state.actual is Mode.SHADOW
    asked = govern(state, request(Mode.SUPERVISED, 9))
    with pytest.raises(IllegalControl):
        govern(asked, entered(Mode.SUPERVISED, 9))
    state = govern(govern(state, clear), request(Mode.SUPERVISED, 10))
    assert govern(state, entered(Mode.SUPERVISED, 10)).actual is Mode.SUPERVISED


def test_a_refused_request_no_longer_waits() -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    state = govern(state, event(ModeRefused, request="ModeRequested-0", reason="no part was made yet"))
    with pytest.raises(IllegalControl):
        govern(state, entered(Mode.SUPERVISED))


_MODES = st.sampled_from(list(Mode))
_EVENTS = st.one_of(
    st.builds(request, _MODES, st.integers(0, 3)),
    st.builds(entered, _MODES, st.integers(0, 3)),
    st.builds(lambda mode: event(ModeShed, mode=mode, by="line", reason="r"), _MODES),
    st.builds(lambda: event(KillSwitchSet, by="b", reason="r")),
    st.builds(lambda: event(KillSwitchCleared, by="b", reason="r")),
    st.builds(
        lambda: event(
            Overridden, parameter=Parameter.FOCUS_MM, value=0.1, expected=0.0, reason="at the panel"
        )
    ),
    st.builds(lambda: event(OverrideCleared, by="b", reason="r")),
)


@given(st.lists(_EVENTS, max_size=40))
def test_whatever_comes_only_an_entered_request_promotes_and_by_one_step(events: list[AnyControl]) -> None:
    state = Governance()
    for one in events:
        before = state
        try:
            state = govern(state, one)
        except IllegalControl:
            assert state is before
            continue
        if state.actual.rank > before.actual.rank:
            assert isinstance(one, ModeEntered)
            assert state.actual.rank == before.actual.rank + 1
            assert not before.killed
            assert not before.manual
        if state.killed or state.manual:
            assert not state.actual.acts


def test_controls_and_changes_share_a_topic() -> None:
    made = codec.message(topics.CHANGES, request(Mode.AUTO), source="twin")
    assert codec.decode(topics.CHANGES, made.value) == request(Mode.AUTO)
    assert dict(made.headers)["ce_type"] == b"twinloop.mode_requested.v1"


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
)
def test_an_envelope_signs_the_same_after_a_journey(value: float, expected: float, at: datetime) -> None:
    issued = at.replace(tzinfo=UTC)
    envelope = Envelope(
        command_id="c",
        asset="a.b.c",
        action=SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected),
        unit="W",
        recipe="r",
        sequence=3,
        issued_at=issued,
        expires_at=issued + timedelta(seconds=5),
        model="weld",
        model_version=1,
        input_digest="d",
        mode=Mode.AUTO,
        approver="policy:auto",
    )
    back = msgspec.json.decode(msgspec.json.encode(envelope), type=Envelope)
    assert signing_bytes(back) == signing_bytes(envelope)


@pytest.mark.parametrize("other", ["A", "z"])
def test_only_the_request_that_waits_is_answered(other: str) -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    with pytest.raises(IllegalControl, match="does not wait"):
        govern(state, event(ModeRefused, request=other, reason="no part was made yet"))
    with pytest.raises(IllegalControl, match="does not wait"):
        govern(state, event(ModeEntered, mode=Mode.SUPERVISED, request=other, power_w=1000.0, focus_mm=0.0))


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.AUTO])
def test_what_was_not_requested_is_not_entered(mode: Mode) -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    with pytest.raises(IllegalControl, match="was not requested"):
        govern(state, event(ModeEntered, mode=mode, request=state.pending, power_w=1000.0, focus_mm=0.0))


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("actual", list(Mode))
def test_one_step_up_is_the_only_way_in(mode: Mode, actual: Mode) -> None:
    refused = refusal_to_enter(Governance(requested=mode, actual=actual))
    assert (refused is None) == (mode.rank - actual.rank == 1)


def test_asking_for_the_mode_in_force_waits_for_nothing() -> None:
    state = govern(promoted(), request(Mode.AUTO, 5))
    assert (state.actual, state.pending) == (Mode.AUTO, None)


@pytest.mark.parametrize("actual", [Mode.OFF, Mode.SHADOW])
def test_what_is_low_enough_is_not_shed_again(actual: Mode) -> None:
    before = Governance(requested=Mode.SUPERVISED, actual=actual, since="earlier", why="said so", pending="p")
    after = govern(before, event(ModeShed, mode=Mode.SHADOW, by="line", reason="restarted"))
    assert (after.actual, after.since, after.why, after.pending) == (actual, "earlier", "said so", None)


def test_what_is_in_force_says_since_when_and_why() -> None:
    state = promoted()
    assert (state.since, state.why) == ("ModeEntered-1", "entered auto, as requested")
    shed = govern(state, event(ModeShed, 4, mode=Mode.SUPERVISED, by="twin", reason="it drifts"))
    assert (shed.actual, shed.since, shed.why) == (Mode.SUPERVISED, "ModeShed-4", "twin: it drifts")


def test_the_model_that_the_mode_was_entered_with_is_kept() -> None:
    state = govern(Governance(), request(Mode.SUPERVISED))
    state = govern(
        state,
        event(
            ModeEntered,
            mode=Mode.SUPERVISED,
            request=state.pending,
            power_w=1000.0,
            focus_mm=0.0,
            model="weld",
            model_version=3,
        ),
    )
    assert (state.model, state.model_version) == ("weld", 3)


def test_nothing_is_in_force_before_anything_was_said() -> None:
    state = Governance()
    assert (state.requested, state.actual, state.model_version) == (Mode.SHADOW, Mode.SHADOW, 0)
    assert not state.killed
    assert not state.manual


@pytest.mark.parametrize(
    ("mode", "acts"),
    [(Mode.OFF, False), (Mode.SHADOW, False), (Mode.SUPERVISED, True), (Mode.AUTO, True)],
)
def test_only_supervised_and_auto_act(mode: Mode, acts: bool) -> None:
    assert mode.acts is acts
    assert lower(mode, Mode.OFF) is Mode.OFF
    assert lower(Mode.AUTO, mode) is mode
