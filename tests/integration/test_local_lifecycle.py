"""The runner leaves nothing behind: not after `down`, Ctrl-C, a death, or a start that fails."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from twinloop.local.errors import PartDied
from twinloop.local.parts.triton import SHARED_MEMORY, shared_memory_prefix
from twinloop.local.services import select
from twinloop.local.stack import Stack
from twinloop.local.state import SUPERVISOR, StateFolder


def environment(state: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TWINLOOP_STATE": str(state), **more}


def local(state: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twinloop.local", *command],
        env=environment(state, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def marked(state: Path) -> list[str]:
    """Command lines of processes that carry the state folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TWINLOOP_STACK") == str(state) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def assert_nothing_is_left(state: Path, ports: list[int]) -> None:
    assert marked(state) == []
    for port in ports:
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))  # raises when something listens there
    assert not (state / "tmp").exists()
    assert not (state / "endpoints.env").exists()
    assert StateFolder(state).recorded() == []
    assert not list(SHARED_MEMORY.glob(f"{shared_memory_prefix(state)}*"))


def ports_of(state: Path) -> list[int]:
    values = StateFolder(state).endpoints().values()
    return [int(one.rpartition(":")[2]) for one in values if one.startswith(("127.", "http:"))]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "state"
    yield folder
    local(folder, "down")


def test_up_ps_logs_open_down(state: Path) -> None:
    up = local(state, "up")
    assert up.returncode == 0, up.stderr
    assert "up" in up.stdout
    ports = ports_of(state)
    assert len(ports) > 8
    listed = local(state, "ps").stdout
    services = ("ingest", "detector", "modelops", "controller", "twin", "line", "historian")
    for name in ("kafka", "triton", "mqtt", *services):
        assert name in listed
    pages = local(state, "open").stdout
    assert "health/ready" in pages
    assert "-m twinloop.local read changes" in pages
    assert local(state, "read", "changes").returncode == 0
    assert local(state, "logs", "detector").stdout
    again = local(state, "up")
    assert again.returncode != 0
    assert "already running" in again.stderr
    down = local(state, "down")
    assert down.returncode == 0, down.stderr
    assert_nothing_is_left(state, ports)


def test_ctrl_c_while_it_starts(state: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "twinloop.local.demo", "--state", str(state)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(state),
    )
    deadline = time.monotonic() + 60
    while not any(one.name == "kafka" for one in StateFolder(state).recorded()):
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ports = ports_of(state)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "nothing is left running" in said
    assert_nothing_is_left(state, ports)


async def test_a_part_that_dies_ends_the_stack_with_the_last_lines_of_its_log(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ports: list[int] = []

    async def watch_one_die() -> None:
        async with Stack(state, parts=("kafka", "mqtt"), services=select(["historian"])) as stack:
            ports.extend(ports_of(state))
            asyncio.get_running_loop().call_later(0.2, os.kill, stack.pid("historian"), signal.SIGKILL)
            async with asyncio.timeout(30):
                await stack.watch()

    with pytest.raises(PartDied) as death:
        await watch_one_die()
    assert "historian" in str(death.value)
    assert "SIGKILL" in str(death.value)
    assert "partitions assigned" in str(death.value)
    assert_nothing_is_left(state, ports)


def test_a_killed_supervisor_is_cleaned_up_after(state: Path) -> None:
    up = local(state, "up")
    assert up.returncode == 0, up.stderr
    ports = ports_of(state)
    (supervisor,) = [one for one in StateFolder(state).recorded() if one.name == SUPERVISOR]
    os.kill(supervisor.pid, signal.SIGKILL)
    down = local(state, "down")
    assert down.returncode == 0, down.stderr
    assert_nothing_is_left(state, ports)


def test_a_port_in_use_is_one_sentence_and_starts_nothing(state: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = local(state, "up", TWINLOOP_MQTT_PORT=str(port))
    assert up.returncode == 2
    assert f"Port {port}" in up.stderr
    assert "TWINLOOP_MQTT_PORT" in up.stderr
    assert "Traceback" not in up.stderr
    assert_nothing_is_left(state, [])


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TWINLOOP_KAFKA", "nowhere", "write it as host:port"),
        ("TWINLOOP_TRITON_PORT", "many", "is no port"),
    ],
)
def test_an_address_that_is_none_is_one_sentence(state: Path, variable: str, value: str, said: str) -> None:
    up = local(state, "up", **{variable: value})
    assert up.returncode == 2
    assert said in up.stderr
    assert variable in up.stderr
    assert "Traceback" not in up.stderr


def test_a_service_with_wrong_settings_fails_the_start_and_leaves_nothing(state: Path) -> None:
    """Every bad field is named at once, and what was started before is stopped."""
    up = local(state, "up", TWINLOOP_DETECTOR_SCORE_EVERY="-1", TWINLOOP_DETECTOR_RETRY_S="soon")
    assert up.returncode != 0
    assert "TWINLOOP_DETECTOR_SCORE_EVERY" in up.stderr
    assert "TWINLOOP_DETECTOR_RETRY_S" in up.stderr
    assert_nothing_is_left(state, [])
