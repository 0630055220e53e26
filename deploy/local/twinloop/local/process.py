"""One child process: spawned in a session of its own, logged to a file, stopped by its recorded identity."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TETHER = Path(__file__).with_name("tether.py")
_POLL_S = 0.02
LINES_SHOWN = 20


@dataclass(frozen=True)
class Command:
    """What to execute.

    `death_signal` is sent by the kernel when the process that started this one dies.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    death_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same id: id and start time (clock ticks)."""

    pid: int
    start_ticks: int

    def alive(self) -> bool:
        return start_ticks(self.pid) == self.start_ticks


def start_ticks(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (so no clock step moves it); None for none or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def identify(pid: int) -> Identity:
    """The identity of a process that runs now."""
    return Identity(pid, start_ticks(pid) or 0)


class Child:
    """A running (or ended) process.

    Spawn it from a thread that lives as long as the child may: the kernel counts the end of that thread
    as the parent's death.
    """

    def __init__(self, name: str, command: Command, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self.watched = False  # True while its end would be an accident
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(_TETHER),
                    str(os.getpid()),
                    str(int(command.death_signal)),
                    *list(command.argv),
                ],
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the terminal's process group: children are stopped in order, by us.
                start_new_session=True,
            )
        self.identity = identify(self._process.pid)
        self.started_at = time.time()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    @property
    def running(self) -> bool:
        return self.returncode is None

    def send(self, sent: signal.Signals) -> None:
        """Send a signal; the end that may follow is no accident."""
        self.watched = False
        self._process.send_signal(sent)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False when it is still running after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, up to `grace_s`, then SIGKILL for it and for what it left behind in its process group."""
        if self.running:
            self.send(signal.SIGTERM)
            if not await self.wait(grace_s):
                self.send(signal.SIGKILL)
                await self.wait(grace_s)
        kill_group(self.pid)

    def how_it_ended(self) -> str:
        code = self.returncode
        if code is None:
            return "is running"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with status {code}"


def kill_group(leader_pid: int) -> None:
    """Kill what is left in the process group that `leader_pid` led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def tail(log_path: Path, lines: int = LINES_SHOWN) -> list[str]:
    """The last lines of a log file; none when there is no file."""
    try:
        with log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - lines * 2000))
            return log.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
