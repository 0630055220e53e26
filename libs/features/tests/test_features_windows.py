"""`WindowBuffer` against a plain reference that takes one sample at a time and shares no code with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.features.windows import WindowBuffer, Windows, WindowSpec

SIGNALS = ("a", "b")


def frame(
    asset: str, sequence: int, samples: NDArray[np.float32], part_id: str = "", bad: bool = False
) -> Frame:
    quality = None
    if bad:
        quality = np.zeros(samples.shape, np.bool_)
        quality[-1, -1] = True
    return Frame(
        asset=asset,
        signal_set="s.v1",
        sequence=sequence,
        first_at_ns=0,
        period_ns=1_000_000,
        samples=samples,
        observed_at_ns=0,
        event_id="",
        trace_id="",
        part_id=part_id,
        bad=quality,
    )


@dataclass
class Ring:
    """What the reference knows of one asset."""

    samples: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)
    """With the tokens of their frames."""
    number: int = 0
    """Of the next sample."""
    sequence: int = -1
    part_id: str = ""
    broken: bool = True
    token: int = 0
    part_token: int | None = None
    """Of the frame in which the part began, while samples are counted from there."""


Found = tuple[int, int, bytes]


class Reference:
    """Sample by sample, as the module's docstring says."""

    def __init__(self, spec: WindowSpec, memory: int = 10**9) -> None:
        self.spec = spec
        self.memory = memory
        self.taken = 0
        self.rings: dict[str, Ring] = {}

    def push(self, frames: list[Frame]) -> list[Found]:
        found: list[Found] = []
        for index, one in enumerate(frames):
            ring = self.rings.setdefault(one.asset, Ring())
            bad = one.bad is not None and bool(one.bad.any())
            token = self.taken
            forgotten = token - ring.token > self.memory
            ring.token = token
            self.taken += 1
            if (
                forgotten
                or ring.broken
                or bad
                or one.sequence != ring.sequence + 1
                or one.part_id != ring.part_id
            ):
                ring.samples = []
                ring.number = 0 if one.part_id else one.sequence * len(one.samples)
                ring.part_token = token if one.part_id else None
            elif ring.part_token is not None and token - ring.part_token > self.memory:
                ring.samples = []
                ring.number = one.sequence * len(one.samples)
                ring.part_token = None
            ring.sequence, ring.part_id, ring.broken = one.sequence, one.part_id, bad
            if bad:
                continue
            for row, sample in enumerate(one.samples):
                ring.samples = [*ring.samples, (token, sample)][-self.spec.window :]
                ring.number += 1
                begin = ring.number - self.spec.window
                if len(ring.samples) < self.spec.window or begin % self.spec.hop:
                    continue
                if token - ring.samples[0][0] <= self.memory:
                    found.append((index, row, np.stack([one for _, one in ring.samples]).tobytes()))
        return found


def found(buffer: WindowBuffer, frames: list[Frame], tokens: list[int] | None = None) -> list[Found]:
    windows = buffer.push(frames, tokens)
    assert windows.values.dtype == np.float32
    assert windows.values.shape == (len(windows), buffer.spec.window, len(buffer.spec.signals))
    return [
        (int(index), int(row), values.tobytes())
        for index, row, values in zip(windows.frame, windows.row, windows.values, strict=True)
    ]


@st.composite
def pushes(draw: st.DrawFn, equal_lengths: bool = False) -> tuple[WindowSpec, list[list[Frame]]]:
    window, hop = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    lengths = draw(
        st.sampled_from([[window], [hop], [1], [2 * hop], [3 * window], list(range(1, 15)), [window, hop]])
    )
    lengths = lengths[:1] if equal_lengths else lengths
    assets = [f"asset{n}" for n in range(draw(st.integers(1, 25)))]
    parts = draw(st.booleans())
    sequence = dict.fromkeys(assets, draw(st.sampled_from([0, 1, 7, 2**40, 2**63 + 5])))
    part = dict.fromkeys(assets, 0)
    taken = 0
    calls = []
    for _ in range(draw(st.integers(1, 8))):
        call = []
        for _ in range(draw(st.integers(0, 20))):
            asset = draw(st.sampled_from(assets))
            event = draw(st.sampled_from(["next"] * 8 + ["gap", "bad", "part"]))
            sequence[asset] += 3 if event == "gap" else 1
            part[asset] += event == "part"
            length = draw(st.sampled_from(lengths))
            samples = np.arange(taken, taken + length * 2, dtype=np.float32).reshape(length, 2)
            taken += length * 2
            part_id = f"{asset}-{part[asset]}" if parts else ""
            call.append(frame(asset, sequence[asset], samples, part_id, bad=event == "bad"))
        calls.append(call)
    return WindowSpec(window, hop, SIGNALS), calls


@settings(max_examples=400)
@given(pushes())
def test_finds_the_windows_that_the_reference_finds(case: tuple[WindowSpec, list[list[Frame]]]) -> None:
    spec, calls = case
    buffer, reference = WindowBuffer(spec), Reference(spec)
    for call in calls:
        assert found(buffer, call) == reference.push(call)


@settings(max_examples=100)
@given(pushes())
def test_how_frames_are_cut_into_calls_does_not_matter(case: tuple[WindowSpec, list[list[Frame]]]) -> None:
    spec, calls = case
    frames = [one for call in calls for one in call]
    together = [(index, row, values) for index, row, values in found(WindowBuffer(spec), frames)]
    buffer, apart = WindowBuffer(spec), []
    for index, one in enumerate(frames):
        apart += [(index, row, values) for _, row, values in found(buffer, [one])]
    assert apart == together


@settings(max_examples=300)
@given(st.data(), st.sampled_from([None, 5, 30]))
def test_a_buffer_rebuilt_from_the_oldest_frame_needed_goes_on_as_if_nothing_had_happened(
    data: st.DataObject, memory: int | None
) -> None:
    spec, calls = data.draw(pushes(equal_lengths=memory is not None))
    buffer, taken = WindowBuffer(spec, memory), []
    for call in calls:
        oldest = buffer.oldest(len(taken))
        rebuilt = WindowBuffer(spec, memory)
        if oldest is not None:
            assert memory is None or oldest >= len(taken) - 5 * memory
            rebuilt.push(taken[oldest:], list(range(oldest, len(taken))))
        tokens = list(range(len(taken), len(taken) + len(call)))
        due = found(buffer, call, tokens)
        assert found(rebuilt, call, tokens) == due
        taken += call


@settings(max_examples=300)
@given(pushes(), st.integers(0, 40))
def test_what_is_older_than_memory_makes_no_difference(
    case: tuple[WindowSpec, list[list[Frame]]], memory: int
) -> None:
    spec, calls = case
    buffer, reference, taken = WindowBuffer(spec, memory), Reference(spec, memory), 0
    for call in calls:
        assert found(buffer, call, list(range(taken, taken + len(call)))) == reference.push(call)
        taken += len(call)


def test_the_oldest_frame_needed_is_no_older_than_a_window() -> None:
    buffer = WindowBuffer(WindowSpec(64, 16, SIGNALS))
    assert buffer.oldest() is None
    frames = _stream("a", 100, 16)
    for n, one in enumerate(frames):
        buffer.push([one], [n])
        assert buffer.oldest() == max(0, n - 2)  # three frames of 16 are in the next window


def test_after_whole_welds_only_the_last_one_is_needed() -> None:
    buffer = WindowBuffer(WindowSpec(300, 300, SIGNALS))
    buffer.push(_stream("weld1", 3, 300), [0, 1, 2])
    assert buffer.oldest() == 2  # what comes may be the same part, and is numbered from there on


def _stream(asset: str, count: int, length: int, first: int = 0, part_id: str = "") -> list[Frame]:
    rng = np.random.default_rng(first)
    return [
        frame(asset, first + n, rng.normal(size=(length, 2)).astype(np.float32), part_id)
        for n in range(count)
    ]


@pytest.mark.parametrize(("window", "hop", "length"), [(64, 16, 16), (64, 16, 8), (10, 4, 3), (7, 3, 20)])
def test_a_reader_that_begins_in_the_middle_finds_the_same_windows(
    window: int, hop: int, length: int
) -> None:
    spec = WindowSpec(window, hop, SIGNALS)
    frames = _stream("a", 60, length, first=1000)
    whole = found(WindowBuffer(spec), frames)
    skipped = 11
    later = [
        (index + skipped, row, values) for index, row, values in found(WindowBuffer(spec), frames[skipped:])
    ]
    assert later
    assert later == [one for one in whole if one[0] >= later[0][0]][-len(later) :]
    assert whole[-len(later) :] == later


def test_a_weld_is_a_window_of_its_own() -> None:
    spec = WindowSpec(300, 300, SIGNALS)
    frames = [one for n in range(5) for one in _stream("weld1", 1, 300, n, f"part{n}")]
    windows = WindowBuffer(spec).push(frames)
    assert windows.frame.tolist() == [0, 1, 2, 3, 4]
    assert windows.row.tolist() == [299] * 5
    assert np.array_equal(windows.values, np.stack([one.samples for one in frames]))


def test_values_do_not_change_when_more_is_pushed() -> None:
    buffer = WindowBuffer(WindowSpec(4, 2, SIGNALS))
    windows = buffer.push(_stream("a", 10, 2))
    before = windows.values.copy()
    buffer.push(_stream("a", 10, 2, first=10))
    assert np.array_equal(windows.values, before)


def test_a_bad_frame_is_part_of_no_window() -> None:
    buffer = WindowBuffer(WindowSpec(4, 2, SIGNALS))
    frames = _stream("a", 6, 2)
    frames[2] = frame("a", 2, frames[2].samples, bad=True)
    windows = buffer.push(frames)
    assert [
        (index, row) for index, row, _ in zip(windows.frame, windows.row, windows.values, strict=True)
    ] == [
        (1, 1),
        (4, 1),
        (5, 1),
    ]


def test_many_assets_grow_the_rings() -> None:
    buffer = WindowBuffer(WindowSpec(4, 4, SIGNALS))
    for sequence in range(2):
        frames = [one for n in range(1000) for one in _stream(f"a{n}", 1, 2, sequence)]
        windows = buffer.push(frames)
        assert len(windows) == (1000 if sequence else 0)
    assert buffer.assets == 1000


def test_windows_too_wide_for_the_memory_and_silent_assets_are_told_of() -> None:
    spec = WindowSpec(4, 2, SIGNALS)
    frames = _stream("a", 4, 2)
    near, wide, silent = [WindowBuffer(spec, memory=10) for _ in range(3)]
    assert _told(near.push(frames, [0, 10, 20, 30])) == (3, 0, 0)
    assert _told(wide.push(_stream("a", 4, 1), [0, 4, 8, 12])) == (0, 1, 0)
    assert _told(silent.push(frames, [0, 4, 15, 19])) == (2, 0, 1)


def _told(windows: Windows) -> tuple[int, int, int]:
    return len(windows), windows.too_wide, windows.silent


@pytest.mark.parametrize(("window", "hop"), [(0, 1), (1, 0)])
def test_a_spec_without_samples_is_refused(window: int, hop: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        WindowSpec(window, hop, SIGNALS)
