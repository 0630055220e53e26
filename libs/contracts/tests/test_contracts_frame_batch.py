"""Frames decoded together are what they are when each is decoded by itself, whatever the bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twinloop.contracts.frame_batch import FrameDecoder, named
from twinloop.contracts.frames import Frame, InvalidFrame, decode_frame, encode_frame

text = st.one_of(st.sampled_from(["", "a", "abc", "abd", "plant.line1"]), st.text(max_size=4))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rows, signals = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    values = draw(st.lists(st.floats(width=32), min_size=rows * signals, max_size=rows * signals))
    samples = np.array(values, np.float32).reshape(rows, signals)
    return Frame(
        asset=draw(st.sampled_from(["a", "b", "ab", "ü"])),
        signal_set=draw(st.sampled_from(["s.v1", "t.v1"])),
        sequence=draw(st.sampled_from([0, 1, 127, 128, 2**64 - 1])),
        first_at_ns=draw(st.sampled_from([0, 5, 10**18])),
        period_ns=draw(st.sampled_from([0, 1, 10**6])),
        samples=samples,
        observed_at_ns=draw(st.sampled_from([0, 10**18])),
        event_id=draw(text),
        trace_id=draw(text),
        part_id=draw(text),
        bad=draw(
            st.sampled_from([None, np.ones((rows, signals), np.bool_), np.zeros((rows, signals), np.bool_)])
        ),
        offsets_ns=draw(st.sampled_from([None, np.arange(rows, dtype=np.uint64)])),
    )


@st.composite
def values(draw: st.DrawFn) -> list[bytes]:
    """Frames that are much alike, some of them damaged, and some bytes that are nothing."""
    kinds = [encode_frame(one) for one in draw(st.lists(frames(), min_size=1, max_size=4))]
    chosen = draw(st.lists(st.sampled_from(kinds), max_size=25))
    made = []
    for one in chosen:
        damage = draw(st.sampled_from(["none"] * 6 + ["byte", "cut", "more", "twice", "nothing"]))
        at = draw(st.integers(0, len(one) - 1))
        if damage == "byte":
            one = one[:at] + bytes([draw(st.integers(0, 255))]) + one[at + 1 :]
        elif damage == "cut":
            one = one[:at]
        elif damage == "more":
            one += draw(st.binary(max_size=3))
        elif damage == "twice":
            one += one
        elif damage == "nothing":
            one = draw(st.binary(max_size=len(one)))
        made.append(one)
    return made


@settings(max_examples=500)
@given(st.lists(values(), min_size=1, max_size=3))
def test_decoded_together_they_are_what_each_is_by_itself(calls: list[list[bytes]]) -> None:
    decoder = FrameDecoder()
    for given_values in calls:
        batch = decoder.decode(given_values)
        expected: dict[int, Frame] = {}
        invalid = {}
        for n, value in enumerate(given_values):
            try:
                expected[n] = decode_frame(value)
            except InvalidFrame as error:
                invalid[n] = (error.reason, error.detail)
        assert {n: (one.reason, one.detail) for n, one in batch.invalid.items()} == invalid
        assert batch.index.tolist() == list(expected)
        ends = np.cumsum(batch.rows * batch.signals)
        for k, frame in enumerate(expected.values()):
            assert named(batch.sources[k]) == (frame.asset, frame.signal_set)
            assert int(batch.sequences[k]) == frame.sequence
            assert (int(batch.rows[k]), int(batch.signals[k])) == frame.samples.shape
            assert bool(batch.good[k]) == (frame.bad is None or not frame.bad.any())
            mine = batch.samples[ends[k] - frame.samples.size : ends[k]]
            assert mine.tobytes() == frame.samples.tobytes()
        for k, one in enumerate(expected.values()):
            for m, other in enumerate(expected.values()):
                same = (one.asset, one.signal_set) == (other.asset, other.signal_set)
                assert (batch.sources[k] == batch.sources[m]) == same
                assert (batch.parts[k] == batch.parts[m]) == (one.part_id == other.part_id)


def test_frames_that_look_alike_are_decoded_without_looking_at_each() -> None:
    samples = np.zeros((4, 2), np.float32)
    alike = [encode_frame(Frame(f"a{n}", "s.v1", n, n, 5, samples + n, n, f"e{n}", "t")) for n in range(10)]
    decoder = FrameDecoder()
    batch = decoder.decode(alike)
    assert len(decoder._layouts) == 1
    assert batch.samples.reshape(10, -1)[:, 0].tolist() == list(range(10))
