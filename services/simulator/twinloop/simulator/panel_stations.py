"""The operator's part of the panel: what a person at a station does by hand.

    GET  /stations/{station}            what the PLC knows: setpoints in force, and as its variables show them
    POST /stations/{station}/operator   {"parameter", "value"}: set by hand, and turn the key
    POST /stations/{station}/release    give the key back; 409 when it is not turned
    POST /stations/{station}/lock       maintenance lock on, /unlock off
    POST /stations/{station}/alarm      {"active": true or false}: high alarm on or off

Every answer is the station's state. 404 for a station that is not of this plant, 422 with every bad field for
a body that is wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinloop.simulator import by_hand
from twinloop.simulator.plant import Plant
from twinloop.simulator.plc_state import PlcState

Act = Callable[[PlcState], PlcState]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ByHand(_Body):
    """A setpoint that the operator sets."""

    parameter: Literal["laser_power_w", "focus_mm", "end_of_line_limit_uohm"]
    value: Annotated[float, Field(strict=True, allow_inf_nan=False)]


class HighAlarm(_Body):
    """Whether the high alarm is on."""

    active: StrictBool


B = TypeVar("B", bound=_Body)


class BadBody(Exception):
    """Raised when a request's body is wrong; `problems` has a `field` and a `problem` for each fault.

    Operator action: mend every field named.
    """

    def __init__(self, error: ValidationError) -> None:
        super().__init__(str(error))
        self.problems = [
            {"field": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()
        ]


def shown(station: str, plc: PlcState) -> dict[str, object]:
    """What the panel shows of a station."""
    return {
        "station": station,
        "control_source": plc.control,
        "local_reason": plc.local_reason,
        "setpoints": dict(plc.setpoints),
        "shown_setpoints": dict(plc.shown),
        "local_setpoints": dict(plc.local_setpoints),
        "mode": plc.mode,
        "recipe": plc.recipe,
        "maintenance_lock": plc.maintenance_lock,
        "high_alarm": plc.high_alarm,
        "beat": plc.beat,
    }


async def _set(request: Request) -> Act:
    wanted = await _body(request, ByHand)
    return partial(by_hand.set_setpoint, parameter=wanted.parameter, value=wanted.value)


async def _alarm(request: Request) -> Act:
    wanted = await _body(request, HighAlarm)
    return by_hand.raise_alarm if wanted.active else by_hand.clear_alarm


def _always(act: Act) -> Callable[[Request], Awaitable[Act]]:
    async def answer(_: Request) -> Act:
        return act

    return answer


async def _body(request: Request, kind: type[B]) -> B:
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise BadBody(error) from error


_ACTS: dict[str, Callable[[Request], Awaitable[Act]]] = {
    "operator": _set,
    "release": _always(by_hand.give_back),
    "lock": _always(by_hand.lock),
    "unlock": _always(by_hand.unlock),
    "alarm": _alarm,
}


def routes(plant: Plant, refresh: Callable[[str], Awaitable[None]]) -> list[Route]:
    """The routes. `refresh` is awaited with the station's name after each act, before it is answered."""

    def unknown(station: str) -> Response | None:
        if station in plant.stations:
            return None
        known = ", ".join(sorted(plant.stations))
        problem = f"{station!r} is no station of this plant: {known}"
        return JSONResponse({"problem": problem}, status_code=404)

    async def get(request: Request) -> Response:
        station = request.path_params["station"]
        return unknown(station) or JSONResponse(shown(station, plant.plc(station)))

    async def post(act: str, request: Request) -> Response:
        station = request.path_params["station"]
        if (refused := unknown(station)) is not None:
            return refused
        try:
            plc = plant.operate(station, await _ACTS[act](request))
        except BadBody as error:
            return JSONResponse({"problems": error.problems}, status_code=422)
        except by_hand.OutOfLimits as error:
            problems = [{"field": "value", "problem": str(error)}]
            return JSONResponse({"problems": problems}, status_code=422)
        except by_hand.KeyNotTurned as error:
            return JSONResponse({"problem": str(error)}, status_code=409)
        await refresh(station)
        return JSONResponse(shown(station, plc))

    return [
        Route("/stations/{station}", get),
        *(Route(f"/stations/{{station}}/{act}", partial(post, act), methods=["POST"]) for act in _ACTS),
    ]
