"""Where a record's file lies, and what file names say about the partition. Pure.

    <folder>/<topic>/<partition>/<first offset>-<last offset>.parquet

The names are the record of what is kept: reading resumes after the highest last offset, so neither a lost
nor a repeated Kafka commit can lose or repeat a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DIGITS = 20
SUFFIX = ".parquet"
ASIDE = ".writing"
"""How the names of files that are being written end: no pattern for Parquet files matches them."""

LOCK = ".lock"

_NAME = re.compile(rf"(\d{{{DIGITS}}})-(\d{{{DIGITS}}}){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Offsets of a file's first and last record, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"no span of offsets: {self.first}-{self.last}")


def partition_folder(folder: Path, topic: str, partition: int) -> Path:
    """The folder of one partition; `topic` is the name on the cluster, with its prefix."""
    return folder / topic / str(partition)


def file_name(span: Span) -> str:
    """The name of the file that holds the records of `span`; names sort like their offsets."""
    return f"{span.first:0{DIGITS}}-{span.last:0{DIGITS}}{SUFFIX}"


def aside_name(span: Span) -> str:
    """The name under which the file of `span` is written before it is renamed."""
    return f".{file_name(span)}{ASIDE}"


def span_of(name: str) -> Span | None:
    """What a file name says; `None` for a name that is not one of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2])
    return Span(first, last) if first <= last else None


def next_offset(names: Iterable[str]) -> int:
    """Where reading resumes: after the highest last offset among the files, 0 when there is none."""
    return max((span.last + 1 for name in names if (span := span_of(name)) is not None), default=0)
