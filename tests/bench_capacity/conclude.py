"""From measured points to what the calculator knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from bench_capacity.fit import Checked, Sample, fit
from bench_capacity.measured import BY, Measured
from twinloop.cli.capacity.costs import Driver, Memory, Provenance, Range, Recorded, Written

TICK_S = 0.01
"""In which the kernel counts CPU time: a few of them are noise."""
PLAIN = (Driver.FRAMES, Driver.SAMPLE_BYTES)
KEPT = 5


class Remembered(msgspec.Struct, frozen=True):
    """Resident bytes by program after so many assets more, since the first of these."""

    told_by: str
    assets: int
    window_bytes: int
    rss: Mapping[str, int]


class Built(msgspec.Struct, frozen=True):
    """The controller's resident bytes and CPU seconds, with so many vehicles that were built; Kafka's log."""

    vehicles: int
    rss: int
    cpu_s: float
    log: int


class Run(msgspec.Struct, frozen=True):
    """Everything that one run has measured."""

    provenance: Provenance
    points: Sequence[Measured]
    remembered: Sequence[Remembered]
    built: Sequence[Built]


class Held(msgspec.Struct, frozen=True):
    """A held-out point of one program: cores measured, and by the model."""

    program: str
    point: str
    measured: float
    model: float


def conclude(run: Run) -> tuple[Recorded, list[Held]]:
    """The costs, and the points that were held out beside them. Raises ValueError for a run without a change:
    what one costs would be called nothing."""
    if not any(one.drivers[Driver.CHANGES] for one in run.points):
        raise ValueError("no change was applied while the plant welded: look at the stack's logs")
    cpu, held = {}, []
    for program in BY:
        samples = [
            Sample(one.name, one.of(program), one.cpu_s[program], one.seconds, KEPT * TICK_S, one.held_out)
            for one in run.points
        ]
        cpu[program], checked = fit(samples)
        held += [_held(program, one) for one in checked]
    parquet, checked = fit(
        _telemetry(run, ("http", "kafka"), (*PLAIN, Driver.FILES), lambda one: one.parquet)
    )
    held += [_held("Parquet", one) for one in checked]
    frame, checked = fit(
        _telemetry(run, ("http", "weld"), PLAIN, lambda one: one.log.get("telemetry.factory", 0))
    )
    held += [_held("Kafka's log", one) for one in checked]
    compute, checked = fit(
        [
            Sample(
                one.name,
                # A request costs something by itself: there are as many as rounds, however full these are.
                one.of("triton"),
                one.triton_compute_s,
                one.seconds,
                KEPT * TICK_S,
                one.held_out,
            )
            for one in run.points
        ]
    )
    held += [_held("Triton's instances", one) for one in checked]
    vehicle_bytes, vehicle_s, vehicle_log = _vehicles(run.built)
    recorded = Recorded(
        provenance=run.provenance,
        cpu=cpu,
        memory=_memory(run),
        kafka=Written(
            frame=frame,
            anomaly=_each(run.points, "anomalies", lambda one: one.anomalies),
            score=_each(run.points, "scores", lambda one: one.scores),
            part=_each(run.points, "genealogy", lambda one: one.drivers[Driver.PARTS]),
            change=_each(run.points, "changes", lambda one: one.drivers[Driver.CHANGES])
            + _each(run.points, "audit", lambda one: one.drivers[Driver.CHANGES]),
            vehicle=vehicle_log,
            changelog=_each(
                run.points, "controller-stations-changelog", lambda one: one.drivers[Driver.PARTS]
            ),
        ),
        parquet=parquet,
        triton_compute=compute,
        vehicle_bytes=vehicle_bytes,
        vehicle_s=vehicle_s,
        vehicles=Range(0, max(one.vehicles for one in run.built)),
    )
    return recorded, held


def _telemetry(
    run: Run, kinds: Sequence[str], drivers: Sequence[Driver], value: Callable[[Measured], float]
) -> list[Sample]:
    """Of what frames give. Kafka's log: those of ingest, which have headers. Parquet: not those of a backlog,
    in whose large files the same made samples come again and again."""
    return [
        Sample(
            one.name,
            {name: one.drivers.get(name, 0.0) for name in drivers},
            value(one),
            one.seconds,
            held_out=one.held_out,
        )
        for one in run.points
        if one.kind in kinds
    ]


def _each(points: Sequence[Measured], topic: str, count: Callable[[Measured], float]) -> float:
    """Bytes of Kafka's log for one of what is counted."""
    total = sum(count(one) for one in points)
    return sum(one.log.get(topic, 0) for one in points) / total if total else 0.0


def _memory(run: Run) -> dict[str, Memory]:
    """The most while working; and the growth while assets were told, of those that remember assets."""
    found = {}
    for program in BY:
        working = max(one.rss[program] for one in run.points)
        found[program] = Memory(working_bytes=working)
    for program, told_by in (("detector", "kafka"), ("ingest", "http")):
        rows = [one for one in run.remembered if one.told_by == told_by]
        first, rest = rows[0], rows[1:]
        samples, assets, bytes_ = [], 0, 0
        for one in rest:
            assets += one.assets
            bytes_ += one.assets * one.window_bytes
            grown = max(0, one.rss[program] - first.rss[program])
            drivers = {Driver.FRAMES: float(assets)}
            if program == "detector":
                drivers[Driver.WINDOW_BYTES] = float(bytes_)
            samples.append(Sample("", drivers, grown, 1.0, floor=2.0**20))
        cost, _ = fit(samples)
        window = cost.by.get(Driver.WINDOW_BYTES)
        found[program] = Memory(
            working_bytes=found[program].working_bytes,
            asset_bytes=cost.by[Driver.FRAMES].value,
            window_factor=window.value if window else 0.0,
            assets=Range(0, assets),
        )
    return found


def _vehicles(built: Sequence[Built]) -> tuple[float, float, float]:
    """Of the controller for a vehicle: resident bytes and CPU seconds; and bytes of the log."""
    first, last = built[0], built[-1]
    count = last.vehicles - first.vehicles
    more = (last.rss - first.rss, last.cpu_s - first.cpu_s, last.log - first.log)
    bytes_, seconds, log = (max(0.0, one / count) for one in more)
    return bytes_, seconds, log


def _held(program: str, one: Checked) -> Held:
    return Held(program, one.name, one.measured, one.model)
