"""What is written to a topic reads back equal, and what does not belong is refused."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twinloop.contracts import codec, ids, topics
from twinloop.contracts.changes import (
    WRITER,
    Diagnosis,
    IllegalTransition,
    Parameter,
    Proposed,
    Rejected,
    SetParameter,
    State,
    Verified,
    advance,
    history,
    state_of,
)
from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.frames import Frame, InvalidFrame, decode_frame, encode_frame
from twinloop.contracts.times import unix_ns, utc

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def proposed() -> Proposed:
    return Proposed(
        event_id=ids.event_id("proposed", "c1"),
        asset="acme.berlin.packs.line1.weld1",
        at=AT,
        observed_at=AT,
        trace_id=ids.trace_id("x"),
        change_id="c1",
        action=SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0),
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="tab-cu-al/3",
        reason="depth 0.47 mm",
        evidence=("a", "b"),
        expires_at=AT,
        model="weld",
        model_version=1,
        input_digest="00",
    )


def test_an_event_reads_back_equal_and_carries_cloudevents_headers() -> None:
    record = codec.message(topics.CHANGES, proposed(), source="controller")
    assert codec.decode(topics.CHANGES, record.value) == proposed()
    headers = dict(record.headers)
    assert headers["ce_type"] == b"twinloop.proposed.v1"
    assert headers["ce_source"] == b"/twinloop/controller"
    assert headers["ce_id"].decode() == proposed().event_id
    assert headers["traceparent"].startswith(b"00-" + proposed().trace_id.encode())
    assert record.key == b"acme.berlin.packs.line1.weld1"


def test_dead_letter_keeps_the_original_bytes_and_is_keyed_by_reason() -> None:
    letter = DeadLetter(
        event_id="e",
        reason=Reason.NON_FINITE,
        detail="d",
        source="s",
        at=AT,
        service="ingest",
        payload=b"\xff\x00",
    )
    record = codec.message(topics.DEAD_LETTERS, letter, source="ingest")
    assert record.key == b"non_finite"
    assert codec.decode(topics.DEAD_LETTERS, record.value).payload == b"\xff\x00"


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"type":"no_such_state"}'])
def test_what_is_no_record_of_its_topic_is_refused(value: bytes) -> None:
    with pytest.raises(codec.Undecodable, match="changes"):
        codec.decode(topics.CHANGES, value)


@pytest.mark.parametrize("name", ["at", "observed_at", "expires_at"])
def test_a_time_without_a_zone_makes_a_record_none(name: str) -> None:
    naive = msgspec.structs.replace(proposed(), **{name: AT.replace(tzinfo=None)})
    with pytest.raises(codec.Undecodable, match=name):
        codec.decode(topics.CHANGES, codec.message(topics.CHANGES, naive, source="test").value)


@given(
    samples=hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)),
    data=st.data(),
    sequence=st.integers(0, 2**64 - 1),
)
def test_frame_reads_back_bit_for_bit(samples: np.ndarray, data: st.DataObject, sequence: int) -> None:  # type: ignore[type-arg]
    bad = data.draw(st.none() | hnp.arrays(np.bool_, samples.shape))
    offsets = data.draw(st.none() | hnp.arrays(np.uint64, samples.shape[:1]))
    frame = Frame("a", "s", sequence, 5, 1, samples, 7, "e", "t", "p", bad, offsets)
    back = decode_frame(encode_frame(frame))
    assert back.samples.tobytes() == samples.tobytes()
    assert back.sequence == sequence
    assert (back.asset, back.signal_set, back.first_at_ns, back.period_ns) == ("a", "s", 5, 1)
    assert (back.observed_at_ns, back.event_id, back.trace_id, back.part_id) == (7, "e", "t", "p")
    if bad is not None and bad.any():
        assert back.bad is not None
        assert (back.bad == bad).all()
    else:
        assert back.bad is None
    if offsets is not None:
        assert back.offsets_ns is not None
        assert (back.offsets_ns == offsets).all()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_invalid_frame(data: bytes) -> None:
    with contextlib.suppress(InvalidFrame):
        assert decode_frame(data).samples.ndim == 2


def test_cut_samples_are_a_wrong_signal_count() -> None:
    from twinloop.contracts.telemetry_pb2 import TelemetryFrame

    message = TelemetryFrame(asset="a", signal_set="s", signal_count=3, samples=b"\0" * 16)
    with pytest.raises(InvalidFrame) as caught:
        decode_frame(message.SerializeToString())
    assert caught.value.reason is Reason.WRONG_SIGNAL_COUNT


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_times_round_trip(at: datetime) -> None:
    aware = at.replace(tzinfo=UTC)
    assert utc(unix_ns(aware)) == aware


def rejected() -> Rejected:
    return Rejected(
        event_id="r",
        asset="a",
        at=AT,
        observed_at=AT,
        trace_id="t",
        change_id="c1",
        approver="policy",
        reason="",
    )


def test_a_change_begins_with_a_proposal_and_ends_for_good() -> None:
    state = advance(None, proposed())
    assert state is State.PROPOSED
    assert advance(state, rejected()) is State.REJECTED
    with pytest.raises(IllegalTransition):
        advance(None, rejected())
    with pytest.raises(IllegalTransition):
        advance(State.REJECTED, proposed())


def test_nothing_reaches_verified_but_applied() -> None:
    verified = Verified(
        event_id="v",
        asset="a",
        at=AT,
        observed_at=AT,
        trace_id="t",
        change_id="c1",
        parts=10,
        before_uohm=42.0,
        after_uohm=42.0,
    )
    for state in State:
        if state is State.APPLIED:
            assert advance(state, verified) is State.VERIFIED
        else:
            with pytest.raises(IllegalTransition):
                advance(state, verified)


def test_every_state_has_one_writer_and_a_struct() -> None:
    assert set(WRITER) == set(State)
    assert state_of(proposed()) is State.PROPOSED
    assert {state for state in State if state.final} == {
        State.REJECTED,
        State.EXPIRED,
        State.FAILED,
        State.VERIFIED,
        State.ROLLED_BACK,
        State.INCONCLUSIVE,
    }


def test_history_drops_repeats_and_keeps_order() -> None:
    assert history([proposed(), proposed(), rejected()]) == {"c1": [proposed(), rejected()]}


def test_topics_have_unique_names_and_joined_topics_equal_partitions() -> None:
    names = [topic.name for topic in topics.ALL]
    assert len(set(names)) == len(names)
    joined = {topics.ANOMALIES, topics.GENEALOGY, topics.CHANGES}
    assert len({topic.partitions for topic in joined}) == 1
