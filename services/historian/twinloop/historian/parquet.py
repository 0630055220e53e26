"""Parquet files on a file system: written aside, synced, renamed; one writer of a partition at a time.

A file appears whole or not at all, and the check that its records are in no other file is made under the
partition's lock, together with the rename. So a member that lost its partition without noticing (a long
pause, a network split) cannot repeat what the new owner has written. The folder must be on a file system
with `flock` and atomic rename (local disks, NFS 4), shared by all members.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from twinloop.contracts.topics import Format
from twinloop.historian import naming
from twinloop.historian.buffers import Record
from twinloop.historian.errors import Unwritable
from twinloop.historian.naming import Span
from twinloop.historian.tables import table


@dataclass(frozen=True, slots=True)
class Written:
    """What became of records that were to be written, all of which are now in files.

    `span` is `None` when another member had written every one of them; `elsewhere` counts those.
    """

    through: int
    span: Span | None
    records: int = 0
    size_bytes: int = 0
    undecodable: int = 0
    elsewhere: int = 0


class ParquetFolder:
    """The files of every partition under one folder. Calls block; each may come from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recover(self, topic: str, partition: int) -> int:
        """Clear what a writer left half done, and return where reading must resume. Raises `Unwritable`."""
        home = naming.partition_folder(self._folder, topic, partition)
        with _writing(home):
            for entry in home.iterdir():
                if entry.name.endswith(naming.ASIDE):
                    entry.unlink()
            return naming.next_offset(entry.name for entry in home.iterdir())

    def write(self, topic: str, partition: int, form: Format, records: Sequence[Record]) -> Written:
        """Write `records` (at least one, by rising offset) as one file, save those that are in files already.

        When this returns they survive a power cut. Raises `Unwritable`; then no file has appeared.
        """
        home = naming.partition_folder(self._folder, topic, partition)
        through = records[-1].offset
        with _writing(home):
            resume = naming.next_offset(entry.name for entry in home.iterdir())
            ours = [record for record in records if record.offset >= resume]
            elsewhere = len(records) - len(ours)
            if not ours:
                return Written(through, None, elsewhere=elsewhere)
            span = Span(ours[0].offset, ours[-1].offset)
            rows, undecodable = table(form, ours)
            aside = home / naming.aside_name(span)
            with aside.open("wb") as file:
                pq.write_table(rows, file, compression="zstd", compression_level=1)
                file.flush()
                os.fsync(file.fileno())
                size_bytes = file.tell()
            aside.rename(home / naming.file_name(span))
            _sync(home)
            return Written(through, span, len(ours), size_bytes, undecodable, elsewhere)


@contextlib.contextmanager
def _writing(home: Path) -> Iterator[None]:
    """The partition's folder, made where it is missing, for the one writer that may change it now."""
    try:
        if not home.is_dir():
            home.mkdir(parents=True, exist_ok=True)
            _sync(home.parent)
        with (home / naming.LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise Unwritable(f"{home}: {error}") from error


def _sync(folder: Path) -> None:
    """Make renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
