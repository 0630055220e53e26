"""What is asked for at the panel when a fleet is to be built and driven. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Final

from pydantic import AwareDatetime, ConfigDict, Field

from twinloop.simulator.faults import ProcessFault
from twinloop.simulator.fleets.fleet import Customers

ON_THE_ROAD_DAYS: Final = 35.0
"""So long after it was built the last vehicle is on the road."""
_LETTERS: Final = "ABCDEFGHJKLMNPRSTUVWXYZ0123456789"


@dataclass(frozen=True, kw_only=True)
class FleetOrder:
    """`vehicles` with packs of 96 joints from these `stations`, followed for `days` from the first weld on.

    `faults` are by station, and by weld from 0 within this production; all noise and fate is `seed`'s.
    `start` is when the first joint is welded, by default so long ago that the last day is now. Event time
    passes at `days_per_s`. Each vehicle sends `snippets_per_week` minutes. `customers`: by day of building.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    vehicles: Annotated[int, Field(ge=1, le=10_000)]
    stations: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    days: Annotated[float, Field(gt=0, le=3650)]
    days_per_s: Annotated[float, Field(gt=0, le=1000)]
    snippets_per_week: Annotated[float, Field(gt=0, le=168)] = 1.0
    vehicles_per_day: Annotated[float, Field(gt=0, le=10_000)] = 40.0
    buffer_h: Annotated[float, Field(gt=0, le=240)] = 24.0
    km_per_day: Annotated[float, Field(gt=0, le=1000)] = 45.0
    start: AwareDatetime | None = None
    faults: Mapping[str, tuple[Annotated[ProcessFault, Field(discriminator="kind")], ...]] = field(
        default_factory=dict
    )
    customers: tuple[Customers, ...] = ()

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def begins(self, now: datetime) -> datetime:
        """When the first joint is welded."""
        return now - timedelta(days=self.days) if self.start is None else self.start

    def problems(self, known: Collection[str], now: datetime) -> list[dict[str, str]]:
        """What is wrong with it in a plant whose stations are `known`: a `field` and a `problem` each."""
        found = [
            _problem(where, f"{name!r} is no station of this plant: {', '.join(sorted(known))}")
            for where, names in (("stations", self.stations), ("faults", tuple(self.faults)))
            for name in names
            if name not in known
        ]
        if len(set(self.stations)) < len(self.stations):
            found.append(_problem("stations", "a station is named twice"))
        idle = [name for name in self.faults if name in known and name not in self.stations]
        found += [_problem("faults", f"{name!r} does not weld for this fleet") for name in idle]
        needed = self.vehicles / self.vehicles_per_day + ON_THE_ROAD_DAYS
        if self.days < needed:
            last = f"the last vehicle is on the road after {needed:.0f} days"
            found.append(_problem("days", f"{last}: nothing would be seen of it"))
        if self.begins(now) + timedelta(days=self.days) > now:
            found.append(_problem("start", "the last of these days is in the future"))
        return found

    def vin(self, vehicle: int, start: datetime) -> str:
        """The VIN of a vehicle, from 0: the same whenever the same fleet is built."""
        made = hashlib.sha256(f"{self.name} {self.seed} {start.isoformat()}".encode()).digest()
        code = "".join(_LETTERS[one % len(_LETTERS)] for one in made[:7])
        return f"TWN{code}{vehicle:07d}"


def _problem(where: str, problem: str) -> dict[str, str]:
    return {"field": where, "problem": problem}
