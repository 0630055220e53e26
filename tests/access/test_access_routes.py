"""Every route of every service asks who is there, for the role that stands here; nobody adds one without."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from prometheus_client import CollectorRegistry

from twinloop.controller.field import api as controller
from twinloop.ingest import http as ingest
from twinloop.line import api as line
from twinloop.modelops import api as modelops
from twinloop.modelops.metrics import Metrics as ModelopsMetrics
from twinloop.trust.bearer import guarded
from twinloop.trust.people import Role
from twinloop.twin import api as twin
from twinloop.twin.metrics import Metrics as TwinMetrics

NONE = cast(Any, None)
"""What a route would use when it is asked; here none is."""
VIEWER, OPERATOR, ENGINEER = {Role.VIEWER}, {Role.OPERATOR}, {Role.ENGINEER}
SCIENTIST, SENDER = {Role.DATA_SCIENTIST}, {Role.SENDER}
IN_HANDSHAKE = {"/stream"}
"""WebSockets, which ask in their handshake: `services/twin/tests` knocks."""


def apis() -> Iterator[tuple[str, FastAPI]]:
    stop = asyncio.Event()
    yield "ingest", ingest.api(NONE, NONE, stop, timeout_s=1, max_bytes=1, access=cast(Any, object()))
    yield (
        "modelops",
        modelops.make_api(NONE, NONE, NONE, NONE, NONE, ModelopsMetrics(CollectorRegistry()), upload_bytes=1),
    )
    yield "controller", controller.make_api(NONE, NONE, NONE, NONE)
    yield (
        "twin",
        twin.make_api(NONE, NONE, NONE, NONE, NONE, NONE, NONE, TwinMetrics(CollectorRegistry())),
    )
    yield "line", line.api(NONE, NONE, NONE, NONE, NONE, NONE)


ROLES: dict[str, dict[str, set[Role]]] = {
    "ingest": {"POST /v1/telemetry": SENDER, "POST /genealogy/vehicles": SENDER},
    "modelops": {
        "GET /models": VIEWER,
        "GET /models/diff": VIEWER,
        "POST /models/stage": SCIENTIST,
        "POST /models/shadow": SCIENTIST,
        "POST /models/canary": SCIENTIST,
        "POST /models/promote": SCIENTIST,
        "POST /models/rollback": SCIENTIST | OPERATOR,
        "POST /models/retire": SCIENTIST,
    },
    "controller": {"GET /findings": VIEWER, "GET /recall": OPERATOR},
    "twin": {
        "GET /assets": VIEWER,
        "GET /assets/{asset}": VIEWER,
        "GET /changes": VIEWER,
        "GET /changes/{change_id}": VIEWER,
        "POST /changes/{change_id}/approve": OPERATOR,
        "POST /changes/{change_id}/veto": OPERATOR,
        "POST /assets/{asset}/mode": OPERATOR,  # up: an engineer, once it knows that it is up
        "POST /assets/{asset}/hand-back": OPERATOR,
    },
    "line": {"GET /stations": VIEWER, "POST /kill": OPERATOR, "POST /kill/clear": ENGINEER},
}


def asked(of: Dependant) -> set[Role]:
    """The roles, one of which whoever calls must have; none where nobody is asked."""
    own = of.call is not None and of.call.__qualname__ == f"{guarded.__qualname__}.<locals>.person"
    found = set(inspect.getclosurevars(cast(Any, of.call)).nonlocals["roles"]) if own else set()
    return found.union(*(asked(one) for one in of.dependencies))


@pytest.mark.parametrize(("service", "api"), [*apis()], ids=list(ROLES))
def test_every_route_asks_for_the_role_that_is_written_here(service: str, api: FastAPI) -> None:
    routes = [one for one in api.routes if isinstance(one, APIRoute)]
    found = {f"{verb} {one.path}": asked(one.dependant) for one in routes for verb in one.methods}
    assert found == ROLES[service]
    sockets = {one.path for one in api.routes if isinstance(one, APIWebSocketRoute)}
    assert sockets <= IN_HANDSHAKE
    others = {getattr(one, "path", "") for one in api.routes} - {one.path for one in routes} - sockets
    assert others <= {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}


def test_every_service_with_an_api_is_here() -> None:
    assert {name for name, _ in apis()} == ROLES.keys()
    from helm.chart import CHART
    from yaml import safe_load

    table = safe_load((CHART / "files" / "components.yaml").read_text())
    assert {one["program"] for one in table.values() if one.get("api")} == ROLES.keys()


def test_a_route_that_asks_nobody_is_noticed() -> None:
    api = FastAPI()

    @api.get("/open")
    async def opened() -> None: ...

    (route,) = (one for one in api.routes if isinstance(one, APIRoute))
    assert asked(route.dependant) == set()
