"""From a load and what was measured to what it needs, line by line; each says what it rests on. Pure.

Everything is computed for one plant, which has programs and topics of its own, and told for all of them.
Replicas, cores and Triton are for the peak; disks for the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from twinloop.cli.capacity import parts
from twinloop.cli.capacity.answer import Answer, Item, Share
from twinloop.cli.capacity.costs import Basis, Cost, Driver, Rates, Recorded
from twinloop.cli.capacity.load import (
    FLOAT,
    MINUTE_SAMPLES,
    MINUTE_SIGNALS,
    Load,
    added,
    at_peak,
    at_work,
    times,
)
from twinloop.contracts.topics import EVENT_PARTITIONS, TELEMETRY_PARTITIONS

MEMORY_RECORDS: Final = 10_000
"""The detector's default for how many records of a partition a window may span."""
ALONE: Final = ("modelops",)
"""One process, whatever the load."""
READS_ALL: Final = ("twin",)
"""Each replica reads all of a plant's telemetry: more replicas do not share it."""
BY_TELEMETRY: Final = ("detector", "detector-vehicles", "historian")
BY_EVENTS: Final = ("controller", "line")
STREAMS: Final = ("factory", "vehicle")


@dataclass(frozen=True, slots=True)
class _Program:
    """What one plant asks of a program. `cost` is that of `name` in the record."""

    name: str
    cost: Cost
    rates: Rates
    assets: float = 0.0
    window_bytes: float = 0.0
    extra_bytes: float = 0.0
    """Of memory, in one of its replicas."""

    @property
    def cores(self) -> float:
        """Of one process, if it could use so many."""
        return self.cost.of(self.rates)

    @property
    def fixed(self) -> float:
        """Cores of each process, whatever the load."""
        return self.cost.shares(self.rates).get(Driver.PROCESS, 0.0)


def plan(load: Load, recorded: Recorded) -> Answer:
    """What `load` needs."""
    factory, fleet = (times(one, 1 / load.plants) for one in (load.factory(), load.fleet()))
    peak = {name: at_peak(one, load.peak) for name, one in zip(STREAMS, (factory, fleet), strict=True)}
    programs = _programs(load, recorded, peak["factory"], peak["vehicle"])
    replicas = {one.name: _replicas(one, load.utilisation) for one in programs}
    partitions = _partitions(replicas)
    items = [
        *_rates(load),
        *_topics(load, partitions, factory, fleet),
        *(item for one in programs for item in _program(one, load, recorded, replicas[one.name])),
        *parts.kafka(load, recorded, factory, fleet, partitions["telemetry"]),
        *parts.triton(load, recorded, added(peak["factory"], peak["vehicle"])),
    ]
    shares = _shares(load, recorded, programs, at_work(added(*peak.values())))
    return Answer(tuple(items), shares, tuple(_bottlenecks(load, recorded, programs, replicas)))


def _programs(load: Load, recorded: Recorded, factory: Rates, fleet: Rates) -> list[_Program]:
    """Those that take part in this load."""
    both = at_work(added(dict(factory), dict(fleet)))
    minute = MINUTE_SAMPLES * MINUTE_SIGNALS * FLOAT
    cost = recorded.cpu
    found = [_Program("ingest", cost["ingest"], both, (load.assets + load.vehicles) / load.plants)]
    if load.assets or load.stations:
        alone = at_work(factory)
        assets = (load.assets + load.stations) / load.plants
        found.append(_Program("detector", cost["detector"], alone, assets, load.window_bytes))
    if load.vehicles:
        alone = at_work(fleet)
        found.append(
            _Program("detector-vehicles", cost["detector"], alone, load.vehicles / load.plants, minute)
        )
    found.append(_Program("historian", cost["historian"], both))
    known = recorded.vehicle_bytes * load.vehicles / load.plants
    for name in ("modelops", "controller", "twin", "line"):
        rates = at_work(factory)
        found.append(_Program(name, cost[name], rates, extra_bytes=known if name == "controller" else 0.0))
    return found


def _replicas(one: _Program, utilisation: float) -> int:
    """A process of Python uses one core."""
    if one.name in (*ALONE, *READS_ALL):
        return 1
    left = max(utilisation - one.fixed, utilisation / 10)  # a core that is there for the load
    return max(1, math.ceil((one.cores - one.fixed) / left - 1e-9))


def _partitions(replicas: Mapping[str, int]) -> dict[str, int]:
    """Of telemetry topics and of event topics: as declared, or the next multiple that all replicas fit in."""

    def least(declared: int, names: tuple[str, ...]) -> int:
        most = max((replicas.get(name, 1) for name in names), default=1)
        return declared * max(1, math.ceil(most / declared))

    return {
        "telemetry": least(TELEMETRY_PARTITIONS, BY_TELEMETRY),
        "events": least(EVENT_PARTITIONS, BY_EVENTS),
    }


def _rates(load: Load) -> list[Item]:
    """What is sent, over all plants, on average."""
    total = added(load.factory(), load.fleet())
    said = (("frames", Driver.FRAMES, "1/s"), ("windows judged", Driver.WINDOWS, "1/s"))
    items = [
        Item(part="load", what=what, value=total.get(driver, 0.0), unit=unit, basis=Basis.COUNTED)
        for what, driver, unit in said
    ]
    mb = total.get(Driver.SAMPLE_BYTES, 0.0) / 1e6
    return [*items, Item(part="load", what="samples", value=mb, unit="MB/s", basis=Basis.COUNTED)]


def _topics(load: Load, partitions: Mapping[str, int], factory: Rates, fleet: Rates) -> list[Item]:
    """Partitions, and whether windows fit between the detector's marks."""
    declared = {"telemetry": TELEMETRY_PARTITIONS, "events": EVENT_PARTITIONS}
    items = []
    for kind, count in partitions.items():
        more = (
            ""
            if count == declared[kind]
            else (
                f"contracts declare {declared[kind]}: declare more before the first record, or use"
                " more --plants"
            )
        )
        items.append(
            Item(
                part="kafka",
                what=f"partitions of each {kind} topic",
                value=count,
                unit="",
                basis=Basis.COUNTED,
                why=more,
            )
        )
    spanned = math.ceil(load.window / load.samples_a_frame) * load.assets / load.plants
    spanned /= partitions["telemetry"]
    if spanned > MEMORY_RECORDS:
        items.append(
            Item(
                part="detector",
                what="TWINLOOP_DETECTOR_MEMORY_RECORDS",
                value=math.ceil(1.5 * spanned),
                unit="records",
                basis=Basis.COUNTED,
                why=f"a window spans {spanned:,.0f} records of its partition; the default of"
                f" {MEMORY_RECORDS:,} would have none whole",
            )
        )
    return items


def _program(one: _Program, load: Load, recorded: Recorded, replicas: int) -> list[Item]:
    """Cores, replicas and memory of one program, over all plants."""
    outside = one.cost.outside(one.rates)
    if load.plants > 1:
        outside.append(f"{load.plants} plants (measured 1)")
    measured = not outside and replicas == 1
    several = [f"{replicas} replicas (measured 1)"] if replicas > 1 else []
    cores = (one.cores + (replicas - 1) * one.fixed) * load.plants
    basis = Basis.MEASURED if measured else Basis.EXTRAPOLATED
    why = "; ".join(outside + several)
    error = one.cost.error
    memory = recorded.memory["detector" if one.name == "detector-vehicles" else one.name]
    each = memory.of(one.assets / replicas, one.window_bytes) + one.extra_bytes
    past = (
        []
        if one.assets <= memory.assets.high or not memory.asset_bytes
        else [f"{one.assets / replicas:,.0f} assets a replica (measured {memory.assets.high:,.0f})"]
    )
    if one.extra_bytes > recorded.vehicle_bytes * recorded.vehicles.high:
        past.append(f"{load.vehicles / load.plants:,.0f} vehicles (measured {recorded.vehicles.high:,.0f})")
    return [
        Item(
            part=one.name,
            what="cores",
            value=cores,
            unit="",
            basis=basis,
            low=cores / (1 + error) if measured else None,
            high=cores * (1 + error) if measured else None,
            why=why,
        ),
        Item(
            part=one.name,
            what="replicas",
            value=replicas * load.plants,
            unit="",
            basis=basis,
            why=_limit(one, replicas),
        ),
        Item(
            part=one.name,
            what="memory of each replica",
            value=each / 2**20,
            unit="MiB",
            basis=Basis.MEASURED if measured and not past else Basis.EXTRAPOLATED,
            why="; ".join(past) or why,
        ),
    ]


def _limit(one: _Program, replicas: int) -> str:
    """What stands against so many replicas."""
    if one.name == "ingest" and replicas > 1:
        return "over MQTT each needs a host id and a broker of its own; over HTTP a balancer before them does"
    if one.name == "line" and replicas > 1:
        return "a chart runs one: so many lines of stations, each with a release and a PLC server of its own"
    if one.name in ALONE and one.cores > 1:
        return "there is one only, and this is more than a core"
    if one.name in READS_ALL and one.cores > 1:
        return "each reads all telemetry of its plant, and this is more than a core: use more --plants"
    return ""


def _shares(load: Load, recorded: Recorded, programs: list[_Program], all_: Rates) -> tuple[Share, ...]:
    """What takes the cores, the most first."""
    taking = [(one.name, one.cost.shares(one.rates)) for one in programs]
    brokers = recorded.cpu["kafka"].shares(all_)
    taking.append(("kafka", {driver: cores * load.replication for driver, cores in brokers.items()}))
    if not load.gpu:
        taking.append(("triton", recorded.cpu["triton"].shares(all_)))
    each = [
        (name, driver, cores * load.plants) for name, shares in taking for driver, cores in shares.items()
    ]
    total = sum(cores for _, _, cores in each) or 1.0
    found = [Share(name, driver, cores, cores / total) for name, driver, cores in each if cores > 0]
    return tuple(sorted(found, key=lambda one: -one.cores)[:8])


def _bottlenecks(
    load: Load, recorded: Recorded, programs: list[_Program], replicas: Mapping[str, int]
) -> list[str]:
    """What does not grow by adding replicas, for a load that meets it."""
    found = []
    for one in programs:
        if one.name in (*ALONE, *READS_ALL) and one.cores > load.utilisation:
            found.append(
                f"{one.name}: {one.cores:.1f} cores in one process, which has one; more replicas of it do not"
                " share that work"
            )
        most = TELEMETRY_PARTITIONS if one.name in BY_TELEMETRY else EVENT_PARTITIONS
        if one.name in (*BY_TELEMETRY, *BY_EVENTS) and replicas[one.name] > most:
            found.append(f"{one.name}: {replicas[one.name]} replicas, and {most} partitions are declared")
        if one.name in ("detector", "detector-vehicles"):
            held = recorded.memory["detector"].of(one.assets, one.window_bytes) / 2**30
            if held > 4:
                found.append(
                    f"{one.name}: {held:,.0f} GiB of window rings over all replicas of a plant: one for every"
                    " asset ever heard, until a restart"
                )
        if one.extra_bytes > 2**30:
            minutes = load.vehicles / load.plants * recorded.vehicle_s / 60
            found.append(
                f"controller: {one.extra_bytes / 2**30:,.0f} GiB of joints in the one field worker of a"
                f" plant, which reads the log from its beginning at every start: {minutes:,.0f} minutes for"
                " the vehicles alone"
            )
    return found
