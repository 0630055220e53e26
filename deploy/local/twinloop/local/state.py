"""The state folder: data, logs, addresses, and the record of what runs, so that it can always be stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from twinloop.local.errors import CannotStart
from twinloop.local.parts.triton import remove_shared_memory
from twinloop.local.places import Places
from twinloop.local.process import Identity, kill_group, start_ticks

MARK = "TWINLOOP_STACK"
"""Environment variable that every child carries: the state folder it belongs to."""

STATE = ".twinloop"
"""Name of the state folder of `make up`."""

SUPERVISOR = "supervisor"
"""Name under which the process that runs the stack is recorded."""

_DATA = (
    *("kafka", "models", "artefacts", "processes", "parquet", "controller", "mqtt", "audit", "certs"),
    *("logs", "tmp"),
)
_FILES = ("endpoints.env", "processes.json", "supervisor.log")
_STOP_S = 15.0


@dataclass(frozen=True)
class Recorded:
    """A process as written down when it was started."""

    name: str
    pid: int
    start_ticks: int
    started_at: float  # seconds since the epoch, for display only
    where: str = ""

    @property
    def alive(self) -> bool:
        return Identity(self.pid, self.start_ticks).alive()


class StateFolder:
    """One folder, at most one stack in it at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def scratch(self) -> Path:
        """Temporary files of the children: emptied when the stack stops."""
        return self.root / "tmp"

    @property
    def artefacts(self) -> Path:
        """Models that were made, before they are staged."""
        return self.root / "artefacts"

    @property
    def certs(self) -> Path:
        """Keys, certificates and people of this stack."""
        return self.root / "certs"

    @property
    def endpoints_file(self) -> Path:
        return self.root / "endpoints.env"

    @property
    def supervisor_log(self) -> Path:
        return self.root / "supervisor.log"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder; the kernel gives it up when this process ends, however it ends.

        Raises `CannotStart` when another stack holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotStart(
                    f"A stack is already running in {self.root}: stop it with "
                    f"`{naming(self.root)}make down` (a demo: where it runs, with Ctrl-C), or set "
                    "TWINLOOP_STATE to another folder."
                ) from None
            yield

    def is_held(self) -> bool:
        """Whether a running stack holds the folder."""
        if not self.root.exists():
            return False
        try:
            with self.held():
                return False
        except CannotStart:
            return True

    def wipe(self) -> None:
        """Remove what a former stack left; only what a stack makes, whatever else is in the folder."""
        for name in _DATA:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in _FILES:
            (self.root / name).unlink(missing_ok=True)

    def record(self, processes: Iterable[Recorded]) -> None:
        self._write("processes.json", json.dumps([asdict(one) for one in processes], indent=1))

    def recorded(self) -> list[Recorded]:
        try:
            return [Recorded(**one) for one in json.loads((self.root / "processes.json").read_text())]
        except (OSError, ValueError, TypeError):
            return []

    def write_endpoints(self, environment: Mapping[str, str]) -> None:
        self._write("endpoints.env", "".join(f"{key}={value}\n" for key, value in environment.items()))

    def endpoints(self) -> dict[str, str]:
        try:
            lines = self.endpoints_file.read_text().splitlines()
        except OSError:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def stop_recorded(self) -> list[str]:
        """Stop what is written down and still runs, last started first; returns the names.

        For a stack whose supervisor was killed: a running supervisor stops its own children.
        """
        running = [one for one in reversed(self.recorded()) if one.alive and one.name != SUPERVISOR]
        for one in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline and any(one.alive for one in running):
            time.sleep(0.05)
        for one in running:
            if one.alive:
                kill_group(one.pid)
        for pid in self._marked():  # what a killed child left behind, such as Triton's backend processes
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.clean()
        return [one.name for one in running]

    def clean(self) -> None:
        """Forget the processes, and remove what only running ones need."""
        self.record([])
        self.endpoints_file.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        remove_shared_memory(self.root)

    def _marked(self) -> list[int]:
        mark = f"{MARK}={self.root}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
                if marked and start_ticks(int(entry.name)) is not None:
                    found.append(int(entry.name))
        return found

    def _write(self, name: str, text: str) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        aside = self.root / f"{name}.{os.getpid()}"
        aside.write_text(text)
        aside.replace(self.root / name)


def default_state(places: Places, environ: Mapping[str, str], name: str = STATE) -> StateFolder:
    """`name` in the checkout, or `TWINLOOP_STATE`."""
    configured = environ.get("TWINLOOP_STATE")
    return StateFolder(Path(configured).expanduser() if configured else places.repository / name)


def state_of_play(places: Places, environ: Mapping[str, str], name: str) -> StateFolder:
    """The folder of what is played and judged under `name`: never the one that `make up` keeps."""
    return default_state(places, environ, f"{STATE}-{name}")


def naming(root: Path) -> str:
    """What goes before a command so that it means the state folder `root`; nothing where it does anyway."""
    if root.name == STATE:
        return ""
    here = Path.cwd()
    return f"TWINLOOP_STATE={root.relative_to(here) if root.is_relative_to(here) else root} "
