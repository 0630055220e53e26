"""From points of known costs to the calculator: it must answer each of the points with what was measured."""

from __future__ import annotations

import pytest

from bench_capacity.conclude import Built, Remembered, Run, conclude
from bench_capacity.measured import BY, WELD_BYTES, Measured
from bench_capacity.points import FLOAT, FULL, Point
from twinloop.cli.capacity.costs import Basis, Driver, Provenance, Recorded, read
from twinloop.cli.capacity.load import Load
from twinloop.cli.capacity.plan import plan

US = {
    Driver.PROCESS: 50_000.0,
    Driver.STATIONS: 20_000.0,
    Driver.ROUNDS: 2000.0,
    Driver.FRAMES: 20.0,
    Driver.SAMPLE_BYTES: 0.01,
    Driver.WINDOWS: 8.0,
    Driver.WINDOW_BYTES: 0.002,
    Driver.PARTS: 900.0,
    Driver.CHANGES: 20_000.0,
}
"""Microseconds of each program, of which those count that may cost it something."""


def measured(point: Point) -> Measured:
    """As it would be on a machine of these costs."""
    seconds, weld = point.seconds, point.kind == "weld"
    parts = point.assets * point.hz * seconds if weld else 0.0
    frames = parts if weld else point.frames_per_s * seconds or (150_000.0 if point.kind == "drain" else 0.0)
    windows = frames if weld else frames * point.shape.rows / point.shape.hop
    window = WELD_BYTES if weld else point.shape.window * point.shape.signals * FLOAT
    drivers = {
        Driver.PROCESS: seconds,
        Driver.STATIONS: 2 * seconds,
        Driver.FRAMES: frames,
        Driver.SAMPLE_BYTES: frames * (WELD_BYTES if weld else point.frame_bytes),
        Driver.WINDOWS: windows,
        Driver.WINDOW_BYTES: windows * window,
        Driver.PARTS: parts,
        Driver.FILES: 6 * seconds,
        Driver.CHANGES: parts / 20 if point.fault else 0.0,
    }
    one = Measured(
        name=point.name,
        kind=point.kind,
        held_out=point.held_out,
        assets=point.assets,
        seconds=seconds,
        drivers=drivers,
        cpu_s={},
        rss=dict.fromkeys(BY, 100 * 2**20),
        log={
            "telemetry.factory": int(frames * 150 + drivers[Driver.SAMPLE_BYTES]),
            "genealogy": int(parts * 700),
        },
        parquet=int(6 * seconds * 9000 + frames * 90 + drivers[Driver.SAMPLE_BYTES]),
        anomalies=windows / 100,
        scores=windows / 100,
        triton_compute_s=windows * 3e-6 + drivers[Driver.WINDOW_BYTES] * 1e-9,
        triton_queue_s=0.0,
    )
    cpu = {name: sum(US[driver] * 1e-6 * much for driver, much in one.of(name).items()) for name in BY}
    return Measured(**{**{name: getattr(one, name) for name in one.__struct_fields__}, "cpu_s": cpu})


def remembered(told_by: str, assets: int, window_bytes: int, grown: float) -> Remembered:
    return Remembered(told_by, assets, window_bytes, dict.fromkeys(BY, int(100 * 2**20 + grown)))


POINTS = {one.name: one for one in FULL}
RUN = Run(
    Provenance("a machine", "2026-01-01", "make bench-capacity", "0.1.0", "a model", False, False),
    [measured(one) for one in FULL],
    [
        remembered("kafka", 0, 0, 0),
        remembered("kafka", 4000, 2048, 4000 * (500 + 1.5 * 2048)),
        remembered("kafka", 4000, 8192, 8000 * 500 + 1.5 * (4000 * 2048 + 4000 * 8192)),
        remembered("http", 0, 0, 0),
        remembered("http", 3000, 0, 3000 * 900),
    ],
    [Built(0, 10**8, 1.0, 0), Built(500, 10**8 + 500 * 60_000, 1.5, 500 * 20_000)],
)


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return conclude(RUN)[0]


@pytest.mark.parametrize("name", [one.name for one in FULL if one.kind == "kafka"])
def test_a_measured_load_needs_what_was_measured(recorded: Recorded, name: str) -> None:
    point, was = POINTS[name], measured(POINTS[name])
    shape = point.shape
    load = Load(
        assets=point.assets,
        signals=shape.signals,
        hz=point.hz,
        frame=shape.rows,
        window=shape.window,
        hop=shape.hop,
        peak=1,
        replication=1,
    )
    items = {(one.part, one.what): one for one in plan(load, recorded).items}
    for program in ("detector", "historian", "twin", "modelops"):
        one = items[program, "cores"]
        assert one.value == pytest.approx(was.cpu_s[program] / was.seconds, rel=1e-3)
        if items[program, "replicas"].value == 1:
            assert one.basis is Basis.MEASURED, one.why
    written = items["kafka", "written by clients, peak"].value
    assert written is not None
    assert written * 1e6 >= was.log["telemetry.factory"] / was.seconds * (1 - 1e-6)
    instances = items["triton", "time computing"]
    assert instances.value == pytest.approx(was.triton_compute_s / was.seconds, rel=1e-3)


def test_held_out_points_are_met(recorded: Recorded) -> None:
    _, held = conclude(RUN)
    assert {one.program for one in held} >= set(BY)
    for one in held:
        assert one.model == pytest.approx(one.measured, rel=2e-3), (one.program, one.point)


def test_memory_and_what_is_kept_are_those_of_the_points(recorded: Recorded) -> None:
    ring = recorded.memory["detector"]
    assert (ring.asset_bytes, ring.window_factor) == (
        pytest.approx(500, rel=0.02),
        pytest.approx(1.5, rel=0.02),
    )
    assert recorded.memory["ingest"].asset_bytes == pytest.approx(900, rel=0.02)
    assert (recorded.vehicle_bytes, recorded.vehicle_s) == (60_000, pytest.approx(0.001))
    assert (recorded.kafka.vehicle, recorded.kafka.part) == (20_000, pytest.approx(700, rel=0.01))


def test_what_is_recorded_is_read_again(recorded: Recorded) -> None:
    import msgspec

    assert read(msgspec.json.encode(recorded)) == recorded
