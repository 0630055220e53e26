"""What comes of the records of one input partition: windows, refusals, and counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, decode_frame
from twinloop.detector.remembered import Remembered
from twinloop.detector.routes import Judge
from twinloop.runtime.stream.ports import Record, TopicPartition

Ints = NDArray[np.int64]


class Turn(Protocol):
    """See `twinloop.detector.turns`."""

    async def comes(self) -> None:
        """Wait for it."""
        ...

    def end(self) -> None:
        """Let the next one come."""
        ...


class Turns(Protocol):
    """See `twinloop.detector.turns`."""

    def take(self) -> Turn:
        """The next one."""
        ...

    def close(self) -> None:
        """Let nobody wait."""
        ...

    def apart(self) -> Turns:
        """Turns of other rounds."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """`N` windows of one partition, `partition`, for one judge.

    `values` float32 [N, window, signals], of the signals that the judge reads; `assets` int64 [N], the number
    of each one's asset in the partition, whose windows come in their order. Of the frame that completed each:
    `sequences` uint64 [N], `which` int64 [N], index of its record in `records`; `rows` int64 [N], index of
    the window's last sample in it. `sources` and `salts` [number of an asset] and `remembered`: the
    partition's.
    """

    partition: TopicPartition
    judge: Judge
    values: NDArray[np.float32]
    assets: Ints
    sequences: NDArray[np.uint64]
    rows: Ints
    which: Ints
    records: Sequence[Record]
    sources: Sequence[bytes]
    salts: NDArray[np.uint64]
    remembered: Remembered

    def __len__(self) -> int:
        return len(self.which)

    def record(self, n: int) -> Record:
        """The record that completed window `n`."""
        return self.records[int(self.which[n])]

    def frame(self, n: int) -> Frame:
        """The frame that completed window `n`."""
        return decode_frame(self.record(n).value)

    def select(self, index: Ints) -> Pending:
        """Some of the windows, by index."""
        return replace(
            self,
            values=self.values[index],
            assets=self.assets[index],
            sequences=self.sequences[index],
            rows=self.rows[index],
            which=self.which[index],
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A frame that no window may be made of, or no model can take."""

    record: Record
    reason: Reason
    detail: str


@dataclass(slots=True)
class Taken:
    """What came of a partition's records. `turn`: theirs at what recurrent models remember."""

    turn: Turn
    pending: list[Pending] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    duplicates: int = 0
    unrouted: int = 0
    too_wide: int = 0
    silent: int = 0
