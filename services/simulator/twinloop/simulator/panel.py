"""The plant operator's panel, over HTTP: start a campaign and follow it.

Beside it are what one does at a station (`panel_stations`) and whole fleets (`panel_fleets`).

    POST /campaigns           202 and the progress; 422 with every bad field
    GET  /campaigns/current   the progress; 404 before the first campaign

Starting a campaign is what an operator does at the machine: the stations of it go back to nominal setpoints
and to `Execute`, and the campaign under way, if there is one, ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Collection, Sequence

from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinloop.simulator import panel_stations
from twinloop.simulator.campaign import Campaign, Run
from twinloop.simulator.plant import Plant

_CAMPAIGN: TypeAdapter[Campaign] = TypeAdapter(Campaign)

Problems = list[dict[str, str]]


class BadCampaign(Exception):
    """Raised when a request for a campaign is wrong; `problems` has a `field` and a `problem` for each fault.

    Operator action: mend every field named.
    """

    def __init__(self, problems: Problems) -> None:
        super().__init__("; ".join(f"{one['field']}: {one['problem']}" for one in problems))
        self.problems = problems


def parse_campaign(body: bytes, known: Collection[str]) -> Campaign:
    """The campaign asked for in `body` (JSON). `known`: the plant's stations. Raises `BadCampaign`."""
    try:
        campaign = _CAMPAIGN.validate_json(body)
    except ValidationError as error:
        raise BadCampaign(
            [{"field": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()]
        ) from error
    named = {
        "stations": campaign.stations,
        "faults": campaign.faults,
        "plc": campaign.plc,
    }
    problems = [
        {"field": field, "problem": f"{name!r} is no station of this plant: {', '.join(sorted(known))}"}
        for field, names in named.items()
        for name in names
        if name not in known
    ]
    if problems:
        raise BadCampaign(problems)
    return campaign


def progress(run: Run) -> dict[str, object]:
    """What the panel shows of a campaign."""
    return {
        "name": run.campaign.name,
        "welds": run.campaign.welds,
        "finished": run.finished,
        "stations": {name: dataclasses.asdict(one) for name, one in run.stations.items()},
    }


def panel(
    plant: Plant,
    start: Callable[[Campaign], Run],
    refresh: Callable[[str], Awaitable[None]],
    fleets: Sequence[Route] = (),
) -> Starlette:
    """The panel's HTTP application. `refresh` shows the rest of the plant what became of a station.

    `fleets`: the routes of `panel_fleets`.
    """

    async def post(request: Request) -> Response:
        try:
            campaign = parse_campaign(await request.body(), plant.stations)
        except BadCampaign as error:
            return JSONResponse({"problems": error.problems}, status_code=422)
        run = start(campaign)
        for station in campaign.stations:
            await refresh(station)
        return JSONResponse(progress(run), status_code=202)

    async def get(_: Request) -> Response:
        run = plant.run
        if run is None:
            return JSONResponse({"problem": "no campaign yet"}, status_code=404)
        return JSONResponse(progress(run))

    return Starlette(
        routes=[
            Route("/campaigns", post, methods=["POST"]),
            Route("/campaigns/current", get),
            *panel_stations.routes(plant, refresh),
            *fleets,
        ]
    )
