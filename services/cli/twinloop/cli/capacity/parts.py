"""What a load needs of Kafka, of the historian's disk, and of Triton. Pure."""

from __future__ import annotations

import math

from twinloop.cli.capacity.answer import Item
from twinloop.cli.capacity.costs import Basis, Driver, Rates, Recorded
from twinloop.cli.capacity.load import DAY_S, Load, added, at_peak, at_work, times
from twinloop.contracts.topics import ANOMALIES, SCORES

FILE_AGE_S, FILE_RECORDS, FILE_BYTES = 60.0, 50_000, 32 * 2**20
"""The historian's defaults for when a file is due."""


def kafka(load: Load, recorded: Recorded, factory: Rates, fleet: Rates, partitions: int) -> list[Item]:
    """Throughput and disk of all brokers."""
    written, both = recorded.kafka, added(dict(factory), dict(fleet))
    telemetry = written.frame.of(both) * load.plants
    vehicles = written.frame.of(fleet) * load.plants
    total = times(both, load.plants)
    windows = total.get(Driver.WINDOWS, 0.0)
    anomalies = windows * load.anomalous * written.anomaly
    scores = windows / load.score_every * written.score if load.score_every else 0.0
    genealogy = total.get(Driver.PARTS, 0.0) * written.part
    genealogy += total.get(Driver.VEHICLES_BUILT, 0.0) * written.vehicle
    changes = total.get(Driver.CHANGES, 0.0) * written.change
    table = total.get(Driver.PARTS, 0.0) * written.changelog
    events = anomalies + scores + genealogy + changes + table
    twins = 1  # the twin reads what the factory sends, and only that
    read = 2 * telemetry + twins * (telemetry - vehicles) + 2 * events
    outside = written.frame.outside(both)
    basis = Basis.EXTRAPOLATED if outside or load.plants > 1 else Basis.MEASURED
    why = "; ".join(outside) or (f"{load.plants} plants (measured 1)" if load.plants > 1 else "")
    copies = load.replication
    kept = telemetry * load.retention_h * 3600
    kept += anomalies * (ANOMALIES.retention_h or 0) * 3600 + scores * (SCORES.retention_h or 0) * 3600
    forever = (genealogy + changes) * 365 * DAY_S * load.years
    cores = recorded.cpu["kafka"].of(at_work(at_peak(both, load.peak))) * load.plants
    past = recorded.cpu["kafka"].outside(at_peak(both, load.peak))
    if copies > 1:
        past.append(f"{copies} copies (measured 1): each follower is counted as much as the leader")

    def item(what: str, value: float, unit: str, basis: Basis = basis, why: str = why) -> Item:
        return Item(part="kafka", what=what, value=value, unit=unit, basis=basis, why=why)

    streams = bool(load.assets or load.stations) + bool(load.vehicles)
    day = times(both, DAY_S)
    files = max(
        streams * partitions * DAY_S / FILE_AGE_S,
        day.get(Driver.FRAMES, 0.0) / FILE_RECORDS,
        written.frame.of(day) / FILE_BYTES,
    )
    filed = {**both, Driver.FILES: files / DAY_S}
    raw = recorded.parquet.of(filed) * load.plants
    past_files = recorded.parquet.outside(both)
    return [
        item("written by clients, peak", (telemetry + events) * load.peak / 1e6, "MB/s"),
        item("written with all copies, peak", (telemetry + events) * load.peak * copies / 1e6, "MB/s"),
        item("read by clients, peak", read * load.peak / 1e6, "MB/s"),
        item(
            "cores of all brokers",
            cores * copies,
            "",
            Basis.EXTRAPOLATED if past or load.plants > 1 else Basis.MEASURED,
            "; ".join(past),
        ),
        item(
            f"disk: telemetry for {load.retention_h:g} h, and events",
            kept * copies / 1e9,
            "GB",
        ),
        item(
            f"disk: kept for ever, after {365 * load.years:g} days",
            forever * copies / 1e9,
            "GB",
            Basis.EXTRAPOLATED,
            "at this rate all the time, of which minutes were measured",
        ),
        Item(
            part="historian",
            what="files of telemetry a day, at most",
            value=math.ceil(files) * load.plants,
            unit="",
            basis=Basis.COUNTED,
            why="as delivered: each partition has one a minute, of at most 50,000 records and 32 MiB",
        ),
        Item(
            part="historian",
            what="Parquet a day",
            value=raw * DAY_S / 1e9,
            unit="GB",
            basis=Basis.EXTRAPOLATED if past_files or load.plants > 1 else Basis.MEASURED,
            why="; ".join(["random samples, which hardly compress", *past_files]),
        ),
    ]


def triton(load: Load, recorded: Recorded, peak: Rates) -> list[Item]:
    """Instances on CPUs, or GPUs."""
    windows = peak.get(Driver.WINDOWS, 0.0) * load.plants
    if load.gpu and load.gpu_windows_per_s is None:
        return [
            Item(
                part="triton",
                what="GPUs",
                value=None,
                unit="",
                basis=Basis.UNKNOWN,
                why="nothing was run on a GPU here: measure your model with perf_analyzer on yours, and give"
                " --gpu-windows-per-s",
            )
        ]
    if load.gpu:
        assert load.gpu_windows_per_s is not None
        each = math.ceil(windows / load.plants / (load.gpu_windows_per_s * load.utilisation) - 1e-9)
        return [
            Item(
                part="triton",
                what="GPUs",
                value=max(1, each) * load.plants,
                unit="",
                basis=Basis.EXTRAPOLATED,
                why=f"from your {load.gpu_windows_per_s:,g} windows/s of one GPU",
            )
        ]
    compute = recorded.triton_compute
    outside = compute.outside(peak)
    if load.plants > 1:
        outside.append(f"{load.plants} plants (measured 1)")
    busy = compute.of(at_work(peak))
    instances = max(1, math.ceil(busy / load.utilisation - 1e-9))
    if instances > 1:
        outside.append(f"{instances} instances (measured 1)")
    basis = Basis.EXTRAPOLATED if outside else Basis.MEASURED
    cores = recorded.cpu["triton"].of(at_work(peak)) * load.plants
    why = "; ".join(outside)
    model = f"of {recorded.provenance.model}; another model costs what it costs"
    return [
        Item(
            part="triton",
            what="instances on a CPU",
            value=instances * load.plants,
            unit="",
            basis=basis,
            why="; ".join([model, *outside]),
        ),
        Item(
            part="triton", what="time computing", value=busy * load.plants, unit="s/s", basis=basis, why=why
        ),
        Item(part="triton", what="cores", value=cores, unit="", basis=basis, why=why),
    ]
