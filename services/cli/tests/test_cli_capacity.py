"""`twinloop capacity`: what it says of a load, what it says that it does not know, and what it refuses."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.cli.__main__ import main
from twinloop.cli.capacity.answer import Answer, Item
from twinloop.cli.capacity.costs import (
    Basis,
    Coefficient,
    Cost,
    Driver,
    Memory,
    Provenance,
    Range,
    Recorded,
    Written,
)
from twinloop.cli.capacity.load import Impossible, Load
from twinloop.cli.capacity.plan import plan
from twinloop.cli.capacity.verb import figures
from twinloop.contracts.topics import EVENT_PARTITIONS, TELEMETRY_PARTITIONS


def cost(error: float = 0.2, high: float = 1e6, **by: float) -> Cost:
    drivers = {Driver(name): Coefficient(value, value / 2, value * 2) for name, value in by.items()}
    return Cost(drivers, {one: Range(0.001, high) for one in drivers}, error, points=5)


PROGRAM = cost(process=0.05, frames=1e-4, sample_bytes=1e-8)
KNOWN = Recorded(
    provenance=Provenance("a machine", "2026-01-01", "make bench-capacity", "0.1.0", "a model", False, False),
    cpu={
        "ingest": PROGRAM,
        "historian": PROGRAM,
        "twin": PROGRAM,
        "kafka": PROGRAM,
        "detector": cost(process=0.1, frames=2e-5, windows=1e-5, window_bytes=1e-9),
        "triton": cost(process=0.01, windows=1e-5),
        "modelops": cost(process=0.03, windows=1e-7),
        "controller": cost(process=0.05, parts=1e-3, changes=1e-2),
        "line": cost(stations=0.01, changes=1e-2, high=2),
    },
    memory={
        name: Memory(1e8, 4000.0, 1.2, Range(0, 10_000)) if name == "detector" else Memory(1e8)
        for name in ("ingest", "historian", "twin", "modelops", "controller", "line", "detector")
    },
    kafka=Written(cost(frames=150.0, sample_bytes=1.0), 1500.0, 900.0, 600.0, 5000.0, 20_000.0, 10_000.0),
    parquet=cost(frames=100.0, sample_bytes=0.9),
    triton_compute=cost(windows=2e-5),
    vehicle_bytes=60_000.0,
    vehicle_s=0.001,
    vehicles=Range(0, 1000),
)

loads = st.builds(
    Load,
    assets=st.integers(1, 200_000),
    signals=st.integers(1, 200),
    hz=st.floats(0.01, 100),
    window=st.integers(64, 512),
    hop=st.integers(1, 64),
    stations=st.integers(0, 500),
    vehicles=st.integers(0, 1_000_000),
    plants=st.integers(1, 50),
    peak=st.floats(1, 3),
)


def values(answer: Answer) -> dict[tuple[str, str], float]:
    return {(one.part, one.what): one.value for one in answer.items if one.value is not None}


def found(answer: Answer, part: str, what: str) -> Item:
    (one,) = [one for one in answer.items if (one.part, one.what) == (part, what)]
    return one


@given(load=loads, factor=st.integers(2, 10))
def test_more_of_anything_never_needs_less(load: Load, factor: int) -> None:
    before = values(plan(load, KNOWN))
    for more in (
        replace(load, assets=load.assets * factor),
        replace(load, hz=load.hz * factor),
        replace(load, signals=load.signals * factor) if load.frame_bytes < 10**5 else load,
        replace(load, stations=load.stations * factor),
        replace(load, vehicles=load.vehicles * factor),
        replace(load, peak=load.peak * factor),
    ):
        after = values(plan(more, KNOWN))
        # Memory of a replica may fall when there are more of them: what all of them have may not.
        for part, what in before:
            if what == "TWINLOOP_DETECTOR_MEMORY_RECORDS":  # more partitions have fewer assets each
                continue
            if what == "memory of each replica":
                count, then = before[part, "replicas"], after[part, "replicas"]
                assert after[part, what] * then >= before[part, what] * count * (1 - 1e-9)
            else:
                assert after[part, what] >= before[part, what] * (1 - 1e-9), (part, what)


@given(load=loads)
def test_every_replica_has_a_partition(load: Load) -> None:
    needs = values(plan(load, KNOWN))
    telemetry, events = (
        needs["kafka", f"partitions of each {kind} topic"] for kind in ("telemetry", "events")
    )
    assert telemetry % TELEMETRY_PARTITIONS == events % EVENT_PARTITIONS == 0
    for program in ("detector", "detector-vehicles", "historian"):
        assert telemetry >= needs.get((program, "replicas"), 0) / load.plants
    for program in ("controller", "line"):
        assert events >= needs[program, "replicas"] / load.plants


def test_more_than_the_chart_runs_is_not_told_without_a_word() -> None:
    """The chart refuses several of what would be in each other's way."""
    some, many = (Load(assets=100 * stations, stations=stations) for stations in (1, 5_000))
    for program, said in (("line", "a chart runs one"), ("ingest", "a host id")):
        assert found(plan(some, KNOWN), program, "replicas").why == ""
        more = found(plan(many, KNOWN), program, "replicas")
        assert more.value is not None
        assert more.value > 1
        assert said in more.why


@given(load=loads)
def test_what_is_called_measured_lies_within_what_was_measured(load: Load) -> None:
    for one in plan(load, KNOWN).items:
        if one.what != "cores" or one.part in ("kafka", "triton"):
            continue
        name = "detector" if one.part == "detector-vehicles" else one.part
        if one.basis is Basis.MEASURED:
            assert load.plants == 1
            assert one.value is not None
            assert one.low is not None
            assert one.high is not None
            assert one.low <= one.value <= one.high
            # Of a driver that costs, no more than was measured: so the whole is no more than that of its end.
            most = {driver: measured.high for driver, measured in KNOWN.cpu[name].ranges.items()}
            assert one.value <= KNOWN.cpu[name].of({**most, Driver.PROCESS: 1.0}) * (1 + 1e-9)
        else:
            assert one.low is None
            assert one.why


def test_just_past_the_measured_it_is_an_extrapolation() -> None:
    at_its_end = Load(stations=2)
    past = Load(stations=3)
    assert found(plan(at_its_end, KNOWN), "line", "cores").basis is Basis.MEASURED
    one = found(plan(past, KNOWN), "line", "cores")
    assert (one.basis, one.why) == (Basis.EXTRAPOLATED, "3 stations (measured 0.001 to 2)")


def test_it_is_the_sum_of_what_each_driver_costs() -> None:
    load = Load(assets=1000, signals=8, hz=16, frame=16, hop=16, peak=1)
    one = found(plan(load, KNOWN), "detector", "cores")
    assert one.value == pytest.approx(0.1 + 1000 * (2e-5 + 1e-5 + 2048 * 1e-9))
    disk = found(plan(load, KNOWN), "kafka", "written by clients, peak")
    events = 1000 * (0.01 * 1500 + 0.01 * 900)
    assert disk.value == pytest.approx((1000 * (150 + 512) + events) / 1e6)


def test_a_gpu_is_unknown_until_somebody_has_measured_one() -> None:
    load = Load(assets=100_000, hz=16, gpu=True)
    one = found(plan(load, KNOWN), "triton", "GPUs")
    assert (one.value, one.basis) == (None, Basis.UNKNOWN)
    assert "perf_analyzer" in one.why
    told = found(plan(replace(load, gpu_windows_per_s=100_000.0), KNOWN), "triton", "GPUs")
    assert told.value == math.ceil(100_000 * 1.5 / (100_000 * 0.6))


def test_what_more_replicas_do_not_help_is_named() -> None:
    answer = plan(Load(assets=100_000, signals=100, hz=16, vehicles=1_000_000), KNOWN)
    said = "\n".join(answer.bottlenecks)
    for name in ("twin: ", "detector: ", "controller: "):
        assert name in said
    assert found(answer, "twin", "replicas").value == 1
    assert "more --plants" in found(answer, "twin", "replicas").why


def test_windows_that_no_detector_would_see_whole_are_told() -> None:
    answer = plan(Load(assets=100_000, hz=1, window=256, frame=1), KNOWN)
    one = found(answer, "detector", "TWINLOOP_DETECTOR_MEMORY_RECORDS")
    assert one.value is not None
    partitions = found(answer, "kafka", "partitions of each telemetry topic").value
    assert partitions is not None
    assert one.value > 256 * 100_000 / partitions
    few = plan(Load(assets=100, window=256, frame=1), KNOWN)
    assert ("detector", "TWINLOOP_DETECTOR_MEMORY_RECORDS") not in values(few)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("", "Nothing sends anything"),
        ("--assets -1", "--assets is below zero"),
        ("--assets 5 --hz 0", "at 0 Hz"),
        ("--assets 5 --hz inf", "--hz must be a finite number"),
        ("--assets 5 --signals 0", "at least one signal"),
        ("--assets 5 --window 16 --hop 32", "--hop 32 is more than --window 16"),
        ("--assets 5 --hop 0", "at least one sample"),
        ("--assets 5 --frame 0", "at least one sample"),
        ("--assets 5 --signals 1000 --frame 5000", "give a smaller --frame"),
        ("--assets 5 --duty 2", "--duty is a share"),
        ("--assets 5 --utilisation 1", "--utilisation is the share"),
        ("--assets 5 --peak 0.5", "--peak is how many times"),
        ("--assets 5 --anomalous 3", "--anomalous is a share"),
        ("--assets 5 --plants 0", "Somewhere it must run"),
        ("--assets 5 --replication 0", "at least one copy"),
        ("--assets 5 --retention -3", "--retention is below zero"),
        ("--assets 5 --gpu-windows-per-s 5", "give --gpu as well"),
        ("--assets 5 --gpu --gpu-windows-per-s 0", "measure --gpu-windows-per-s"),
    ],
)
def test_the_impossible_is_refused_with_a_sentence(
    asked: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["capacity", *asked.split()]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert sentence in told.err


@given(
    load=st.fixed_dictionaries({"assets": st.integers(-5, 5), "hz": st.floats(), "hop": st.integers(-1, 99)})
)
def test_whatever_is_asked_it_is_answered_or_refused(load: dict[str, Any]) -> None:
    try:
        answer = plan(Load(**load), KNOWN)
    except Impossible as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert all(one.value is None or math.isfinite(one.value) for one in answer.items)


def test_a_person_and_a_script_are_told_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["capacity", "--assets", "1000", "--signals", "8", "--hz", "16"]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["provenance"]["machine"] == figures().provenance.machine
    assert {one["basis"] for one in told["items"]} <= {str(one) for one in Basis}
    assert main(asked) == 0
    page = capsys.readouterr().out
    for one in told["items"]:
        assert one["what"] in page
    assert figures().provenance.command in page
