"""What `helm test` makes of what it finds; the whole of it runs on a real cluster in tests/k8s."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twinloop.local.chart_check import NotThere, everybody_ready, services


def test_services_are_those_with_an_address() -> None:
    assert services(
        {
            "TWINLOOP_TWIN_URL": "http://twin:8080",
            "TWINLOOP_DETECTOR_VEHICLES_URL": "http://detector-vehicles:8080",
            "TWINLOOP_KAFKA": "kafka:9092",
            "TWINLOOP_KAFKA_TOKEN_URL": "https://id/token",
            "OTHER_URL": "x",
        }
    ) == {"twin": "http://twin:8080", "detector-vehicles": "http://detector-vehicles:8080"}


async def test_who_is_not_ready_is_named_with_what_it_says() -> None:
    async def ready(_: Request) -> Response:
        return JSONResponse({"missing": {"triton": "no answer"}}, status_code=503)

    config = uvicorn.Config(
        Starlette(routes=[Route("/health/ready", ready)]), port=0, log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with pytest.raises(NotThere, match=r"detector: .*no answer") as refused:
            await everybody_ready({"detector": f"http://127.0.0.1:{port}"}, within_s=0.1)
        assert "not ready after 0 s" in str(refused.value)
    finally:
        server.should_exit = True
        await task


async def test_who_does_not_answer_is_named() -> None:
    with pytest.raises(NotThere, match=r"twin: does not answer at http://127\.0\.0\.1:1"):
        await everybody_ready({"twin": "http://127.0.0.1:1"}, within_s=0.1)
