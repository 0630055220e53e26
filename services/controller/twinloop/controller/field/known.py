"""All that the field worker knows: a fold over `genealogy`, vehicles' anomalies, and `field-evidence`. Pure.

Nothing else is remembered: a restart reads all of it again, in whatever order the topics come. What follows
from it is compared with what was published before, by what it says and not only by its id:

- each cell group of a vehicle as built is told of once;
- a vehicle as built has one score a week;
- a window that was named is not named again, nor one of its station that overlaps it.

So what was published before is not published again, also when anomalies of months ago are not kept any more.

A vehicle that is built anew has another pack. Minutes from before are not judged by it; what was judged by
the pack before says so, and is evidence no more (`Genealogy.current`). Minutes of the new pack that came
before the news of it were judged by the old one, and only a restart judges them again: what they say may be
told so much later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec.structs import replace

from twinloop.contracts.events import Anomaly, JointWelded
from twinloop.contracts.field import VEHICLE, FieldFinding, VehicleAnomaly, VehicleBuilt, VehicleScore
from twinloop.contracts.ids import trace_id
from twinloop.contracts.times import unix_ns
from twinloop.controller.field.evidence import Evidence
from twinloop.controller.field.genealogy import Genealogy
from twinloop.controller.field.policy import WEEK_NS
from twinloop.controller.field.propose_field import look, novel, propose_field
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.field.vehicles import Watched, watch

_DISTANCE = "distance_km"

Read = VehicleBuilt | JointWelded | Anomaly | VehicleAnomaly | VehicleScore | FieldFinding
Said = VehicleAnomaly | VehicleScore
_Mark = tuple[str, str, datetime | None, int]


class Fate(StrEnum):
    """What became of a record."""

    FOLDED = "folded"
    REPEATED = "repeated"
    """It changed nothing."""
    OTHERS = "others"
    """Of a station, or of another model."""
    WAITING = "waiting"
    """For the vehicle to be built."""
    REPLACED = "replaced"
    """A minute from before the vehicle was built as it is now: of a pack that was replaced."""
    EVICTED = "evicted"
    """It waited, and made room for others that do. It was counted as waiting before."""
    UNUSABLE = "unusable"
    """From the future, or without a distance: it cannot be judged."""


class Waiting:
    """Minutes of vehicles that nobody has built yet: `most` of each, `in_all` of all. When there are more,
    the oldest goes; of all, that of the vehicle which has waited longest."""

    def __init__(self, most: int, in_all: int) -> None:
        self.evicted = 0
        self._most = most
        self._in_all = in_all
        self._count = 0
        self._minutes: dict[str, deque[Anomaly]] = {}

    def add(self, vehicle: str, minute: Anomaly) -> None:
        """Keep `minute`."""
        mine = self._minutes.setdefault(vehicle, deque())
        mine.append(minute)
        self._count += 1
        if len(mine) > self._most:
            self._evict(vehicle)
        elif self._count > self._in_all:
            self._evict(next(iter(self._minutes)))

    def of(self, vehicle: str) -> Iterable[Anomaly]:
        """The minutes of `vehicle`, in the order in which they came. They wait no more."""
        mine = self._minutes.pop(vehicle, deque())
        self._count -= len(mine)
        return mine

    def _evict(self, vehicle: str) -> None:
        mine = self._minutes[vehicle]
        mine.popleft()
        if not mine:
            del self._minutes[vehicle]
        self._count -= 1
        self.evicted += 1


class Known:
    """The fold, and what follows from it."""

    def __init__(self, rules: FieldRules) -> None:
        self.rules = rules
        self.genealogy = Genealogy()
        self.evidence = Evidence()
        self.findings: list[FieldFinding] = []
        self._watched: dict[str, Watched] = {}
        self._waiting = Waiting(rules.waiting, rules.waiting_in_all)
        self._told: set[_Mark] = set()
        self._unsaid: list[Said] = []
        self._spoke: dict[str, tuple[str, int]] = {}
        self._newest: datetime | None = None
        self._looked: datetime | None = None
        self._late = False
        """Evidence has come from before the last look."""
        self._grid = rules.grid
        self.outside = 0
        """Joints of vehicles that were welded outside of the build windows."""

    @property
    def evicted(self) -> int:
        """Minutes that no longer wait for their vehicles, so that others can."""
        return self._waiting.evicted

    def take(self, event: Read, now: datetime) -> Fate:
        """Fold `event`, read from any of the three topics."""
        match event:
            case VehicleBuilt():
                return self._built(event, now)
            case VehicleAnomaly() | VehicleScore():
                return Fate.FOLDED if self._said(event) else Fate.REPEATED
            case FieldFinding():
                if any(one.event_id == event.event_id for one in self.findings):
                    return Fate.REPEATED
                self.findings.append(event)
                return Fate.FOLDED
            case Anomaly() if event.asset.startswith(VEHICLE) and event.model == self.rules.model:
                return self._minute(event, now)
            case _:
                return Fate.OTHERS

    def unsaid(self) -> list[Said]:
        """What vehicles say and nobody was told of yet. Ask only once all that was published was read."""
        self._unsaid = [one for one in self._unsaid if self._is_new(one)]
        new = {_mark(one): one for one in reversed(self._unsaid)}  # the first of its kind
        return list(reversed(new.values()))

    def _is_new(self, one: Said) -> bool:
        if not self.genealogy.current(one.vehicle, one.built_at, one.observed_at):
            return False
        return self._told.isdisjoint((_mark(one), _mark(replace(one, built_at=None))))

    def said(self, events: list[Said]) -> None:
        """`events` are published."""
        for one in events:
            self._said(one)

    def look_due(self, now: datetime) -> datetime | None:
        """The moment that is to be looked from now, or `None`: once a period of the vehicles' time, and again
        when evidence from before has come. The test may be looked at as often as one likes. Vehicles whose
        clocks are ahead of `now` bring no look forward."""
        if self._newest is None:
            return None
        due = self.rules.look_before(min(self._newest, now))
        return due if self._looked is None or due > self._looked or self._late else None

    def look(self, at: datetime, now: datetime) -> list[FieldFinding]:
        """What the evidence before `at` says that was not said before. Takes seconds for a large fleet."""
        rules = self.rules
        found = novel(look(self.evidence, self.genealogy, rules.grid, rules.policy, at), tuple(self.findings))
        return [self._with_remedies(replace(one, at=now)) for one in found]

    def looked(self, at: datetime, found: list[FieldFinding]) -> None:
        """A look from `at` has been made, and what it found is published."""
        self._looked, self._late = at, False
        self.findings.extend(found)

    def _with_remedies(self, finding: FieldFinding) -> FieldFinding:
        proposal = propose_field(finding, self.genealogy, self.rules.limit_uohm)
        model, version = max(self._spoke[one] for one in finding.evidence)
        return replace(
            finding,
            model=model,
            model_version=version,
            input_digest=trace_id("field evidence", *sorted(finding.evidence)),
            remedies=tuple(map(str, proposal.remedies)),
            limit_uohm=proposal.limit_uohm,
            caught=proposal.caught,
            text=proposal.reason,
        )

    def _built(self, built: VehicleBuilt, now: datetime) -> Fate:
        before = self._outside(built.vehicle)
        if not self.genealogy.fold(built):
            return Fate.REPEATED
        self.outside += self._outside(built.vehicle) - before
        self._watched.pop(built.vehicle, None)
        for minute in self._waiting.of(built.vehicle):
            self._minute(minute, now)
        return Fate.FOLDED

    def _outside(self, vehicle: str) -> int:
        return sum(not self._grid.holds(one.welded_at) for one in self.genealogy.joints(vehicle))

    def _minute(self, minute: Anomaly, now: datetime) -> Fate:
        vehicle = minute.asset.removeprefix(VEHICLE)
        ahead = timedelta(seconds=self.rules.ahead_s)
        if minute.observed_at > now + ahead or not math.isfinite(minute.features.get(_DISTANCE, math.nan)):
            return Fate.UNUSABLE
        built_at = self.genealogy.built_at(vehicle)
        if built_at is None:
            self._waiting.add(vehicle, minute)
            return Fate.WAITING
        if minute.observed_at < built_at:
            return Fate.REPLACED
        before = self._watched.get(vehicle, Watched())
        after, events = watch(before, minute, self.genealogy.joints(vehicle), built_at, now)
        self._watched[vehicle] = after
        self._unsaid.extend(events)
        self._time(minute.observed_at)
        return Fate.REPEATED if after is before else Fate.FOLDED

    def _said(self, event: Said) -> bool:
        self._told.add(_mark(event))
        self._time(event.observed_at)
        if isinstance(event, VehicleAnomaly):
            self._spoke[event.event_id] = (event.model, event.model_version)
        new = self.evidence.fold(event)
        self._late |= new and self._looked is not None and event.observed_at < self._looked
        return new

    def _time(self, at: datetime) -> None:
        self._newest = at if self._newest is None else max(self._newest, at)

    def recent(self, station: str | None) -> Iterator[FieldFinding]:
        """Findings, of `station` if one is named, the newest first."""
        return (one for one in reversed(self.findings) if station in (None, one.asset))


def _mark(event: Said) -> _Mark:
    if isinstance(event, VehicleAnomaly):
        return ("anomaly", event.asset, event.built_at, event.cell_group)
    return ("score", event.asset, event.built_at, unix_ns(event.observed_at) // WEEK_NS)
