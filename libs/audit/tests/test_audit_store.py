"""The store: on the disk before it returns, continued after every death, refused once it is not its own."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinloop.audit.chain import Act, Head, Problem, entry_of, line_of
from twinloop.audit.errors import AuditAway, ChainBroken
from twinloop.audit.kept import Kept, keep, kept_of
from twinloop.audit.store import AuditStore, verify_file, whole_lines
from twinloop.contracts.audit import AuditEntry
from twinloop.runtime.clock import ManualClock

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
CLOCK = ManualClock(AT)


def act(number: int, reason: str = "") -> Act:
    return Act(at=AT, asset="weld1", who="line", what="issued", new=f"{number} W", reason=reason)


def opened(path: Path, after: Head | None = None) -> AuditStore:
    return AuditStore.open(path, "line", clock=CLOCK, after=after)


def entries_of(path: Path) -> list[AuditEntry]:
    return [entry_of(line) for line in whole_lines(path)[0]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "line.jsonl"


def test_a_chain_goes_on_after_a_restart(path: Path) -> None:
    written = []
    for start in (1, 4, 7):
        with opened(path) as store:
            written += store.append_all([act(start), act(start + 1)])
            written.append(store.append(act(start + 2)))
    assert entries_of(path) == written
    assert [one.number for one in written] == list(range(1, 10))
    assert verify_file(path) == []
    assert path.stat().st_mode & 0o077 == 0, "only its owner may read it"


def test_an_entry_longer_than_the_tail_that_is_read_is_continued(path: Path) -> None:
    with opened(path) as store:
        store.append(act(1))
        store.append(act(2, "long " * 100_000))
    with opened(path) as store:
        assert store.append(act(3)).number == 3
    assert verify_file(path) == []


def test_there_is_one_writer(path: Path) -> None:
    with opened(path):
        with pytest.raises(AuditAway, match="another process"):
            opened(path)
    opened(path).close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0), st.binary(max_size=3))
def test_a_torn_last_line_is_cut_and_the_cut_is_told(tmp_path: Path, place: int, more: bytes) -> None:
    path = tmp_path / "line.jsonl"
    path.unlink(missing_ok=True)
    with opened(path) as store:
        store.append_all([act(1), act(2)])
    whole = path.read_bytes()
    torn = line_of(entries_of(path)[1])[:-1]
    torn = torn[: place % len(torn)] + more.replace(b"\n", b"")
    path.write_bytes(whole + torn)
    if torn:
        (finding,) = verify_file(path)
        assert (finding.line, finding.problem) == (3, Problem.CUT)
    with opened(path) as store:
        store.append(act(3))
    assert verify_file(path) == []
    entries = entries_of(path)
    assert [one.what for one in entries] == ["issued", "issued", *(["cut"] if torn else []), "issued"]
    if torn:
        assert f"{len(torn)} bytes" in entries[2].reason


def test_a_line_that_lacks_only_its_end_is_finished(path: Path) -> None:
    with opened(path) as store:
        store.append_all([act(1), act(2)])
    path.write_bytes(path.read_bytes()[:-1])
    with opened(path) as store:
        store.append(act(3))
    assert verify_file(path) == []
    assert [one.new for one in entries_of(path)] == ["1 W", "2 W", "3 W"]


def test_a_whole_line_that_is_wrong_is_never_mended(path: Path) -> None:
    with opened(path) as store:
        store.append_all([act(1), act(2)])
    changed = path.read_bytes().replace(b"2 W", b"9 W")
    path.write_bytes(changed)
    with pytest.raises(ChainBroken, match="its digest is not that of its content"):
        opened(path)
    path.write_bytes(changed + b"half a line")
    with pytest.raises(ChainBroken):
        opened(path)
    assert path.read_bytes() == changed + b"half a line"


def test_another_chains_file_is_not_continued(path: Path) -> None:
    path.parent.mkdir()
    with AuditStore.open(path, "twin", clock=CLOCK) as store:
        store.append(act(1))
    with pytest.raises(ChainBroken, match="belongs to chain 'twin'"):
        opened(path)


def test_a_file_that_lacks_what_has_a_copy_is_not_continued(path: Path) -> None:
    with opened(path) as store:
        (first, second) = store.append_all([act(1), act(2)])
    size = path.stat().st_size
    keep(path, Kept(size, second.number, second.digest))
    opened(path).close()
    whole = path.read_bytes()
    for cut in (whole[: len(line_of(first))], b""):
        path.write_bytes(cut)
        with pytest.raises(ChainBroken, match="of which there is a copy"):
            opened(path)
    path.unlink()
    with AuditStore.open(path.with_name("other.jsonl"), "line", clock=CLOCK) as store:
        store.append_all([act(8), act(9)])
    path.with_name("other.jsonl").rename(path)
    assert path.stat().st_size == size
    with pytest.raises(ChainBroken, match="of which there is a copy"):
        opened(path)
    path.write_bytes(whole)
    path.with_name("line.jsonl.kept").write_text("no position")
    assert kept_of(path) is None
    opened(path).close()


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def remove_file(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    aside = path.with_name("aside")
    aside.write_bytes(path.read_bytes())
    aside.replace(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 10)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def write(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"noise\n")


@pytest.mark.parametrize("done", [remove_folder, remove_file, replace, cut, empty, write])
def test_what_is_done_to_the_file_beneath_is_noticed(path: Path, done: object) -> None:
    assert callable(done)
    store = opened(path)
    store.append_all([act(1), act(2)])
    done(path)
    with pytest.raises(AuditAway, match=r"is away|was replaced|was written by others"):
        store.append(act(3))
    with pytest.raises(AuditAway, match="closed"):
        store.append(act(3))
    if done is replace:  # the same content in another file: the chain can go on
        opened(path, store.head).close()
    else:
        with pytest.raises(AuditAway, match=r"cannot be opened|does not have|cannot be continued"):
            opened(path, store.head)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """What a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_half_written(path: Path) -> None:
    store = opened(path)
    store.append(act(1))
    before = path.read_bytes()
    with files_no_longer_than(len(before) + 100):
        with pytest.raises(AuditAway, match="File too large"):
            store.append_all([act(2), act(3, "long " * 100)])
    assert path.read_bytes() == before
    with opened(path, store.head) as store:
        assert store.append(act(4)).number == 2
    assert verify_file(path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditAway, match="cannot be opened"):
        opened(tmp_path / "file" / "line.jsonl")


def test_whole_lines_are_read_however_little_is_asked_for(path: Path) -> None:
    with opened(path) as store:
        entries = store.append_all([act(1), act(2), act(3)])
        lines = [line_of(one) for one in entries]
        assert store.read(0, 1) == lines[0]
        assert store.read(len(lines[0]), len(lines[1]) + 1) == lines[1] + lines[2]
        assert store.read(0, 1_000_000) == b"".join(lines)
        assert store.read(store.size, 10) == b""


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from twinloop.audit.chain import Act
from twinloop.audit.store import AuditStore

at, size = datetime(2025, 3, 1, tzinfo=UTC), int(sys.argv[2])
store = AuditStore.open(Path(sys.argv[1]), "line")
for number in range(100_000):
    entry = store.append(Act(at=at, asset="weld1", who="line", what="issued", reason="x" * size))
    sys.stdout.write(f"{entry.number} {entry.digest}\\n")
    sys.stdout.flush()
"""


def test_a_killed_writer_loses_nothing_it_acknowledged(path: Path) -> None:
    """Long entries, so that some are torn: the kernel stops a write between two pages."""
    dice = random.Random(5)
    acknowledged: dict[int, str] = {}
    for turn in range(16):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(4_000_000 if turn % 2 else 200)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randrange(1, 4)):
                number, digest = writer.stdout.readline().split()
                acknowledged[int(number)] = digest
            for _ in range(dice.randrange(1_000_000)):
                pass  # somewhere within the next append
            os.kill(writer.pid, signal.SIGKILL)
            for line in writer.stdout.read().splitlines():
                number, digest = line.split()
                acknowledged[int(number)] = digest
        assert all(one.problem is Problem.CUT for one in verify_file(path))
        with opened(path) as store:
            assert store.head.number >= max(acknowledged)
        assert verify_file(path) == []
    kept = {one.number: one.digest for one in entries_of(path)}
    assert acknowledged.items() <= kept.items()
    assert len(acknowledged) >= 16
