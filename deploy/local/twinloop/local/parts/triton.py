"""NVIDIA Triton from the wheel: Python backend, explicit model control, models in the state folder."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from twinloop.local import probes
from twinloop.local.errors import CannotStart
from twinloop.local.install.machine import python_library_folder
from twinloop.local.install.triton import server_folder, site_packages
from twinloop.local.parts.base import Elsewhere, Part
from twinloop.local.places import Installed
from twinloop.local.ports import Ports
from twinloop.local.process import Command

SHARED_MEMORY = Path("/dev/shm")


def shared_memory_prefix(state: Path) -> str:
    """Names the shared memory of one stack's Triton: what a killed one left can be told from others'."""
    return f"twinloop-{sha256(str(state).encode()).hexdigest()[:12]}-"


def remove_shared_memory(state: Path) -> None:
    """Remove what a killed Triton of this state folder left in shared memory."""
    for region in SHARED_MEMORY.glob(f"{shared_memory_prefix(state)}*"):
        region.unlink(missing_ok=True)


class Triton(Part):
    name = "triton"
    grace_s = 12.0

    def __init__(self, installed: Installed, state: Path, environ: Mapping[str, str], ports: Ports) -> None:
        if not installed.complete:
            raise CannotStart("Triton is not installed: run `python3.11 deploy/local/bootstrap.py triton`.")
        self._installed = installed
        self._state = state
        self._environ = environ
        self.models = state / "models"
        self._grpc = ports.reserve("TWINLOOP_TRITON_PORT")
        self._http = ports.reserve("TWINLOOP_TRITON_HTTP_PORT")
        self._metrics = ports.reserve("TWINLOOP_TRITON_METRICS_PORT")

    @property
    def where(self) -> str:
        return self._grpc.address

    @property
    def http(self) -> str:
        return self._http.address

    @property
    def metrics(self) -> str:
        """Where `nv_*` are scraped."""
        return self._metrics.address

    def prepare(self) -> Sequence[Command]:
        self.models.mkdir(parents=True, exist_ok=True)
        return ()

    def command(self) -> Command:
        argv = [str(server_folder(self._installed) / "bin" / "tritonserver")]
        argv += ["--model-repository", str(self.models), "--model-control-mode", "explicit"]
        # Configurations are complete: to complete them, Triton would start each model's process twice.
        argv += ["--disable-auto-complete-config"]
        # What it served before it died it serves again, by itself. A model that cannot be loaded hurts nobody
        # else.
        argv += ["--load-model", "*", "--exit-on-error", "false", "--strict-readiness", "false"]
        argv += ["--backend-directory", str(self._installed.folder / "backends")]
        argv += ["--backend-config", f"python,shm-region-prefix-name={shared_memory_prefix(self._state)}"]
        for protocol, port in (("grpc", self._grpc), ("http", self._http), ("metrics", self._metrics)):
            argv += [f"--{protocol}-address", "127.0.0.1", f"--{protocol}-port", str(port.number)]
        argv += ["--exit-timeout-secs", "5"]
        # SIGTERM, so that Triton ends its backend processes and removes its shared memory.
        return Command(tuple(argv), self._environment(), death_signal=signal.SIGTERM)

    async def ready(self) -> bool:
        return await probes.http_ok(self.http, "/v2/health/ready")

    def clean(self) -> None:
        remove_shared_memory(self._state)

    def _environment(self) -> dict[str, str]:
        env = dict(self._environ)
        libraries = [python_library_folder(), site_packages(self._installed) / "nvidia_pytriton.libs"]
        env["LD_LIBRARY_PATH"] = ":".join(str(folder) for folder in libraries if folder)
        # The backend's process finds its packages through the `python` that is first on the path.
        env["PATH"] = f"{self._installed.venv / 'bin'}:{env.get('PATH', '')}"
        env["OMP_NUM_THREADS"] = env.get("OMP_NUM_THREADS", "1")
        env.pop("PYTHONHOME", None)
        env.pop("PYTHONPATH", None)
        return env


class TritonElsewhere(Elsewhere):
    """The server at `TWINLOOP_TRITON` (gRPC). Its model repository must be a folder that we can reach."""

    name = "triton"

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def where(self) -> str:
        return self._address

    async def ready(self) -> bool:
        return await probes.triton_grpc_ready(self._address)
