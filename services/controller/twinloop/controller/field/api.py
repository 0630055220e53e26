"""What vehicles tell, over HTTP: findings, and which vehicles have joints of a station and time.

    GET /findings?station=&limit=             viewer
    GET /recall?station=&from=&to=            operator; written down with the name of who asked

A recall that names no vehicle says that none is affected. So what cannot have been meant is no empty list:
422 when `from` is not before `to`, 404 when no vehicle has a joint of the station, at any time.

The controller serves it and not the twin: findings and recalls come from the genealogy of every vehicle,
which only the field worker holds. Vehicles are pseudonyms; the edge alone can tell VINs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final

from fastapi import FastAPI, HTTPException, Query
from pydantic import AwareDatetime, BaseModel

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.field import FieldFinding
from twinloop.contracts.ids import event_id
from twinloop.controller.field.known import Known
from twinloop.controller.field.recall import affected
from twinloop.runtime.clock import Clock
from twinloop.trust.bearer import Access, guarded, problem, protect
from twinloop.trust.people import Person, Role

_SHOWN: Final = 20


class FindingView(BaseModel):
    """A finding, see `FieldFinding`. `change_id` is that of the change that follows, if one is to."""

    finding_id: str
    station: str
    found_at: datetime
    window_from: datetime
    window_to: datetime
    vehicles: int
    built: int
    expected: float
    q: float
    p_fixed: float
    more: float
    more_low: int
    more_high: int
    until_km: float
    evidence: int
    remedies: list[str]
    limit_uohm: float | None
    caught: float
    change_id: str | None
    text: str


class AffectedView(BaseModel):
    """A vehicle, by its pseudonym, and its joints from there and then."""

    vehicle: str
    part_ids: list[str]
    cell_groups: list[int]


class RecallView(BaseModel):
    """Vehicles with a joint that `station` welded in [`start`, `end`)."""

    station: str
    start: datetime
    end: datetime
    vehicles: list[AffectedView]


class NotHere(Exception):
    """Raised when the field work is another replica's, or everything is not read yet.

    Operator action: ask that one, or again in some seconds.
    """


def make_api(access: Access, known: Callable[[], Known | None], audit: Audit, clock: Clock) -> FastAPI:
    """`/findings` and `/recall`."""
    api = FastAPI(title="Twinloop controller", description=__doc__, docs_url="/docs", redoc_url=None)
    protect(api, access)

    async def away(_: object, error: Exception) -> object:
        return problem(503, str(error))

    for kind in (NotHere, AuditAway):
        api.add_exception_handler(kind, away)  # type: ignore[arg-type]

    def all_known() -> Known:
        if (now := known()) is None:
            raise NotHere("this controller does no field work at present, or has not read all of it yet")
        return now

    # Not in threads: the worker folds on the loop.

    @api.get("/findings", dependencies=[guarded(Role.VIEWER)])
    async def findings(
        station: str | None = None, limit: Annotated[int, Query(ge=0, le=1000)] = 50
    ) -> list[FindingView]:
        """What vehicles have told about stations, the newest first."""
        return [_view(one) for one in all_known().recent(station)][:limit]

    @api.get("/recall")
    async def recall(
        station: str,
        start: Annotated[AwareDatetime, Query(alias="from")],
        end: Annotated[AwareDatetime, Query(alias="to")],
        person: Annotated[Person, guarded(Role.OPERATOR)],
    ) -> RecallView:
        """Which vehicles have joints that a station welded in [from, to): pseudonyms (operator)."""
        genealogy = all_known().genealogy
        if start >= end:
            raise HTTPException(422, "from: it must be before to")
        found = affected(genealogy, station, start, end)
        if not found and station not in (stations := genealogy.stations):
            raise HTTPException(
                404, f"no vehicle has a joint of that station; they have of {_some(stations)}"
            )
        await audit.append(
            asset=station,
            who=person.who,
            what="listed vehicles",
            new=f"{start.isoformat()} to {end.isoformat()}",
            result=f"{len(found)} vehicles",
            at=clock.now(),
        )
        vehicles = [
            AffectedView(vehicle=one.vehicle, part_ids=list(one.part_ids), cell_groups=list(one.cell_groups))
            for one in found
        ]
        return RecallView(station=station, start=start, end=end, vehicles=vehicles)

    return api


def _some(stations: tuple[str, ...]) -> str:
    more = f" and {len(stations) - _SHOWN} more" if len(stations) > _SHOWN else ""
    return (", ".join(stations[:_SHOWN]) or "none") + more


def _view(one: FieldFinding) -> FindingView:
    return FindingView(
        finding_id=one.event_id,
        station=one.asset,
        found_at=one.at,
        window_from=one.window_from,
        window_to=one.window_to,
        vehicles=one.vehicles,
        built=one.built,
        expected=one.expected,
        q=one.q,
        p_fixed=one.p_fixed,
        more=one.more,
        more_low=one.more_low,
        more_high=one.more_high,
        until_km=one.until_km,
        evidence=len(one.evidence),
        remedies=list(one.remedies),
        limit_uohm=one.limit_uohm,
        caught=one.caught,
        change_id=None if one.limit_uohm is None else event_id("field_proposal", one.event_id),
        text=one.text,
    )
