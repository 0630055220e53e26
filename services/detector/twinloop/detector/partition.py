"""The state of one input partition: which frames were seen, and the windows that are still open. Pure.

records -> decode -> order -> route -> check -> windows of each lane -> windows of each route
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, InvalidFrame, decode_frame
from twinloop.contracts.models import ModelRoute
from twinloop.detector.routes import Lane, Routes
from twinloop.features.checks import all_finite, check_frame
from twinloop.features.columns import Columns
from twinloop.features.ordering import Order, SequenceGate
from twinloop.features.windows import WindowBuffer, Windows


class Record(Protocol):
    """What is used of a Kafka record."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """`N` windows to be judged by one route.

    `values` float32 [N, window, signals]; `frames` and `records` [N], the frame that completed each and the
    record that it came in; `rows` int64 [N], index of the window's last sample in that frame.
    """

    route: ModelRoute
    values: NDArray[np.float32]
    frames: Sequence[Frame]
    records: Sequence[Record]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, index: NDArray[np.intp], route: ModelRoute | None = None) -> Pending:
        """Some of the windows, by index."""
        places = index.tolist()
        return Pending(
            route or self.route,
            self.values[index],
            [self.frames[n] for n in places],
            [self.records[n] for n in places],
            self.rows[index],
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that no window may be made of, or no model can take."""

    record: Record
    reason: Reason
    detail: str


@dataclass(slots=True)
class Taken:
    """What came of a partition's records."""

    pending: list[Pending] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    duplicates: int = 0
    unrouted: int = 0


@dataclass(slots=True)
class _Arrivals:
    """Frames of one lane, in order, with the record of each and its route."""

    frames: list[Frame] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    routes: list[ModelRoute] = field(default_factory=list)

    def add(self, frame: Frame, record: Record, route: ModelRoute) -> None:
        """One more."""
        self.frames.append(frame)
        self.records.append(record)
        self.routes.append(route)


class Partition:
    """Frames with an offset below `emit_from` were judged before: they only fill the windows again."""

    def __init__(self, emit_from: int) -> None:
        self.emit_from = emit_from
        self._gate = SequenceGate()
        self._buffers: dict[Lane, WindowBuffer] = {}
        self._lane_of: dict[tuple[str, str], Lane] = {}
        self._revision = 0

    def take(self, records: Sequence[Record], routes: Routes) -> Taken:
        """Take records in the order of their offsets."""
        taken = Taken()
        if routes.revision != self._revision:
            self._reroute(routes)
        for lane, arrivals in self._sort(records, routes, taken).items():
            self._push(lane, arrivals, taken)
        if records and records[0].offset < self.emit_from:
            self._silence(taken)
        return taken

    def replay_from(self, position: int) -> int:
        """The offset from which a new owner must read so that it misses no window from `position` on."""
        open_since = [oldest for buffer in self._buffers.values() if (oldest := buffer.oldest()) is not None]
        return min(open_since, default=position)

    def _sort(self, records: Sequence[Record], routes: Routes, taken: Taken) -> dict[Lane, _Arrivals]:
        """The frames of each lane; what is none of them is refused or counted."""
        lanes: dict[Lane, _Arrivals] = {}
        for record in records:
            try:
                frame = decode_frame(record.value)
            except InvalidFrame as error:
                taken.refused.append(Refused(record, error.reason, error.detail))
                continue
            order = self._gate.check(frame.asset, frame.signal_set, frame.sequence)
            if order is Order.DUPLICATE:
                taken.duplicates += 1
                continue
            if order is Order.OUT_OF_ORDER:
                detail = f"sequence {frame.sequence} comes after a higher one"
                taken.refused.append(Refused(record, Reason.OUT_OF_ORDER, detail))
                continue
            served = routes.of(frame.asset, frame.signal_set)
            if served is None:
                taken.unrouted += 1
                continue
            signals = served.lane.spec.signals
            if frame.samples.shape[1] != len(signals) and (refusal := check_frame(frame, signals)):
                taken.refused.append(Refused(record, refusal.reason, refusal.detail))
                continue
            lanes.setdefault(served.lane, _Arrivals()).add(frame, record, served.route)
            self._lane_of[frame.asset, frame.signal_set] = served.lane
        return lanes

    def _push(self, lane: Lane, arrivals: _Arrivals, taken: Taken) -> None:
        columns = Columns.of(arrivals.frames)
        if not all_finite(columns):
            arrivals = _only_sound(lane, arrivals, taken)
            if not arrivals.frames:
                return
            columns = Columns.of(arrivals.frames)
        buffer = self._buffers.get(lane)
        if buffer is None:
            buffer = self._buffers[lane] = WindowBuffer(lane.spec)
        windows = buffer.push_columns(
            columns, np.array([record.offset for record in arrivals.records], np.int64)
        )
        if len(windows):
            taken.pending += _by_route(windows, arrivals)

    def _silence(self, taken: Taken) -> None:
        """Leave out what was published before this partition came here."""
        taken.refused = [one for one in taken.refused if one.record.offset >= self.emit_from]
        kept = []
        for one in taken.pending:
            new = np.flatnonzero(np.array([record.offset for record in one.records]) >= self.emit_from)
            if len(new):
                kept.append(one.select(new))
        taken.pending = kept

    def _reroute(self, routes: Routes) -> None:
        """Forget the open windows of assets that are cut differently now, or no longer served."""
        self._revision = routes.revision
        for (asset, signal_set), lane in list(self._lane_of.items()):
            served = routes.of(asset, signal_set)
            if served is None or served.lane is not lane:
                del self._lane_of[asset, signal_set]
                if lane in self._buffers:
                    self._buffers[lane].forget(asset)
        used = set(self._lane_of.values())
        self._buffers = {lane: buffer for lane, buffer in self._buffers.items() if lane in used}


def _by_route(windows: Windows, arrivals: _Arrivals) -> list[Pending]:
    """The windows of each route; nearly always there is one, and then nothing is copied."""
    frames = windows.frame.tolist()
    routes = [arrivals.routes[n] for n in frames]
    whole = Pending(
        routes[0],
        windows.values,
        [arrivals.frames[n] for n in frames],
        [arrivals.records[n] for n in frames],
        windows.row,
    )
    scopes = {id(route): route for route in routes}
    if len(scopes) == 1:
        return [whole]
    mark = np.array([id(route) for route in routes])
    return [whole.select(np.flatnonzero(mark == key), route) for key, route in scopes.items()]


def _only_sound(lane: Lane, arrivals: _Arrivals, taken: Taken) -> _Arrivals:
    """The arrivals without those that hold NaN or infinity where their quality bits say good."""
    sound = _Arrivals()
    for frame, record, route in zip(arrivals.frames, arrivals.records, arrivals.routes, strict=True):
        if (refusal := check_frame(frame, lane.spec.signals)) is None:
            sound.add(frame, record, route)
        else:
            taken.refused.append(Refused(record, refusal.reason, refusal.detail))
    return sound
