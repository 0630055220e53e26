"""What a stack has used and done at a moment, and the difference of two. The clock is the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Since the programs began: CPU seconds and resident bytes by program, bytes in Kafka's log by topic,
    bytes of Parquet, and every sample of every program's metrics, labels summed up, by `program:metric`."""

    at_s: float
    cpu_s: Mapping[str, float]
    rss: Mapping[str, int]
    log: Mapping[str, int]
    parquet: int
    counted: Mapping[str, float] = field(default_factory=dict)

    def more(self, before: Snapshot, name: str) -> float:
        """By how much a counter has grown."""
        return self.counted.get(name, 0.0) - before.counted.get(name, 0.0)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children, those that it has waited for included."""
    total = 0.0
    for process in _family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if process.pid == pid:
            total += times.children_user + times.children_system
    return total


def rss(pid: int) -> int:
    """Resident bytes of a process and its children; what they share is counted for each."""
    total = 0
    for process in _family(pid):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def log_bytes(data: Path) -> dict[str, int]:
    """Bytes of records in a broker's log directory by topic; indexes are not counted."""
    found: dict[str, int] = {}
    for folder in data.iterdir() if data.exists() else ():
        topic, _, partition = folder.name.rpartition("-")
        if folder.is_dir() and topic and partition.isdecimal():
            found[topic] = found.get(topic, 0) + sum(_size(one) for one in folder.glob("*.log"))
    return found


def folder_bytes(folder: Path, pattern: str) -> int:
    """Of all files below that match."""
    return sum(_size(one) for one in folder.rglob(pattern)) if folder.exists() else 0


def summed(text: str) -> dict[str, float]:
    """Samples of a `/metrics` page by name, all labels summed up."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        if series and not line.startswith("#"):
            name = series.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a segment that was deleted, a file that was renamed
        return 0
