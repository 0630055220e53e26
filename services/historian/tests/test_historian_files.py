"""Names, buffers, tables and files: no record is lost or repeated, whatever writers do to each other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinloop.contracts import codec, ids, topics
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.topics import Format
from twinloop.historian import naming
from twinloop.historian.buffers import Buffer, Limits
from twinloop.historian.errors import Unwritable
from twinloop.historian.naming import Span, aside_name, file_name, next_offset, span_of
from twinloop.historian.parquet import ParquetFolder
from twinloop.historian.tables import EVENTS, TELEMETRY, table

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOPIC = "x-anomalies"


@dataclass(frozen=True)
class Kept:
    offset: int
    value: bytes | None
    key: bytes | None = b"k"
    timestamp: int = 1_767_323_045_000


def records(first: int, last: int) -> list[Kept]:
    return [Kept(offset, msgspec.json.encode({"event_id": str(offset)})) for offset in range(first, last + 1)]


def offsets_in(home: Path) -> list[int]:
    files = sorted(one for one in home.iterdir() if one.suffix == naming.SUFFIX)
    return [offset for one in files for offset in pq.read_table(one)["offset"].to_pylist()]


# -- names ----------------------------------------------------------------------------------------------


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_name_tells_its_span_and_sorts_by_offset(a: int, b: int) -> None:
    span = Span(min(a, b), max(a, b))
    assert span_of(file_name(span)) == span
    assert (file_name(span) < file_name(Span(a, a))) == (span < Span(a, a))
    assert len(file_name(span)) == 20 + 1 + 20 + len(".parquet")


@pytest.mark.parametrize(
    "name",
    [".lock", "readme.txt", aside_name(Span(0, 9)), "9-3.parquet", f"{9:020d}-{3:020d}.parquet"],
)
def test_other_names_say_nothing(name: str) -> None:
    assert span_of(name) is None
    assert next_offset([name]) == 0


def test_reading_resumes_after_the_highest_last_offset() -> None:
    assert next_offset([]) == 0
    assert next_offset([file_name(Span(0, 4)), file_name(Span(7, 12)), file_name(Span(5, 6))]) == 13


# -- buffers --------------------------------------------------------------------------------------------


def test_each_limit_makes_a_file_due() -> None:
    limits = Limits(records=3, size_bytes=100, age=timedelta(seconds=5))
    buffer = Buffer(0, limits)
    assert not buffer.due(AT + timedelta(days=1)), "nothing is never due"
    buffer.add([Kept(0, b""), Kept(1, b"")], AT)
    assert not buffer.due(AT + timedelta(seconds=4.9))
    assert buffer.due(AT + timedelta(seconds=5))
    buffer.add([Kept(2, b"")], AT)
    assert buffer.due(AT)
    large = Buffer(0, limits)
    large.add([Kept(0, b"x" * 99, key=b"k")], AT)
    assert large.due(AT)


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, 20))
def test_a_buffer_keeps_each_offset_once_from_its_beginning_on(offsets: list[int], begin: int) -> None:
    buffer = Buffer(begin, Limits(1000, 1 << 30, timedelta(seconds=1)))
    arriving = [Kept(offset, b"") for offset in offsets]
    repeated = buffer.add(arriving, AT)
    kept = [record.offset for record in buffer.file()]
    assert kept == sorted(set(kept))
    assert all(offset >= begin for offset in kept)
    assert len(kept) + repeated == len(offsets)
    if offsets and max(offsets) >= begin:
        assert buffer.next_offset == max(offsets) + 1


def test_a_file_never_holds_more_than_the_limit_and_the_rest_stays() -> None:
    buffer = Buffer(0, Limits(4, 1 << 30, timedelta(seconds=9)))
    buffer.add(records(0, 9), AT)
    assert [one.offset for one in buffer.file()] == [0, 1, 2, 3]
    buffer.written(3, AT)
    assert (buffer.begin, buffer.next_offset, len(buffer)) == (4, 10, 6)
    buffer.written(9, AT)
    assert not buffer.due(AT + timedelta(days=1))


# -- tables ---------------------------------------------------------------------------------------------


def frame(**changes: object) -> Frame:
    values: dict[str, object] = {
        "asset": "acme.berlin.packs.line1.weld1",
        "signal_set": "weld.v1",
        "sequence": 2**64 - 1,
        "first_at_ns": 2**63 + 5,
        "period_ns": 1_000_000,
        "samples": np.arange(12, dtype=np.float32).reshape(6, 2),
        "observed_at_ns": 7,
        "event_id": "e",
        "trace_id": "t",
        "part_id": "p",
    }
    return Frame(**(values | changes))  # type: ignore[arg-type]


def test_a_frame_comes_back_from_its_row() -> None:
    bad = np.zeros((6, 2), np.bool_)
    bad[3, 1] = True
    sent = frame(bad=bad, offsets_ns=np.arange(6, dtype=np.uint64), period_ns=0)
    rows, undecodable = table(
        Format.PROTOBUF, [Kept(41, encode_frame(sent)), Kept(42, encode_frame(frame()))]
    )
    assert rows.schema == TELEMETRY
    assert undecodable == 0
    one, other = rows.to_pylist()
    assert (one["offset"], one["sequence"], one["first_at_ns"]) == (41, sent.sequence, sent.first_at_ns)
    samples = np.frombuffer(one["samples"], "<f4").reshape(-1, one["signal_count"])
    np.testing.assert_array_equal(samples, sent.samples)
    bits = np.unpackbits(np.frombuffer(one["bad"], np.uint8), count=12).reshape(6, 2)
    np.testing.assert_array_equal(bits.astype(np.bool_), bad)
    np.testing.assert_array_equal(np.frombuffer(one["offsets_ns"], "<u8"), np.arange(6))
    assert other["bad"] is None
    assert other["offsets_ns"] is None
    assert other["raw"] is None


@pytest.mark.parametrize("value", [b"\xff\xff no frame", b"", None])
def test_what_is_no_frame_keeps_its_bytes(value: bytes | None) -> None:
    rows, undecodable = table(Format.PROTOBUF, [Kept(5, value), Kept(6, encode_frame(frame()))])
    assert undecodable == 1
    assert rows["raw"].to_pylist() == [value or b"", None]
    assert rows["offset"].to_pylist() == [5, 6]


def test_an_event_is_kept_as_text_with_its_head() -> None:
    joint = JointWelded(
        event_id=ids.event_id("joint", 1),
        asset="a.b",
        at=AT,
        observed_at=AT,
        trace_id="t",
        part_id="p1",
        sequence=1,
        recipe="r",
        resistance_uohm=42.0,
        power_w=1000.0,
        focus_mm=0.0,
    )
    sent = codec.message(topics.GENEALOGY, joint, source="ingest")
    rows, undecodable = table(Format.JSON, [Kept(1, sent.value, sent.key), Kept(2, b"{half", b"\xff")])
    assert rows.schema == EVENTS
    assert undecodable == 1
    one, other = rows.to_pylist()
    assert (one["type"], one["event_id"], one["asset"]) == ("joint_welded", joint.event_id, "a.b")
    assert codec.decode(topics.GENEALOGY, one["value"].encode()) == joint
    assert (other["raw"], other["value"], other["key"]) == (b"{half", None, "\\xff")


# -- files ----------------------------------------------------------------------------------------------


def test_a_file_appears_under_its_name_and_reading_resumes_after_it(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    assert folder.recover(TOPIC, 3) == 0
    written = folder.write(TOPIC, 3, Format.JSON, records(5, 9))
    assert written.span == Span(5, 9)
    home = tmp_path / TOPIC / "3"
    assert offsets_in(home) == [5, 6, 7, 8, 9]
    assert sorted(one.name for one in home.iterdir()) == [".lock", file_name(Span(5, 9))]
    assert written.size_bytes == (home / file_name(Span(5, 9))).stat().st_size
    assert ParquetFolder(tmp_path).recover(TOPIC, 3) == 10


def test_leftovers_of_a_dead_writer_are_cleared(tmp_path: Path) -> None:
    folder = ParquetFolder(tmp_path)
    folder.write(TOPIC, 0, Format.JSON, records(0, 4))
    home = tmp_path / TOPIC / "0"
    half = home / aside_name(Span(5, 9))
    half.write_bytes(b"PAR1 half")
    assert folder.recover(TOPIC, 0) == 5
    assert not half.exists()


@settings(max_examples=30)  # each example syncs its files to the disk
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 7)), min_size=1, max_size=12))
def test_two_members_that_both_believe_to_own_a_partition_repeat_nothing(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, int]]
) -> None:
    """Each member reads on from where it stands and writes; a lost member has stood still for a while."""
    tmp_path = tmp_path_factory.mktemp("two")
    folder = ParquetFolder(tmp_path)
    stands = [0, 0]
    for member, count in moves:
        first = stands[member]
        folder.write(TOPIC, 0, Format.JSON, records(first, first + count - 1))
        stands[member] += count
    assert offsets_in(tmp_path / TOPIC / "0") == list(range(max(stands)))


WRITER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from twinloop.contracts.topics import Format
from twinloop.historian.parquet import ParquetFolder

folder, topic, width = ParquetFolder(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for first in range(0, 120, width):
    offsets = range(first, first + width)
    records = [SimpleNamespace(offset=one, timestamp=0, key=None, value=b"{}") for one in offsets]
    folder.write(topic, 0, Format.JSON, records)
"""


def test_two_processes_at_once_repeat_nothing(tmp_path: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), TOPIC, width]) for width in ("5", "8")
    ]
    assert [one.wait(60) for one in both] == [0, 0]
    assert offsets_in(tmp_path / TOPIC / "0") == list(range(120))


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / TOPIC).write_bytes(b"in the way")
    folder = ParquetFolder(tmp_path)
    with pytest.raises(Unwritable, match=TOPIC):
        folder.write(TOPIC, 0, Format.JSON, records(0, 1))
    (tmp_path / TOPIC).unlink()
    assert folder.write(TOPIC, 0, Format.JSON, records(0, 1)).span == Span(0, 1)
