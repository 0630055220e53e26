"""How far a fleet is, as the panel shows it, and the truth about its faults. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from twinloop.simulator.fleets.built import at_h
from twinloop.simulator.fleets.production import Production, Station


class Stage(StrEnum):
    """Where a fleet stands."""

    WELDING = "welding"
    BUILDING = "building"
    DRIVING = "driving"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Spell:
    """The truth about faults, for whoever judges the loop: what `station` welded under one.

    From the first such weld up to, not with, the end of the last; `joints` of it passed into `vehicles`, of
    which `cracked` have a joint of it that will grow.
    """

    station: str
    welded_from: datetime
    welded_to: datetime
    joints: int
    vehicles: int
    cracked: int


@dataclass(frozen=True, slots=True)
class StationMade:
    """What a station made for the fleet. Sequences are part counters."""

    asset: str
    limit_uohm: float
    welds: int
    rejected: int
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class FleetProgress:
    """How far a fleet is. `told` vehicles were accepted by ingest; `event_time` is how far they have driven.

    `behind_s`: how late the newest minute was sent. `problem` is empty unless it failed.
    """

    name: str
    stage: Stage
    start: datetime
    days: float
    vehicles: int
    stations: Mapping[str, StationMade] = field(default_factory=dict)
    spells: tuple[Spell, ...] = ()
    told: int = 0
    refused: int = 0
    minutes: int = 0
    minutes_sent: int = 0
    event_time: datetime | None = None
    behind_s: float = 0.0
    problem: str = ""

    @property
    def finished(self) -> bool:
        """True when nothing more will come of it."""
        return self.stage in (Stage.FINISHED, Stage.FAILED)


def told_of(made: Production, stations: Sequence[Station], names: Sequence[str]) -> dict[str, object]:
    """What the panel shows of the welds, by the stations' `names`, and the truth about faults."""
    fleet, shown, spells = made.fleet, dict[str, StationMade](), list[Spell]()
    for number, (name, station) in enumerate(zip(names, stations, strict=True)):
        welds = made.welds[station.asset]
        shown[name] = StationMade(
            station.asset,
            station.limit_uohm,
            len(welds.rejected),
            int(welds.rejected.sum()),
            station.first_sequence,
            station.first_sequence + len(welds.rejected) - 1,
        )
        if welds.faulty.any():
            hours = welds.welded_h[welds.faulty]
            theirs = fleet.marginal & (fleet.station == number)
            spells.append(
                Spell(
                    station.asset,
                    at_h(fleet, float(hours[0])),
                    at_h(fleet, float(hours[-1])) + timedelta(hours=float(welds.welded_h[1])),
                    int(theirs.sum()),
                    int(theirs.any(axis=1).sum()),
                    int((theirs & fleet.cracked).any(axis=1).sum()),
                )
            )
    return {"stations": shown, "spells": tuple(spells)}
