"""The fleet's part of the panel: build vehicles from these stations' joints, and let them drive.

    POST /fleets            202 and the progress; 422 with every bad field; 409 when nobody can be told
    GET  /fleets/current    the progress; 404 before the first fleet

Starting a fleet ends the one under way. It does not touch a campaign, nor a station's setpoints.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinloop.runtime.clock import Clock
from twinloop.simulator.fleets.order import FleetOrder
from twinloop.simulator.fleets.progress import FleetProgress
from twinloop.simulator.fleets.runner import FleetRunner
from twinloop.simulator.plant import Plant

_ORDER: TypeAdapter[FleetOrder] = TypeAdapter(FleetOrder)


def shown(progress: FleetProgress) -> dict[str, object]:
    """What the panel shows of a fleet; times as ISO 8601."""
    told = {**dataclasses.asdict(progress), "finished": progress.finished}
    told["start"] = progress.start.isoformat()
    told["event_time"] = None if progress.event_time is None else progress.event_time.isoformat()
    told["spells"] = [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in dataclasses.asdict(spell).items()
        }
        for spell in progress.spells
    ]
    return told


def routes(plant: Plant, fleets: FleetRunner, clock: Clock) -> list[Route]:
    """The routes."""

    async def post(request: Request) -> Response:
        if not fleets.can_build:
            problem = "nobody could be told of vehicles: set TWINLOOP_SIMULATOR_INGEST"
            return JSONResponse({"problem": problem}, status_code=409)
        try:
            order = _ORDER.validate_json(await request.body())
        except ValidationError as error:
            problems = [
                {"field": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()
            ]
            return JSONResponse({"problems": problems}, status_code=422)
        if problems := order.problems(plant.stations, clock.now()):
            return JSONResponse({"problems": problems}, status_code=422)
        return JSONResponse(shown(fleets.start(order)), status_code=202)

    async def get(_: Request) -> Response:
        if fleets.progress is None:
            return JSONResponse({"problem": "no fleet yet"}, status_code=404)
        return JSONResponse(shown(fleets.progress))

    return [Route("/fleets", post, methods=["POST"]), Route("/fleets/current", get)]
