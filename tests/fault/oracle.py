"""What must come of an input topic: a plain sequential re-computation of docs/guarantees.md.

It shares no code with the detector: records one by one, lists of samples, `struct` and `hashlib`. Only the
wire formats are the same."""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

REORDERED_WITHIN = 32
LIMITED_OVER = 10_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The model that serves `signal_set`, and the detector's settings. `signals`: how many a frame has;
    `takes`: which of them the model is given, in its order; empty: all. `digest` is that of its file."""

    signal_set: str
    signals: int
    window: int
    hop: int
    threshold: float
    memory: int
    limit: int = 1000
    takes: tuple[int, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """An input record."""

    topic: str
    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True, slots=True, order=True)
class Judged:
    """A verdict, by what is known of it before any model is asked."""

    caused_by: str
    asset: str
    part_id: str
    sequence: int
    row: int
    score: float
    anomalous: bool
    model_digest: str
    input_digest: str


@dataclass(frozen=True, slots=True, order=True)
class Refused:
    """A dead letter."""

    source: str
    reason: str
    payload: bytes


@dataclass(slots=True)
class Expected:
    """What the output topics must hold. `halts`: where a partition stops, by partition, because too much of
    it was refused."""

    verdicts: Counter[Judged] = field(default_factory=Counter)
    anomalies: Counter[Judged] = field(default_factory=Counter)
    refused: Counter[Refused] = field(default_factory=Counter)
    duplicates: int = 0
    unrouted: int = 0
    halts: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Ring:
    """The samples of an asset that windows may still be made of: `rows[0]` is sample number `first`; with the
    offset of each one's frame. `part_at`: where the part began, while samples are counted from there."""

    first: int
    rows: deque[tuple[int, bytes]]
    next_sequence: int
    part_id: str
    last_offset: int
    part_at: int | None

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


class _Heard:
    """The sequence numbers of an asset, with the offsets at which they came."""

    def __init__(self) -> None:
        self.by_offset: deque[tuple[int, int]] = deque()

    def forget(self, before: int) -> None:
        while self.by_offset and self.by_offset[0][0] < before:
            self.by_offset.popleft()

    def highest(self) -> int | None:
        return max((sequence for _, sequence in self.by_offset), default=None)

    def has(self, sequence: int) -> bool:
        return any(one == sequence for _, one in self.by_offset)


def expect(given: Iterable[Given], rules: Rules, *, since: dict[int, int] | None = None) -> Expected:
    """The outputs of all records; with `since`, of those at or after an offset, by partition."""
    expected = Expected()
    by_partition: dict[int, list[Given]] = defaultdict(list)
    for one in given:
        by_partition[one.partition].append(one)
    for partition, records in by_partition.items():
        records.sort(key=lambda one: one.offset)
        _Partition(rules, expected, (since or {}).get(partition, 0)).read(records)
    return expected


class _Partition:
    def __init__(self, rules: Rules, expected: Expected, since: int) -> None:
        self._rules = rules
        self._expected = expected
        self._since = since
        self._heard: dict[tuple[str, str], _Heard] = defaultdict(_Heard)
        self._rings: dict[str, _Ring] = {}
        self._refused_at: deque[int] = deque()

    def read(self, records: list[Given]) -> None:
        for record in records:
            if not self._record(record):
                self._expected.halts[record.partition] = record.offset
                return

    def _record(self, record: Given) -> bool:
        """Whether the partition goes on."""
        if (reason := self._handle(record)) is None:
            return True
        at = self._refused_at
        at.append(record.offset)
        while at[0] <= record.offset - LIMITED_OVER:
            at.popleft()
        if len(at) > self._rules.limit:
            return False
        if record.offset >= self._since:
            source = f"{record.topic}/{record.partition}/{record.offset}"
            self._expected.refused[Refused(source, reason, record.value)] += 1
        return True

    def _handle(self, record: Given) -> str | None:
        """Why a record is refused, or `None`."""
        rules, expected = self._rules, self._expected
        frame = TelemetryFrame()
        try:
            frame.ParseFromString(record.value)
        except DecodeError:
            return "undecodable"
        if not frame.asset or not frame.signal_set:
            return "undecodable"
        if not frame.signal_count or not frame.samples or len(frame.samples) % (4 * frame.signal_count):
            return "wrong_signal_count"
        values = len(frame.samples) // 4
        if frame.bad and len(frame.bad) != (values + 7) // 8:
            return "undecodable"
        if frame.offsets_ns and len(frame.offsets_ns) != values // frame.signal_count:
            return "undecodable"

        heard = self._heard[frame.asset, frame.signal_set]
        heard.forget(record.offset - rules.memory)
        highest, known = heard.highest(), heard.has(frame.sequence)
        heard.by_offset.append((record.offset, frame.sequence))
        if highest is not None and frame.sequence <= highest:
            if known and frame.sequence > highest - REORDERED_WITHIN:
                expected.duplicates += 1
                return None
            return "out_of_order"
        if frame.signal_set != rules.signal_set:
            expected.unrouted += 1
            return None
        if frame.signal_count != rules.signals:
            return "wrong_signal_count"
        marked = [bool(frame.bad and frame.bad[n // 8] << n % 8 & 0x80) for n in range(values)]
        numbers = struct.unpack(f"<{values}f", frame.samples)
        if any(not math.isfinite(x) and not bad for x, bad in zip(numbers, marked, strict=True)):
            return "non_finite"
        if any(marked):
            self._rings.pop(frame.asset, None)
        else:
            self._windows(record, frame)
        return None

    def _windows(self, record: Given, frame: TelemetryFrame) -> None:
        rules = self._rules
        size = 4 * rules.signals
        takes = rules.takes or tuple(range(rules.signals))
        rows = [
            b"".join(frame.samples[at + 4 * k : at + 4 * k + 4] for k in takes)
            for at in range(0, len(frame.samples), size)
        ]
        ring = self._rings.get(frame.asset)
        if (
            ring is None
            or ring.next_sequence != frame.sequence
            or ring.part_id != frame.part_id
            or ring.last_offset < record.offset - rules.memory
        ):
            first = 0 if frame.part_id else frame.sequence * len(rows) % rules.hop
            part_at = record.offset if frame.part_id else None
            ring = self._rings[frame.asset] = _Ring(first, deque(), 0, frame.part_id, 0, part_at)
        elif ring.part_at is not None and ring.part_at < record.offset - rules.memory:
            first = frame.sequence * len(rows) % rules.hop
            ring = self._rings[frame.asset] = _Ring(first, deque(), 0, frame.part_id, 0, None)
        ring.next_sequence = frame.sequence + 1
        ring.last_offset = record.offset
        for n, row in enumerate(rows):
            ring.rows.append((record.offset, row))
            begin = ring.end - rules.window
            if begin >= ring.first and begin % rules.hop == 0:
                while ring.first < begin:
                    ring.rows.popleft()
                    ring.first += 1
                if record.offset >= self._since and ring.rows[0][0] >= record.offset - rules.memory:
                    self._judge(frame, n, b"".join(row for _, row in ring.rows))

    def _judge(self, frame: TelemetryFrame, row: int, window: bytes) -> None:
        values = struct.unpack(f"<{len(window) // 4}f", window)
        score = math.fsum(values) / len(values)
        judged = Judged(
            caused_by=frame.event_id,
            asset=frame.asset,
            part_id=frame.part_id,
            sequence=frame.sequence,
            row=row,
            score=score,
            anomalous=score > self._rules.threshold,
            model_digest=self._rules.digest,
            input_digest=hashlib.sha256(window).hexdigest(),
        )
        self._expected.verdicts[judged] += 1
        if judged.anomalous:
            self._expected.anomalies[judged] += 1
