"""A point as it was measured, and what of it each program's cost is fitted on. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bench_capacity.meter import Snapshot
from bench_capacity.points import FLOAT, Point
from twinloop.cli.capacity.costs import Driver, rounds

WELD_BYTES = 300 * 6 * FLOAT
SCORE_EVERY = 100

BY: dict[str, tuple[Driver, ...]] = {
    "ingest": (Driver.PROCESS, Driver.FRAMES, Driver.SAMPLE_BYTES, Driver.PARTS),
    "detector": (Driver.PROCESS, Driver.ROUNDS, Driver.FRAMES, Driver.WINDOWS, Driver.WINDOW_BYTES),
    "historian": (Driver.PROCESS, Driver.ROUNDS, Driver.FRAMES, Driver.SAMPLE_BYTES, Driver.PARTS),
    "modelops": (Driver.PROCESS, Driver.WINDOWS),
    "controller": (Driver.PROCESS, Driver.WINDOWS, Driver.PARTS, Driver.CHANGES),
    "twin": (Driver.PROCESS, Driver.FRAMES, Driver.SAMPLE_BYTES, Driver.PARTS, Driver.CHANGES),
    "line": (Driver.STATIONS, Driver.CHANGES),
    "kafka": (Driver.PROCESS, Driver.ROUNDS, Driver.FRAMES, Driver.SAMPLE_BYTES, Driver.PARTS),
    "triton": (Driver.PROCESS, Driver.ROUNDS, Driver.WINDOWS, Driver.WINDOW_BYTES),
}
"""What may cost a program something."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a point over `seconds`, from its first frame until everybody had read everything.

    `drivers` are counts and bytes; `rss` bytes at its end; `log` bytes that Kafka wrote by topic; `triton_s`
    the time that Triton's instances computed and that requests waited for them.
    """

    name: str
    kind: str
    held_out: bool
    assets: int
    seconds: float
    drivers: Mapping[Driver, float]
    cpu_s: Mapping[str, float]
    rss: Mapping[str, int]
    log: Mapping[str, int]
    parquet: int
    anomalies: float
    scores: float
    triton_compute_s: float
    triton_queue_s: float

    def of(self, program: str) -> dict[Driver, float]:
        """What reached a program: ingest sees nothing of what went straight into Kafka. While a backlog is
        drained, rounds are few and full: all that they cost is counted for frames and windows. Else a load
        past the measured would seem cheaper than it is."""
        seen = dict(self.drivers)
        if program == "ingest" and self.kind in ("kafka", "drain"):
            seen |= {Driver.FRAMES: 0.0, Driver.SAMPLE_BYTES: 0.0}
        rate = seen[Driver.FRAMES] / self.seconds
        seen[Driver.ROUNDS] = 0.0 if self.kind == "drain" else rounds(rate) * self.seconds
        return {one: seen[one] for one in BY[program]}


def measured(point: Point, before: Snapshot, after: Snapshot, frames: int) -> Measured:
    """The difference of two snapshots. `frames`: how many were sent."""
    seconds = after.at_s - before.at_s
    parts = after.more(before, "simulator:twinloop_simulator_welds_total")
    windows = after.more(before, "detector:twinloop_detector_windows_total")
    weld = point.kind == "weld"
    each = WELD_BYTES if weld else point.frame_bytes
    window = WELD_BYTES if weld else point.shape.window * point.shape.signals * FLOAT
    total = parts if weld else frames
    return Measured(
        name=point.name,
        kind=point.kind,
        held_out=point.held_out,
        assets=point.assets,
        seconds=seconds,
        drivers={
            Driver.PROCESS: seconds,
            Driver.STATIONS: 2 * seconds,
            Driver.FRAMES: total,
            Driver.SAMPLE_BYTES: total * each,
            Driver.WINDOWS: windows,
            Driver.WINDOW_BYTES: windows * window,
            Driver.PARTS: parts,
            Driver.FILES: after.more(before, "historian:twinloop_historian_files_total"),
            Driver.CHANGES: after.more(before, "line:twinloop_line_loop_seconds_count"),
        },
        cpu_s={name: one - before.cpu_s[name] for name, one in after.cpu_s.items()},
        rss=dict(after.rss),
        log={name: more for name, one in after.log.items() if (more := one - before.log.get(name, 0)) > 0},
        parquet=after.parquet - before.parquet,
        anomalies=after.more(before, "detector:twinloop_detector_anomalies_total"),
        scores=windows / SCORE_EVERY,
        triton_compute_s=sum(
            after.more(before, f"triton:nv_inference_compute_{one}_duration_us") / 1e6
            for one in ("input", "infer", "output")
        ),
        triton_queue_s=after.more(before, "triton:nv_inference_queue_duration_us") / 1e6,
    )
