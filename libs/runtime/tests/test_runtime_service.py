"""The life cycle of a service, as a supervisor sees it: health, SIGTERM, exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

SERVICE = """
import asyncio
import sys
from twinloop.runtime.service import Context, run
from twinloop.runtime.settings import ServiceSettings, load

ready = asyncio.Event()

async def main(settings, context):
    if "early" in sys.argv:
        await context.stopping.wait()
    context.health.add("kafka", lambda: None if "ready" in sys.argv else "not connected")
    if "crash" in sys.argv:
        raise RuntimeError("boom")
    await context.stopping.wait()
    if "hang" in sys.argv:
        await asyncio.sleep(60)
    print("drained", flush=True)

sys.exit(run("example", load(ServiceSettings), main))
"""


@contextmanager
def service(*argv: str, grace_s: float = 5) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {
        **os.environ,
        "TWINLOOP_KAFKA": "127.0.0.1:1",
        "TWINLOOP_GRACE_S": str(grace_s),
        "TWINLOOP_LOG_FORMAT": "json",
    }
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVICE), *argv],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if '"started"' in line:
                    port = int(line.split('"port": ')[1].split(",")[0].rstrip("}\n "))
                    break
            else:
                pytest.fail("the service did not start")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            if process.poll() is None:
                process.kill()


def test_not_ready_before_anything_could_be_checked() -> None:
    with service("early") as (_, url):
        assert httpx.get(f"{url}/health/ready").json()["missing"] == {"service": "starting"}


def test_live_but_not_ready_says_what_is_missing() -> None:
    with service() as (_, url):
        assert httpx.get(f"{url}/health/live").status_code == 200
        ready = httpx.get(f"{url}/health/ready")
        assert ready.status_code == 503
        assert ready.json()["missing"] == {"kafka": "not connected"}
        assert "process_resident_memory_bytes" in httpx.get(f"{url}/metrics").text


def test_sigterm_drains_and_exits_0() -> None:
    with service("ready") as (process, url):
        assert httpx.get(f"{url}/health/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "drained\n"


def test_a_drain_cut_short_exits_1() -> None:
    with service("ready", "hang", grace_s=0.3) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1


def test_a_crash_is_logged_and_exits_1() -> None:
    with service("crash") as (process, _):
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert "boom" in process.stderr.read()
