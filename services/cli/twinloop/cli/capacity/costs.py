"""What was measured, as costs that are linear in a load, and what they give for another load. Pure.

A program's CPU time is the sum of what each *driver* costs: so many seconds for a second of being there
(`process`), for a frame, for a byte of samples, and so on. No cost is negative, so more
load never costs less.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Basis(StrEnum):
    """What a figure rests on."""

    MEASURED = "measured"
    """Within what was measured."""
    EXTRAPOLATED = "extrapolated"
    """By the model, past what was measured."""
    COUNTED = "counted"
    """Arithmetic on what was asked, or a promise of a topic: no measurement is in it."""
    UNKNOWN = "unknown"
    """Nobody has measured it: it must be told."""


class Driver(StrEnum):
    """What costs. All but `process` and `stations` are so many a second."""

    PROCESS = "process"
    ROUNDS = "rounds"
    """Of whoever takes frames together: see `rounds`."""
    FRAMES = "frames"
    SAMPLE_BYTES = "sample_bytes"
    """Of float32 samples, without names and times."""
    WINDOWS = "windows"
    WINDOW_BYTES = "window_bytes"
    """Of the windows that are judged: each window x signals x 4."""
    PARTS = "parts"
    CHANGES = "changes"
    VEHICLES_BUILT = "vehicles_built"
    FILES = "files"
    """That the historian writes."""
    STATIONS = "stations"
    """Not a rate: so many that a program keeps a connection and a heartbeat with."""


Rates = Mapping[Driver, float]

MOST_ROUNDS = 20.0


def rounds(frames: float) -> float:
    """How often a second somebody has something to do to whom so many frames come: with few of them as often
    as they come, and with many at most `MOST_ROUNDS` times, as what comes meanwhile waits for the next round.
    The curve between is an assumption, which the costs are fitted with."""
    return frames * MOST_ROUNDS / (frames + MOST_ROUNDS)


class Coefficient(msgspec.Struct, frozen=True):
    """Of one driver. `low` and `high`: the range when each measured point in turn is left out."""

    value: float
    low: float
    high: float


class Range(msgspec.Struct, frozen=True):
    """From the least to the most that was measured."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies within, rounding apart."""
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


class Cost(msgspec.Struct, frozen=True):
    """Of one program, in the unit of what was fitted for a driver's unit.

    `error`: the largest relative error, of points that were held out and of fitted ones each left out in
    turn. `ranges`: what each driver was in the points that it was fitted on.
    """

    by: Mapping[Driver, Coefficient]
    ranges: Mapping[Driver, Range]
    error: float
    points: int

    def of(self, rates: Rates) -> float:
        """For a load; drivers that it was not fitted on cost nothing."""
        return sum(one.value * rates.get(driver, 0.0) for driver, one in self.by.items())

    def shares(self, rates: Rates) -> dict[Driver, float]:
        """What each driver adds to `of`."""
        return {driver: one.value * rates.get(driver, 0.0) for driver, one in self.by.items()}

    def outside(self, rates: Rates) -> list[str]:
        """Which drivers lie past what was measured, in words; none: the load is within."""
        found = []
        for driver, one in self.by.items():
            measured = self.ranges[driver]
            asked = rates.get(driver, 0.0)
            if (
                driver not in (Driver.PROCESS, Driver.ROUNDS)
                and one.value > 0
                and asked > 0
                and not measured.holds(asked)
            ):
                each = "" if driver is Driver.STATIONS else "/s"
                found.append(
                    f"{_plain(asked)} {driver.replace('_', ' ')}{each} (measured {_plain(measured.low)} to"
                    f" {_plain(measured.high)})"
                )
        return found


class Memory(msgspec.Struct, frozen=True):
    """Of one program: the most that it had while it worked, and what each asset adds for good.

    `asset_bytes` for an asset whatever its window is, `window_factor` for each byte of its window.
    `assets`: how many were told to it.
    """

    working_bytes: float
    asset_bytes: float = 0.0
    window_factor: float = 0.0
    assets: Range = Range(0, 0)

    def of(self, assets: float, window_bytes: float) -> float:
        """Bytes, resident."""
        return self.working_bytes + assets * (self.asset_bytes + self.window_factor * window_bytes)


class Written(msgspec.Struct, frozen=True):
    """What lies on Kafka's disk, in bytes: one copy, as its log directory says."""

    frame: Cost
    anomaly: float
    score: float
    part: float
    change: float
    vehicle: float
    changelog: float
    """Of the controller's table, for a part: the state of its station is written anew. Compacted."""


class Provenance(msgspec.Struct, frozen=True):
    """Where the figures come from. `beside_other_work`: the machine was not idle."""

    machine: str
    date: str
    command: str
    version: str
    model: str
    beside_other_work: bool
    short: bool
    """Fewer and shorter points than a full run has."""


class Recorded(msgspec.Struct, frozen=True):
    """Everything that the calculator knows."""

    provenance: Provenance
    cpu: Mapping[str, Cost]
    """By program: CPU seconds a second, that is cores."""
    memory: Mapping[str, Memory]
    kafka: Written
    parquet: Cost
    """Bytes of the historian's files a second."""
    triton_compute: Cost
    """Seconds a second that Triton's instances compute, by its own count."""
    vehicle_bytes: float
    """Resident in the controller, for each vehicle whose joints it knows."""
    vehicle_s: float
    """CPU seconds of the controller to read one."""
    vehicles: Range


def _plain(value: float) -> str:
    """With no more digits than anybody reads."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def read(content: bytes) -> Recorded:
    """From its file. Raises `msgspec.ValidationError`."""
    return msgspec.json.decode(content, type=Recorded)
