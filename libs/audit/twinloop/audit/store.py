"""One file, one writer: each entry is on the disk before anybody acts on it.

    <folder>/<chain>.jsonl       an entry a line, only ever appended to
    <folder>/<chain>.jsonl.kept  how far the topic `audit` has it

What a writer that died left unfinished is cut when the next one opens the file, and the cut is an entry.
Nothing else is ever mended: what was changed by others stays as it is and is named.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from twinloop.audit.chain import Act, Finding, Head, Problem, chained, entry_of, line_of, verify
from twinloop.audit.errors import AuditAway, ChainBroken
from twinloop.audit.kept import kept_of
from twinloop.audit.lines import TAIL_BYTES, ends_at, is_in, lines_between
from twinloop.contracts.audit import AuditEntry
from twinloop.runtime.clock import Clock, SystemClock

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a chain may be called: its name is that of a file and the key of its copies."""
_SHOWN: Final = 400


class AuditStore:
    """The one writer of a file. Not for two threads at once. Use `open`."""

    def __init__(self, path: Path, chain: str, handle: int, clock: Clock) -> None:
        self.path = path
        self.chain = chain
        self.head = Head()
        self.size = 0
        """Bytes of whole entries: all of them are on the disk."""
        self._handle = handle
        self._clock = clock
        self._usable = True

    @classmethod
    def open(cls, path: Path, chain: str, *, clock: Clock | None = None, after: Head | None = None) -> Self:
        """Continue the chain in `path`, or begin it. The caller closes.

        `after`: an entry that must be in it, which this process wrote before it lost the store; then nothing
        is created. Raises `AuditAway` when it cannot be written or another process writes it, `ChainBroken`
        when its end is not that of this chain.
        """
        if not NAME.fullmatch(chain):
            raise ValueError(f"{chain!r} is no name of a chain: small letters, digits, '.', '_' and '-'")
        try:
            handle = _opened(path, create=after is None)
        except OSError as error:
            raise AuditAway(f"{path} cannot be opened: {error.strerror}") from error
        store = cls(path, chain, handle, clock or SystemClock())
        try:
            store._continue(after)
        except OSError as error:
            store.close()
            raise AuditAway(f"{path} cannot be read: {error.strerror}") from error
        except BaseException:
            store.close()
            raise
        return store

    def append(self, act: Act) -> AuditEntry:
        """Write one entry; it is on the disk when this returns. Raises `AuditAway`."""
        return self.append_all([act])[0]

    def append_all(self, acts: Sequence[Act]) -> list[AuditEntry]:
        """Write several with one fsync: all of them, or none and `AuditAway`. Then the store is closed."""
        entries, head = [], self.head
        for act in acts:
            entry = chained(act, self.chain, head)
            head = Head(entry.number, entry.digest)
            entries.append(entry)
        data = b"".join(map(line_of, entries))
        try:
            self.check()
            self._write(data)
        except OSError as error:
            self.close()
            raise AuditAway(f"{self.path} cannot be written: {error.strerror}") from error
        except AuditAway:
            self.close()
            raise
        self.head = head
        self.size += len(data)
        return entries

    def check(self) -> None:
        """Raises `AuditAway` when the file is not the one that this store has written, or not of its size."""
        if not self._usable:
            raise AuditAway(f"{self.path} is closed")
        try:
            there = self.path.stat()
        except OSError as error:
            raise AuditAway(f"{self.path} is away: {error.strerror}") from error
        ours = os.fstat(self._handle)
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise AuditAway(f"{self.path} was replaced by another file")
        if ours.st_size != self.size:
            raise AuditAway(
                f"{self.path} was written by others: it has {ours.st_size} bytes, not {self.size}"
            )

    def read(self, offset: int, at_most: int) -> bytes:
        """Whole lines from `offset` on, at least one if there is one. Safe while others append."""
        return lines_between(self.path, offset, self.size, at_most)

    def close(self) -> None:
        """Let others write it. Harmless when it is closed."""
        if self._usable:
            self._usable = False
            os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _continue(self, after: Head | None) -> None:
        """Find the head, mend a torn last line, and see that nothing was taken from the end."""
        size = os.fstat(self._handle).st_size
        tail, start = self._tail(size)
        whole, torn = tail[: tail.rfind(b"\n") + 1], tail[tail.rfind(b"\n") + 1 :]
        lines = whole.split(b"\n")[:-1]
        if findings := verify(lines, self.chain, whole=start == 0):
            raise ChainBroken(f"{self.path} cannot be continued: near its end, {_said(findings)}")
        if lines:
            last = entry_of(lines[-1])
            self.head = Head(last.number, last.digest)
        self.size = size - len(torn)
        self._nothing_lost(after)
        if torn:
            self._mend(torn)
        else:
            os.fsync(self._handle)

    def _nothing_lost(self, after: Head | None) -> None:
        kept = kept_of(self.path)
        if kept is not None and not (
            kept.offset <= self.size and ends_at(self.path, kept.offset, Head(kept.number, kept.digest))
        ):
            raise ChainBroken(
                f"{self.path} does not have the entry number {kept.number}, of which there is a copy: "
                "it was cut or replaced"
            )
        if after is not None and after.number and not is_in(self.path, after):
            raise ChainBroken(
                f"{self.path} does not have the entry number {after.number}, which was written to it"
            )

    def _mend(self, torn: bytes) -> None:
        """Finish a line that only lacks its end, else cut it; say so in the store."""
        with contextlib.suppress(ValueError):
            entry = entry_of(torn)
            if (entry.chain, entry.number, entry.previous) == (
                self.chain,
                self.head.number + 1,
                self.head.digest,
            ):
                self.size += len(torn)
                self._write(b"\n")
                self.size += 1
                self.head = Head(entry.number, entry.digest)
                return
        os.ftruncate(self._handle, self.size)
        os.fsync(self._handle)
        shown = torn[:_SHOWN].decode("utf-8", "backslashreplace")
        self.append(
            Act(
                at=self._clock.now(),
                asset="",
                who=self.chain,
                what="cut",
                old=shown,
                reason=f"{len(torn)} bytes at the end were no whole entry: the writer died while writing",
            )
        )

    def _write(self, data: bytes) -> None:
        """All of it and on the disk, or as little as possible and `OSError`."""
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(self._handle, left) :]
            os.fsync(self._handle)
        except OSError:
            with contextlib.suppress(OSError):  # what was not acknowledged should not be there
                os.ftruncate(self._handle, self.size)
                os.fsync(self._handle)
            raise

    def _tail(self, size: int) -> tuple[bytes, int]:
        """The end of the file from the beginning of a line on, and where that is. At least one whole line."""
        length = TAIL_BYTES
        while True:
            start = max(0, size - length)
            data = os.pread(self._handle, size - start, start)
            cut = 0 if start == 0 else data.find(b"\n") + 1
            if start == 0 or b"\n" in data[cut:]:
                return data[cut:], start + cut
            length *= 4


def verify_file(path: Path, chain: str | None = None) -> list[Finding]:
    """What is wrong with the file of a chain. Raises `OSError` when it cannot be read.

    By default the chain is the one that the file is named after. A last line without a line feed is a finding
    unless it is finished while this reads: then a living writer was at it.
    """
    chain = chain if chain is not None else path.name.removesuffix(".jsonl")
    lines, torn = whole_lines(path)
    findings = verify(lines, chain)
    if torn:
        _, again = whole_lines(path)
        if again == torn:
            text = "it is not whole: its writer died while writing it, or it was cut"
            findings.append(Finding(len(lines) + 1, Problem.CUT, text))
    return findings


def whole_lines(path: Path) -> tuple[list[bytes], bytes]:
    """The lines of a file without their line feeds, and what stands behind the last one."""
    *lines, torn = path.read_bytes().split(b"\n")
    return lines, torn


def _opened(path: Path, *, create: bool) -> int:
    """A locked handle on the file that now has that name."""
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    handle = os.open(path, flags, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AuditAway(f"{path} is written by another process: each needs a store of its own") from None
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the name of a new file must outlive a loss of power, too
        finally:
            os.close(folder)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _said(findings: Sequence[Finding]) -> str:
    first = findings[0]
    return f"a line is wrong ({first.problem}): {first.text}"
