"""The command that a container's engine asks a service with."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from twinloop.runtime.health import Health, serve
from twinloop.runtime.healthcheck import main, problem


def ask(port: int, path: str, host: str = "0.0.0.0") -> str | None:
    return problem({"TWINLOOP_HEALTH_PORT": str(port), "TWINLOOP_HEALTH_HOST": host}, path)


async def test_it_tells_what_is_missing() -> None:
    health = Health()
    missing: str | None = "no partition yet"
    health.add("assigned", lambda: missing)
    async with serve(health, CollectorRegistry(), "127.0.0.1", 0) as port:
        assert await asyncio.to_thread(ask, port, "/health/live") is None
        found = await asyncio.to_thread(ask, port, "/health/ready")
        assert found is not None
        assert "no partition yet" in found
        missing = None
        assert await asyncio.to_thread(ask, port, "/health/ready", "127.0.0.1") is None


def test_nobody_there() -> None:
    found = ask(1, "/health/ready")
    assert found is not None
    assert "no answer" in found


@pytest.mark.parametrize("port", ["", "x", "0", "70000"])
def test_no_port(port: str) -> None:
    found = problem({"TWINLOOP_HEALTH_PORT": port}, "/health/live")
    assert found is not None
    assert "set it to" in found


def test_bad_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alive"]) == 2
    assert "usage" in capsys.readouterr().err


def test_it_costs_little() -> None:
    code = "import sys, twinloop.runtime.healthcheck; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"pydantic", "uvicorn", "aiokafka", "numpy", "http.client", "ssl", "asyncio"} & set(
        loaded.split()
    )
