"""HTTP in: batches as JSON, each item accepted or refused by itself.

    POST /v1/telemetry         {"frames": [{...}, ...]}      (the API's documentation is at /docs)
    POST /genealogy/vehicles   {"vehicles": [{...}, ...]}    what the end of the vehicle line tells

| status | meaning |
|---|---|
| 202 | every item is decided and Kafka has acknowledged what came of it; at least one is kept |
| 400 | the body is not a batch; it is kept as a dead letter |
| 401, 403 | who asks is not known, or is no sender; nothing is read, nothing is kept |
| 413 | the body is too large; nothing is kept |
| 422 | every item was refused, each kept as a dead letter: sending them again is no use |
| 503 | Kafka has not acknowledged in time, or the service is stopping: send the same batch again |
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from twinloop.ingest.built_json import VehicleJson
from twinloop.ingest.intake import Fate, Intake, Outcome
from twinloop.ingest.path import Input, Path
from twinloop.ingest.telemetry_json import TelemetryJson
from twinloop.trust.acts import documented
from twinloop.trust.bearer import Access, guarded, protect
from twinloop.trust.people import Role

_MOST_WAITING = 64

Split = Callable[[bytes], list[msgspec.Raw]]
Decide = Callable[[bytes, datetime], Outcome]
Refuse = Callable[[bytes, Exception, datetime], Outcome]


class _Batch(msgspec.Struct, frozen=True):
    frames: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=10_000)]


class _Vehicles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vehicles: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=1_000)]


class ItemOutcome(BaseModel):
    """What became of one item. `event_id` is that of the frame or the vehicle; `reason` is a dead letter's.

    `vehicle` is the pseudonym under which a vehicle is known from now on, and has to send its telemetry.
    """

    index: int
    outcome: str = Field(description="accepted, duplicate or refused")
    event_id: str | None = None
    vehicle: str | None = None
    reason: str | None = None
    detail: str | None = None


class BatchOutcome(BaseModel):
    """What became of a batch, item by item, in the order sent."""

    accepted: int
    duplicate: int
    refused: int
    items: list[ItemOutcome]


class Problem(BaseModel):
    """Why a batch as a whole was not taken."""

    detail: str


_BATCH = msgspec.json.Decoder(_Batch)
_BUILT = msgspec.json.Decoder(_Vehicles)
_OUTCOMES = {
    Fate.FRAME: "accepted",
    Fate.VEHICLE_BUILT: "accepted",
    Fate.DUPLICATE: "duplicate",
    Fate.DEAD_LETTER: "refused",
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": BatchOutcome},
    **documented({401: "Nobody is known by what the request carries.", 403: "He is no sender."}, 401, 403),
    413: {"model": Problem},
    422: {"model": BatchOutcome},
    503: {"model": Problem},
}


def _body(name: str, kind: type[msgspec.Struct], most: int) -> dict[str, Any]:
    """The request's body for the API's documentation: a list `name` of `kind`."""
    (_, parts) = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    items = _inlined(parts[kind.__name__], parts)
    schema = {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "array", "minItems": 1, "maxItems": most, "items": items}},
    }
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {name: _inlined(one, parts) for name, one in schema.items()}


def api(
    intake: Intake,
    path: Path,
    stopping: asyncio.Event,
    *,
    timeout_s: float,
    max_bytes: int,
    access: Access | None,
) -> FastAPI:
    """The service's HTTP API, for senders whom `access` knows; without it for whoever reaches it."""
    app = FastAPI(
        title="Twinloop ingest",
        version="1",
        summary="Telemetry and built vehicles in batches; what is answered with 202 is in Kafka.",
    )
    senders: list[Any] = []
    if access is not None:
        protect(app, access)
        senders = [guarded(Role.SENDER)]
    waiting = 0

    @app.post(
        "/v1/telemetry",
        dependencies=senders,
        status_code=202,
        response_model=BatchOutcome,
        responses=_ANSWERS,
        openapi_extra=_body("frames", TelemetryJson, 10_000),
    )
    async def telemetry(request: Request) -> JSONResponse:
        """Take a batch of frames. Items of one asset are judged in the order given."""
        return await take(
            request, "http", lambda body: _BATCH.decode(body).frames, intake.http, intake.no_frames
        )

    @app.post(
        "/genealogy/vehicles",
        dependencies=senders,
        status_code=202,
        response_model=BatchOutcome,
        responses=_ANSWERS,
        openapi_extra=_body("vehicles", VehicleJson, 1_000),
    )
    async def vehicles(request: Request) -> JSONResponse:
        """Take vehicles that were built. Each is answered with the pseudonym that it is known by."""
        return await take(
            request, "vehicles", lambda body: _BUILT.decode(body).vehicles, intake.built, intake.no_vehicles
        )

    async def take(
        request: Request, source: str, split: Split, decide: Decide, refuse: Refuse
    ) -> JSONResponse:
        nonlocal waiting
        if stopping.is_set() or waiting >= _MOST_WAITING:
            return _unavailable("this service is stopping or has too many batches waiting")
        waiting += 1
        try:
            body = await _read(request, max_bytes)
            if body is None:
                return _problem(413, f"a body may have {max_bytes} bytes")
            inputs, is_batch = _inputs(body, split, decide, refuse)
            outcomes = await path.take(source, inputs, timeout_s)
        except TimeoutError:
            return _unavailable("Kafka has not acknowledged in time; send the same batch again")
        finally:
            waiting -= 1
        answer = _answer(outcomes)
        status = 400 if not is_batch else 422 if answer.refused == len(outcomes) else 202
        return JSONResponse(answer.model_dump(exclude_none=True), status_code=status)

    return app


async def _read(request: Request, max_bytes: int) -> bytes | None:
    """The body, or `None` when it is too large; no more than that is read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            return None
    return bytes(body)


def _inputs(body: bytes, split: Split, decide: Decide, refuse: Refuse) -> tuple[list[Input], bool]:
    """One input an item, each with its original bytes; a body that is no batch is one input itself."""
    try:
        items = split(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return [partial(refuse, body, error)], False
    return [partial(decide, bytes(item)) for item in items], True


def _answer(outcomes: list[Outcome]) -> BatchOutcome:
    items = [
        ItemOutcome(
            index=index,
            outcome=_OUTCOMES[outcome.fate],
            event_id=outcome.event_id or None,
            vehicle=outcome.vehicle or None,
            reason=outcome.refused.reason if outcome.refused else None,
            detail=outcome.refused.detail if outcome.refused else None,
        )
        for index, outcome in enumerate(outcomes)
    ]
    counts = {kind: sum(item.outcome == kind for item in items) for kind in set(_OUTCOMES.values())}
    return BatchOutcome(items=items, **counts)


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)


def _unavailable(detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=503, headers={"Retry-After": "2"})
