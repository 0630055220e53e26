"""Many frames at once, as columns: what a high rate of telemetry is decoded into.

Frames of one publisher look alike on the wire: the same fields, of the same lengths. A *layout* is learnt
from a frame by walking its Protobuf fields once; all frames whose tags, lengths and constant fields are the
same bytes in the same places are then decoded together by array operations. Whatever fits no layout is
decoded by itself with `decode_frame`: the outcome is the same, only slower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame, InvalidFrame, decode_frame
from twinloop.contracts.telemetry_pb2 import TelemetryFrame

Ints = NDArray[np.int64]

_LAYOUTS_KEPT = 64
_FEWEST = 4
"""Fewer frames than this are not worth a layout."""

_VARINT, _FIXED64, _BYTES = 0, 1, 2
_ASSET, _SIGNAL_SET, _SEQUENCE, _FIRST_AT, _SIGNAL_COUNT, _SAMPLES = 1, 2, 3, 4, 7, 8
_PART_ID, _EVENT_ID, _TRACE_ID, _OBSERVED_AT = 10, 11, 12, 13
_FIELD = {one.number: one for one in TelemetryFrame.DESCRIPTOR.fields}
_TEXT = (_ASSET, _PART_ID, _EVENT_ID, _TRACE_ID)
_VARIABLE = (*_TEXT, _SEQUENCE, _FIRST_AT, _SAMPLES, _OBSERVED_AT)
"""What differs between frames of one layout; everything else is the same bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """`n` frames, in the order in which they came.

    `index` int64 [n], which of the values each was; `sources` [n], equal for equal asset and signal set (see
    `source_of`); `sequences` uint64 [n]; `parts` int64 [n], equal for equal part ids and 0 for none (a hash:
    it means nothing outside this process); `rows` and `signals` int64 [n], the shape of each one's samples;
    `good` bool [n], false where a quality bit is set. `samples` float32, flat: frame after frame, each [rows,
    signals]. `invalid`: the values that are no frames, by index."""

    index: Ints
    sources: list[bytes]
    sequences: NDArray[np.uint64]
    parts: Ints
    rows: Ints
    signals: Ints
    good: NDArray[np.bool_]
    samples: NDArray[np.float32]
    invalid: dict[int, InvalidFrame]

    def __len__(self) -> int:
        return len(self.index)


def source_of(asset: str, signal_set: str) -> bytes:
    """What stands for an asset and a signal set in a `FrameBatch`: their Protobuf fields."""
    return TelemetryFrame(asset=asset, signal_set=signal_set).SerializeToString()


def named(source: bytes) -> tuple[str, str]:
    """The asset and the signal set of a source."""
    message = TelemetryFrame.FromString(source)
    return message.asset, message.signal_set


@dataclass(frozen=True, slots=True, eq=False)
class _Layout:
    """Where the fields of frames of one length lie. `constant` [k]: the places whose bytes are `bytes`
    [k]."""

    length: int
    constant: NDArray[np.intp]
    bytes: NDArray[np.uint8]
    text: NDArray[np.intp]
    source: int
    sequence: int
    part: tuple[int, int]
    samples: tuple[int, int]
    rows: int
    signals: int


class FrameDecoder:
    """Decodes batches; remembers layouts from one to the next."""

    def __init__(self) -> None:
        self._layouts: dict[int, list[_Layout]] = {}

    def decode(self, values: Sequence[bytes]) -> FrameBatch:
        """Never raises: what is no frame is in `invalid`."""
        n = len(values)
        out = _Columns(n)
        lengths = np.fromiter(map(len, values), np.int64, n)
        for length in np.unique(lengths).tolist():
            index = np.flatnonzero(lengths == length)
            self._decode_alike(values, index, length, out)
        return out.batch()

    def _decode_alike(self, values: Sequence[bytes], index: Ints, length: int, out: _Columns) -> None:
        """Decode values of one length, layout by layout."""
        if len(index) == 1 and length not in self._layouts:
            out.one(int(index[0]), values[int(index[0])])
            return
        every = len(index) == len(values)
        mine = values if every else [values[n] for n in index.tolist()]
        table = np.frombuffer(b"".join(mine), np.uint8).reshape(len(mine), length)
        for layout in self._layouts.get(length, ()):
            index, table = self._decode_layout(values, index, table, layout, out)
            if not len(index):
                return
        while len(index) >= _FEWEST and (learnt := _layout(values[int(index[0])])) is not None:
            self._remember(learnt)
            before = len(index)
            index, table = self._decode_layout(values, index, table, learnt, out)
            if len(index) == before:
                break
        for n in index.tolist():
            out.one(n, values[n])

    def _decode_layout(
        self, values: Sequence[bytes], index: Ints, table: NDArray[np.uint8], layout: _Layout, out: _Columns
    ) -> tuple[Ints, NDArray[np.uint8]]:
        """Decode what has this layout; returns the rest."""
        fits = (table[:, layout.constant] == layout.bytes).all(axis=1)
        fits &= (table[:, layout.text] < 0x80).all(axis=1)
        if fits.all():
            out.many(values, index, table, layout)
            return index[:0], table[:0]
        if fits.any():
            out.many(values, index[fits], table[fits], layout)
        return index[~fits], table[~fits]

    def _remember(self, layout: _Layout) -> None:
        if sum(map(len, self._layouts.values())) >= _LAYOUTS_KEPT:
            self._layouts.clear()
        self._layouts.setdefault(layout.length, []).append(layout)


class _Columns:
    """A `FrameBatch` in the making, with a place for each of `n` values."""

    def __init__(self, n: int) -> None:
        self.sources: list[bytes] = [b""] * n
        self.sequences = np.zeros(n, np.uint64)
        self.parts = np.zeros(n, np.int64)
        self.rows = np.zeros(n, np.int64)
        self.signals = np.zeros(n, np.int64)
        self.good = np.ones(n, np.bool_)
        self.blocks: list[tuple[Ints, NDArray[np.float32]]] = []
        self.invalid: dict[int, InvalidFrame] = {}

    def one(self, n: int, value: bytes) -> None:
        """Decode a value by itself."""
        try:
            frame = decode_frame(value)
        except InvalidFrame as error:
            self.invalid[n] = error
            return
        self.sources[n] = source_of(frame.asset, frame.signal_set)
        self.sequences[n] = frame.sequence
        self.parts[n] = hash(frame.part_id.encode())
        self.rows[n], self.signals[n] = frame.samples.shape
        self.good[n] = frame.bad is None or not frame.bad.any()
        self.blocks.append((np.array([n]), frame.samples.reshape(1, -1)))

    def many(self, values: Sequence[bytes], index: Ints, table: NDArray[np.uint8], layout: _Layout) -> None:
        """Decode values of one layout; `table` uint8 [m, length] holds them."""
        end = layout.source
        places = index.tolist()
        for n in places:
            self.sources[n] = values[n][:end]
        if layout.sequence:
            at = layout.sequence
            self.sequences[index] = np.ascontiguousarray(table[:, at : at + 8]).view("<u8")[:, 0]
        first, last = layout.part
        if first < last:
            self.parts[index] = [hash(values[n][first:last]) for n in places]
        self.rows[index] = layout.rows
        self.signals[index] = layout.signals
        first, last = layout.samples
        self.blocks.append((index, np.ascontiguousarray(table[:, first:last]).view("<f4")))

    def batch(self) -> FrameBatch:
        """All of it."""
        n = len(self.sources)
        if self.invalid:
            index = np.setdiff1d(np.arange(n), np.fromiter(self.invalid, np.int64, len(self.invalid)))
            sources = [self.sources[k] for k in index.tolist()]
        else:
            index, sources = np.arange(n), self.sources
        return FrameBatch(
            index,
            sources,
            self.sequences[index],
            self.parts[index],
            self.rows[index],
            self.signals[index],
            self.good[index],
            self._samples(index),
            self.invalid,
        )

    def _samples(self, index: Ints) -> NDArray[np.float32]:
        """The blocks, as [frame, values of a frame], brought into the order of the frames."""
        if len(self.blocks) == 1:
            return self.blocks[0][1].reshape(-1)
        sizes = (self.rows * self.signals)[index]
        if len(sizes) and (sizes == sizes[0]).all():
            at = np.empty(len(self.sources), np.int64)
            at[index] = np.arange(len(index))
            together = np.empty((len(index), int(sizes[0])), np.float32)
            for places, block in self.blocks:
                together[at[places]] = block
            return together.reshape(-1)
        by_frame: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(self.sources)
        for places, block in self.blocks:
            for n, row in zip(places.tolist(), block, strict=True):
                by_frame[n] = row
        return np.concatenate([np.empty(0, np.float32), *(by_frame[n] for n in index.tolist())])


def _layout(value: bytes) -> _Layout | None:
    """The layout of a frame; `None` when it has none that others could share."""
    try:
        frame: Frame = decode_frame(value)
    except InvalidFrame:
        return None
    spans: dict[int, tuple[int, int]] = {}
    previous = 0
    for number, start, end in _fields(value):
        if number <= previous or number not in _FIELD:
            return None  # repeated, unknown or in another order: left to Protobuf
        spans[number] = (start, end)
        previous = number
    if frame.bad is not None or frame.offsets_ns is not None:
        return None
    varying = np.zeros(len(value), np.bool_)
    text = np.zeros(len(value), np.bool_)
    for number in _VARIABLE:
        start, end = spans.get(number, (0, 0))
        varying[start:end] = True
        text[start:end] = number in _TEXT
    constant = np.flatnonzero(~varying)
    return _Layout(
        length=len(value),
        constant=constant,
        bytes=np.frombuffer(value, np.uint8)[constant],
        text=np.flatnonzero(text),
        source=spans[_SIGNAL_SET][1],
        sequence=spans.get(_SEQUENCE, (0, 0))[0],
        part=spans.get(_PART_ID, (0, 0)),
        samples=spans[_SAMPLES],
        rows=frame.samples.shape[0],
        signals=frame.samples.shape[1],
    )


def _fields(value: bytes) -> Iterator[tuple[int, int, int]]:
    """The number of each field of a valid message, and where its content begins and ends."""
    at = 0
    while at < len(value):
        tag, at = _varint(value, at)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(value, at)
            end = at + size
        elif kind == _FIXED64:
            end = at + 8
        elif kind == _VARINT:
            _, end = _varint(value, at)
        else:
            end = at + 4
        yield tag >> 3, at, end
        at = end


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    number = shift = 0
    while True:
        byte = value[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
