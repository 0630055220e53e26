"""The measuring itself: what is read of a process, a log, a page of metrics; and what is made of points."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_capacity.fit import Sample, fit
from bench_capacity.loads import paced
from bench_capacity.measured import BY, measured
from bench_capacity.meter import Snapshot, cpu_s, folder_bytes, log_bytes, rss, summed
from bench_capacity.points import FULL, SHORT, Point
from twinloop.cli.capacity.costs import Driver


def test_cpu_time_and_memory_are_those_of_the_process() -> None:
    before, begun = cpu_s(os.getpid()), time.process_time()
    while time.process_time() < begun + 0.3:
        np.ones(1000).sum()
    assert 0.25 <= cpu_s(os.getpid()) - before < 3
    held = rss(os.getpid())
    kept = np.ones(8_000_000)  # 64 MB
    assert rss(os.getpid()) - held > 30e6
    assert kept.sum() > 0


def test_a_log_directory_is_read_by_topic(tmp_path: Path) -> None:
    for name, size in (("telemetry.factory-0", 100), ("telemetry.factory-11", 50), ("field-evidence-3", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000000000000000000.log").write_bytes(bytes(size))
        (tmp_path / name / "00000000000000000000.index").write_bytes(bytes(999))
    (tmp_path / "meta.properties").write_text("")
    assert log_bytes(tmp_path) == {"telemetry.factory": 150, "field-evidence": 7}
    assert log_bytes(tmp_path / "nowhere") == {}
    assert folder_bytes(tmp_path, "*.log") == 157


def test_metrics_are_summed_over_labels() -> None:
    page = (
        "# TYPE nv_inference_count counter\n"
        'nv_inference_count{model="a",version="1"} 3\nnv_inference_count{model="b",version="1"} 4\n'
        "# TYPE up gauge\nup 1\n"
    )
    assert summed(page) == {"nv_inference_count": 7, "up": 1}


async def test_a_pace_sends_as_many_as_were_meant() -> None:
    sent: list[int] = []

    async def send(count: int) -> None:
        sent.append(count)

    begun = time.monotonic()
    assert await paced(send, 500, 0.5) == sum(sent) == 250
    assert time.monotonic() - begun >= 0.3
    assert max(sent) < 250


def test_a_point_is_the_difference_of_two_looks() -> None:
    point = Point("kafka-1", "kafka", 10, 16)

    def look(at_s: float, cpu: float, windows: float, log: int) -> Snapshot:
        counted = {
            "detector:twinloop_detector_windows_total": windows,
            "triton:nv_inference_compute_infer_duration_us": windows * 10,
        }
        return Snapshot(
            at_s, dict.fromkeys(BY, cpu), dict.fromkeys(BY, 1), {"telemetry.factory": log}, 0, counted
        )

    one = measured(point, look(10, 1, 100, 1000), look(20, 3, 400, 6000), 50)
    assert (one.seconds, one.cpu_s["detector"], one.log) == (10, 2, {"telemetry.factory": 5000})
    assert one.drivers[Driver.SAMPLE_BYTES] == 50 * 16 * 8 * 4
    assert one.drivers[Driver.WINDOW_BYTES] == 300 * 64 * 8 * 4
    assert one.triton_compute_s == pytest.approx(300 * 10e-6)
    assert one.of("ingest")[Driver.FRAMES] == 0  # it went straight into Kafka
    assert one.of("detector")[Driver.FRAMES] == 50


@given(
    by=st.tuples(st.floats(0.01, 0.2), st.floats(1e-6, 1e-4), st.floats(1e-10, 1e-8)),
    noise=st.floats(0, 0.03),
)
@settings(max_examples=40)
def test_costs_that_are_linear_are_found_again(by: tuple[float, float, float], noise: float) -> None:
    rng = np.random.default_rng(3)
    samples = []
    for n, (frames, each) in enumerate(
        [(100, 512), (900, 512), (300, 4096), (4000, 512), (800, 2048), (500, 1024)]
    ):
        drivers = {
            Driver.PROCESS: 10.0,
            Driver.FRAMES: frames * 10.0,
            Driver.SAMPLE_BYTES: frames * each * 10.0,
        }
        value = sum(cost * drivers[one] for cost, one in zip(by, drivers, strict=True))
        samples.append(
            Sample(str(n), drivers, value * (1 + noise * rng.uniform(-1, 1)), 10.0, held_out=n == 5)
        )
    cost, (checked,) = fit(samples)
    assert checked.model == pytest.approx(checked.measured, rel=4 * noise + 1e-3)
    for one in samples:
        rates = {driver: total / one.seconds for driver, total in one.drivers.items()}
        assert cost.of(rates) == pytest.approx(one.value / one.seconds, rel=4 * noise + 1e-3)
    assert all(one.low <= one.value <= one.high and one.low >= 0 for one in cost.by.values())
    assert cost.ranges[Driver.FRAMES].high == pytest.approx(4000)


def test_no_cost_is_negative_however_the_points_lie() -> None:
    samples = [
        Sample(str(n), {Driver.PROCESS: 1.0, Driver.FRAMES: n}, 1.0 - n / 10, 1.0) for n in range(1, 6)
    ]
    cost, _ = fit(samples)
    assert all(one.value >= 0 for one in cost.by.values())
    with pytest.raises(ValueError, match="held out"):
        fit([])


@pytest.mark.parametrize("points", [FULL, SHORT])
def test_the_points_tell_all_drivers_apart(points: tuple[Point, ...]) -> None:
    assert len({one.name for one in points}) == len(points)
    assert sum(one.held_out for one in points) >= 3
    for kind in ("http", "kafka"):
        rows = [
            (1.0, one.frames_per_s, one.frames_per_s * one.frame_bytes)
            for one in points
            if one.kind == kind and not one.held_out
        ]
        table = np.array(rows) / np.max(rows, axis=0)
        assert np.linalg.cond(table) < 60
