"""One run of one contestant: how many windows a second, and what that costs which process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from support.processes import ServiceProcess

from bench.workload import MODEL, THRESHOLD
from twinloop.contracts.topics import ANOMALIES, TELEMETRY_FACTORY
from twinloop.local.places import find_places
from twinloop.local.stack import Stack

HERE = Path(__file__).parent
EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """What had been done at a moment: windows, and CPU seconds of each process with its children."""

    at: float
    windows: float
    own: float
    triton: float
    kafka: float


@dataclass(frozen=True, slots=True)
class Result:
    """Of the steady part of a run. CPU in microseconds a window; `first_s` from the start to the first
    window; `rss_mb` at the end."""

    per_s: float
    own_us: float
    triton_us: float
    kafka_us: float
    first_s: float
    rss_mb: float


class Contestant:
    """A program of `contestants/`. `limit_s`: it is measured for so long at most; an `endless` one always."""

    def __init__(self, name: str, limit_s: float = 60.0, *, endless: bool = False) -> None:
        self.name = name
        self.endless = endless
        self.limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._out = Path()

    def start(self, stack: Stack, prefix: str, group: str, folder: Path) -> None:
        """Start it as a group of its own."""
        places = find_places()
        environment = {
            **os.environ,
            "BENCH_KAFKA": stack.endpoints.kafka,
            "BENCH_TRITON": stack.endpoints.triton,
            "BENCH_TOPIC": TELEMETRY_FACTORY.named(prefix),
            "BENCH_OUT": ANOMALIES.named(prefix),
            "BENCH_GROUP": group,
            "BENCH_MODEL": MODEL,
            "BENCH_THRESHOLD": str(THRESHOLD),
            "PYTHONPATH": f"{HERE / 'contestants'}:{places.repository / 'libs' / 'contracts'}",
        }
        command = [str(places.bench.python), str(HERE / "contestants" / f"{self.name}.py")]
        if self.name.startswith("faust"):
            command += ["-L", "uvloop", "worker", "-l", "warn", "--without-web"]
        self._out = folder / f"{group}.out"
        with self._out.open("wb") as out, (folder / f"{group}.err").open("wb") as err:
            self._process = subprocess.Popen(command, env=environment, stdout=out, stderr=err, cwd=folder)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def windows(self) -> float:
        """How many it has done. Raises RuntimeError when it has died."""
        assert self._process is not None
        if self._process.poll() is not None:
            error = self._out.with_suffix(".err").read_text()[-2000:]
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}: {error}")
        lines = self._out.read_bytes().splitlines()
        return float(lines[-1]) if lines and lines[-1].isdigit() else 0.0

    def stop(self) -> None:
        """Stop it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)


class Twinloop:
    """The detector. `settings` are laid over its environment."""

    limit_s = 60.0
    endless = False

    def __init__(self, name: str = "twinloop", **settings: str) -> None:
        self.name = name
        self._settings = settings
        self.process: ServiceProcess | None = None

    def start(self, stack: Stack, prefix: str, group: str, folder: Path) -> None:
        """Start it."""
        settings = {
            "TWINLOOP_KAFKA": stack.endpoints.kafka,
            "TWINLOOP_TRITON": stack.endpoints.triton,
            "TWINLOOP_TOPIC_PREFIX": prefix,
            "TWINLOOP_MODEL_PREFIX": "",
            **self._settings,
        }
        self.process = ServiceProcess("detector", settings, folder / f"{group}.err")
        self.process.start()

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self.process is not None
        return self.process.pids[-1]

    def windows(self) -> float:
        """How many it has done."""
        assert self.process is not None
        return self.process.metric("windows_total")

    def stop(self) -> None:
        """Stop it."""
        assert self.process is not None
        self.process.stop()


async def run(
    one: Contestant | Twinloop, stack: Stack, prefix: str, group: str, folder: Path, total: int
) -> Result:
    """Measure it until it has done `total` windows, or its time is up."""
    begun = time.monotonic()
    one.start(stack, prefix, group, folder)
    samples: list[Sample] = []
    first_s = 0.0
    try:
        while True:
            await asyncio.sleep(EVERY_S)
            windows = await asyncio.to_thread(one.windows)
            cpu = [cpu_s(pid) for pid in (one.pid, stack.pid("triton"), stack.pid("kafka"))]
            samples.append(Sample(time.monotonic(), windows, *cpu))
            if windows and not first_s:
                first_s = time.monotonic() - begun
            if (windows >= 0.97 * total and not one.endless) or (
                first_s and time.monotonic() - begun - first_s > one.limit_s
            ):
                break
            if time.monotonic() - begun > one.limit_s + 40:
                raise RuntimeError(f"{one.name} did {windows:.0f} of {total} windows in its time")
        rss_mb = psutil.Process(one.pid).memory_info().rss / 2**20
    finally:
        await asyncio.to_thread(one.stop)
    return steady(samples, first_s, rss_mb)


def steady(samples: list[Sample], first_s: float, rss_mb: float) -> Result:
    """The middle of a run: after a tenth, before the last twentieth."""
    end = samples[-1].windows
    inside = [one for one in samples if 0.1 * end <= one.windows <= 0.95 * end]
    if len(inside) < 2:
        raise RuntimeError("too short to measure")
    a, b = inside[0], inside[-1]
    done = b.windows - a.windows
    cost: Callable[[float, float], float] = lambda x, y: (y - x) / done * 1e6  # noqa: E731
    return Result(
        per_s=done / (b.at - a.at),
        own_us=cost(a.own, b.own),
        triton_us=cost(a.triton, b.triton),
        kafka_us=cost(a.kafka, b.kafka),
        first_s=first_s,
        rss_mb=rss_mb,
    )


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its children so far."""
    total = 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
