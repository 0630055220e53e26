"""Records of one partition that no file holds yet, and when they are due to be written. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class Record(Protocol):
    """What is kept of a Kafka record. `timestamp` is in milliseconds since 1970."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """A file is rolled when the first of these is reached; `records` is never exceeded, `size_bytes` by at
    most one poll."""

    records: int
    size_bytes: int
    age: timedelta


class Buffer:
    """What has been read of a partition since its last file.

    `begin` is where reading began or the last file ended: every record from there on is here. Offsets may
    have holes (transaction markers, aborted records), but they only rise.
    """

    def __init__(self, begin: int, limits: Limits) -> None:
        self.begin = begin
        self._limits = limits
        self._records: list[Record] = []
        self._size_bytes = 0
        self._since: datetime | None = None

    def __len__(self) -> int:
        return len(self._records)

    @property
    def next_offset(self) -> int:
        """The offset after the last record that is here or in a file."""
        return self._records[-1].offset + 1 if self._records else self.begin

    def add(self, records: Sequence[Record], now: datetime) -> int:
        """Take records in order of offset; returns how many it had already and passed over."""
        repeated = 0
        for record in records:
            if record.offset < self.next_offset:
                repeated += 1
                continue
            self._records.append(record)
            self._size_bytes += len(record.value or b"") + len(record.key or b"")
            self._since = self._since or now
        return repeated

    def due(self, now: datetime) -> bool:
        """Whether a file must be written now."""
        return self._since is not None and (
            len(self._records) >= self._limits.records
            or self._size_bytes >= self._limits.size_bytes
            or now - self._since >= self._limits.age
        )

    def file(self) -> Sequence[Record]:
        """The records of the next file, oldest first: at most `limits.records`; empty when none is here."""
        return self._records[: self._limits.records]

    def written(self, through: int, now: datetime) -> None:
        """Everything up to and including offset `through` is in files: forget it."""
        self._records = [record for record in self._records if record.offset > through]
        self._size_bytes = sum(len(one.value or b"") + len(one.key or b"") for one in self._records)
        self._since = now if self._records else None
        self.begin = max(self.begin, through + 1)
