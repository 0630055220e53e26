"""The golden windows, run by a process that a bad model may kill: see `golden_process`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from twinloop.contracts.models import ModelContract
from twinloop.modelops.errors import Refused, Step
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed
from twinloop.tritonio.server import Inference, check_answer

REQUESTS = range(50, 201)
"""So many of one window each tell a latency. The p99 of 200 is not moved by two that had to wait for the
machine, that of 50 is the slowest one; a slow model is asked less often."""
_LATE_S = 2.0
_KEPT = 300
_VARIABLES = ("PATH", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TMPDIR")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the process may take: seconds from its start to its end, and bytes of address space."""

    wall_s: float = 30.0
    memory_bytes: int = 2 * 1024**3

    @property
    def measuring_s(self) -> float:
        """More requests than the least are made for as long."""
        return self.wall_s / 10


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """The model's answer to all golden windows, and how long requests of one window took."""

    answer: Inference
    seconds: tuple[float, ...]


def p99_s(seconds: Sequence[float]) -> float:
    """The 99th percentile."""
    return float(np.quantile(seconds, 0.99))


def enough(seconds: Sequence[float], bounds: Bounds) -> bool:
    """Whether requests that took so long tell it."""
    count = len(seconds)
    return count >= REQUESTS[-1] or (count >= REQUESTS[0] and sum(seconds) >= bounds.measuring_s)


async def run(contract: ModelContract, onnx: bytes, golden: bytes, bounds: Bounds) -> Ran:
    """Run it to its end. Raises `Refused` when it does not come to one as it should."""
    with tempfile.TemporaryDirectory(prefix="twinloop-golden-") as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(onnx)
        (folder / "golden.npz").write_bytes(golden)
        await _run(folder, bounds)
        return _result(contract, folder)


async def _run(folder: Path, bounds: Bounds) -> None:
    script = resources.files(__package__).joinpath("golden_process.py")
    said = folder / "stderr"
    with said.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", str(script), str(folder)),
            *(str(bounds.wall_s), str(bounds.memory_bytes)),
            *(str(REQUESTS[0]), str(REQUESTS[-1]), str(bounds.measuring_s)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            env={key: os.environ[key] for key in _VARIABLES if key in os.environ},  # no tokens, no addresses
        )
    try:
        async with asyncio.timeout(bounds.wall_s + _LATE_S):
            await process.wait()
    except TimeoutError:
        raise Refused(Step.RUN, _late(bounds)) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
        await process.wait()
    code = process.returncode
    if code == -signal.SIGALRM:
        raise Refused(Step.RUN, _late(bounds))
    if code:
        how = f"its process died ({signal.Signals(-code).name})" if code < 0 else "it cannot be run"
        raise Refused(Step.RUN, f"{how} with {bounds.memory_bytes >> 20} MiB to use{_last(said)}")


def _late(bounds: Bounds) -> str:
    return f"the golden windows took longer than {bounds.wall_s:g} s"


def _last(said: Path) -> str:
    lines = said.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][:_KEPT]}" if lines else ""


def _result(contract: ModelContract, folder: Path) -> Ran:
    count = -1
    try:
        with np.load(folder / "golden.npz", allow_pickle=False) as given:
            count = len(given["windows"])
        answer = _answer(contract, folder / "answers.npz", count)
        seconds = tuple(map(float, json.loads((folder / "seconds.json").read_bytes())))
        _check_zeros(contract, folder / "zeros.npz")
    except (ContractMismatch, InferenceFailed) as error:
        raise Refused(Step.COMPARE, str(error)) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(Step.RUN, f"its answers cannot be read: {error}") from error
    return Ran(answer, seconds)


def _answer(contract: ModelContract, file: Path, count: int) -> Inference:
    with np.load(file, allow_pickle=False) as held:
        answer = Inference(
            held["score"],
            held["features"],
            held["deviations"],
            held["next_memory"] if contract.memory else None,
        )
    check_answer(contract, answer, count)
    return answer


def _check_zeros(contract: ModelContract, file: Path) -> None:
    """What is asked of whoever serves, every two seconds, to see whether it does: `InferenceServer.probe`."""
    try:
        _answer(contract, file, 1)
    except InferenceFailed as error:
        raise Refused(
            Step.COMPARE,
            f"{error} to a window of zeros, by which its health is told, and which a signal that stands still"
            " may be: where it divides by what it has measured, add a small number",
        ) from error
