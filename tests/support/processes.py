"""A service of ours as a process that tests start, kill and ask."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support.http import HTTP


@dataclass
class ServiceProcess:
    """`python -m twinloop.<name>`; `start` may be called again after `kill` or `stop`.

    `settings` are laid over this process's environment.
    """

    name: str
    settings: dict[str, str]
    log: Path
    module: str = ""
    """What is run; `twinloop.<name>` when empty."""
    process: subprocess.Popen[bytes] | None = None
    pids: list[int] = field(default_factory=list)

    def start(self) -> None:
        environment = {**os.environ, "TWINLOOP_LOG_FORMAT": "json", **self.settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module or f"twinloop.{self.name}"], env=environment, stderr=log
            )
        self.pids.append(self.process.pid)

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL. It must be running: what has died of itself is a failure."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it stands still until it is killed, or told to go on by `go_on`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        assert self.running, self.log.read_text()
        self.process.send_signal(how)
        return self.process.wait(20)

    @property
    def url(self) -> str:
        """Where it serves HTTP; "" before it does."""
        assert self.running, self.log.read_text()
        ports = re.findall(r'"port": (\d+)', self.log.read_text())
        return f"http://127.0.0.1:{ports[-1]}" if len(ports) == len(self.pids) else ""

    def get(self, path: str) -> httpx.Response | None:
        """An answer; `None` before it serves."""
        if not (url := self.url):
            return None
        try:
            return HTTP.get(url + path)
        except httpx.HTTPError:
            return None

    def status(self, path: str) -> int:
        answer = self.get(path)
        return 0 if answer is None else answer.status_code

    @property
    def ready(self) -> bool:
        return self.status("/health/ready") == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all series of `twinloop_<service>_<name>` with these labels; 0 before it serves any."""
        answer = self.get("/metrics")
        total = 0.0
        for line in answer.text.splitlines() if answer is not None else ():
            series, _, value = line.rpartition(" ")
            metric, _, inside = series.partition("{")
            if metric == f"twinloop_{self.name}_{name}" and all(
                f'{key}="{wanted}"' in inside for key, wanted in labels.items()
            ):
                total += float(value)
        return total
