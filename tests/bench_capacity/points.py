"""The loads that are measured. Pure.

Each is of one kind: `idle`; `http`, telemetry as JSON through ingest; `kafka`, the same frames straight into
the topic, as many as ingest could not take here; `drain`, as fast as the detector can; `weld`, the plant's
two stations through Sparkplug, with or without a fault that the loop corrects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.workload import Shape

FLOAT = 4


def shape(signals: int, rows: int = 16, window: int = 64, hop: int = 16) -> Shape:
    """Named after what it is."""
    name = f"capacity-{signals}-{window}-{hop}"
    return Shape(f"{name}", f"capacity.s{signals}w{window}h{hop}.v1", rows, signals, window, hop)


NARROW, WIDE, LONG = shape(8), shape(32), shape(8, window=256, hop=64)
MANY_ROWS = replace(NARROW, rows=64)
MEDIUM = shape(16)
SHAPES = {one.model: one for one in (NARROW, WIDE, LONG, MEDIUM)}


@dataclass(frozen=True, slots=True)
class Point:
    """A load for `seconds`. `hz`: samples a second of an asset, or parts a second of a station."""

    name: str
    kind: str
    assets: int = 0
    hz: float = 0.0
    shape: Shape = NARROW
    seconds: float = 12.0
    held_out: bool = False
    fault: str = ""

    @property
    def frames_per_s(self) -> float:
        """Of all assets."""
        return self.assets * self.hz / self.shape.rows

    @property
    def frame_bytes(self) -> int:
        """Of samples."""
        return self.shape.rows * self.shape.signals * FLOAT


FULL: tuple[Point, ...] = (
    Point("idle", "idle", seconds=10),
    Point("http-1", "http", 100, 16),
    Point("http-2", "http", 1200, 16),
    Point("http-3", "http", 100, 16, WIDE),
    Point("http-4", "http", 500, 16, WIDE),
    Point("http-5", "http", 600, 16, MEDIUM, held_out=True),
    Point("kafka-1", "kafka", 500, 16),
    Point("kafka-2", "kafka", 2000, 16),
    Point("kafka-3", "kafka", 6000, 16),
    Point("kafka-4", "kafka", 1000, 64, MANY_ROWS),
    Point("kafka-5", "kafka", 1000, 16, WIDE),
    Point("kafka-6", "kafka", 2000, 16, LONG),
    Point("kafka-7", "kafka", 1500, 16, MEDIUM, held_out=True),
    Point("kafka-8", "kafka", 4000, 16, held_out=True),
    Point("drain", "drain", 2000, 0, seconds=150_000 / 10_000),
    Point("weld-1", "weld", 2, 2, seconds=20),
    Point("weld-2", "weld", 2, 10, seconds=15),
    Point("weld-3", "weld", 2, 20, seconds=20, fault="window-drift"),
    Point("weld-4", "weld", 2, 10, seconds=30, fault="window-drift"),
    Point("weld-5", "weld", 2, 15, seconds=20, fault="window-drift", held_out=True),
)
"""Of `drain`: ten thousand frames for a second of `seconds`."""

SHORT: tuple[Point, ...] = (
    Point("idle", "idle", seconds=3),
    Point("http-1", "http", 50, 16, seconds=4),
    Point("http-2", "http", 200, 16, seconds=4),
    Point("http-3", "http", 100, 16, WIDE, seconds=4),
    Point("http-5", "http", 100, 16, MEDIUM, seconds=4, held_out=True),
    Point("kafka-1", "kafka", 300, 16, seconds=4),
    Point("kafka-2", "kafka", 1500, 16, seconds=4),
    Point("kafka-4", "kafka", 500, 64, MANY_ROWS, seconds=4),
    Point("kafka-5", "kafka", 600, 16, WIDE, seconds=4),
    Point("kafka-7", "kafka", 700, 16, MEDIUM, seconds=4, held_out=True),
    Point("drain", "drain", 1000, 0, seconds=3),
    Point("weld-1", "weld", 2, 2, seconds=6),
    Point("weld-3", "weld", 2, 20, seconds=10, fault="window-drift"),
    Point("weld-5", "weld", 2, 15, seconds=8, fault="window-drift", held_out=True),
)

REMEMBERED: dict[bool, tuple[tuple[Shape, int], ...]] = {
    False: ((NARROW, 4000), (NARROW, 8000), (WIDE, 2000), (WIDE, 4000)),
    True: ((NARROW, 2000), (WIDE, 1000)),
}
"""By whether the run is short: so many assets more, each with enough frames for a window."""
TOLD: dict[bool, int] = {False: 3000, True: 500}
"""Assets more over HTTP."""
BUILT: dict[bool, tuple[int, ...]] = {False: (500, 1000), True: (200,)}
"""Vehicles more."""
