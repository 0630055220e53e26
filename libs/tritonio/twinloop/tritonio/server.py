"""What the services ask of an inference server; `client` is the real one, `fake` the one for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed

Floats = NDArray[np.float32]

MAX_BATCH = 1024
"""Windows in one request; more are sent in several."""
REQUEST_BYTES = 2 * 1024 * 1024
"""Of windows in one request, unless a single one is larger."""


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """A model's answer for `N` windows: `score` float32 [N]; `features` and `deviations` float32 [N, K];
    `memory` float32 [N, M], for each asset's next window: `None` of a model without one."""

    score: Floats
    features: Floats
    deviations: Floats
    memory: Floats | None = None

    def __len__(self) -> int:
        return len(self.score)

    def part(self, start: int, end: int) -> Inference:
        """The answer for the windows from `start` to before `end`."""
        return self.select(slice(start, end))

    def select(self, which: slice | NDArray[np.int64]) -> Inference:
        """The answer for some of the windows, by index."""
        memory = None if self.memory is None else self.memory[which]
        return Inference(self.score[which], self.features[which], self.deviations[which], memory)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a version was asked since it was loaded, which any `load` of its model may do anew. `windows` and
    `busy_s`, from a request's arrival to its answer, are of the requests that succeeded."""

    requests: int = 0
    failures: int = 0
    windows: int = 0
    busy_s: float = 0.0

    def after(self, *, failed: bool = False, windows: int = 0, busy_s: float = 0.0) -> Usage:
        """One request later."""
        return Usage(self.requests + 1, self.failures + failed, self.windows + windows, self.busy_s + busy_s)


class InferenceServer(Protocol):
    """An inference server with explicit model control.

    Every call has a deadline and raises `TritonUnavailable` when the server is away.
    """

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """The model's answer for `windows`, each float32 [N, window, signals] with N >= 0, in their order.

        `memory` float32 [sum of N, M] is what a recurrent model remembers of the asset of each window;
        `None`: nothing. Raises `ModelUnavailable`, `InferenceFailed`; `ContractMismatch` when `windows`,
        `memory` or the answer have another shape than the contract says.
        """
        ...

    async def check(self, contract: ModelContract) -> None:
        """Compare what is served with the contract. Raises `ModelUnavailable`, `ContractMismatch`."""
        ...

    async def probe(self, contract: ModelContract) -> None:
        """Health of a model: an inference on zeros. Raises what `infer` raises.

        The server's ready endpoint is no substitute: it stays ready when a model's process has died.
        """
        ...

    async def load(self, model: str) -> None:
        """Load every version that the model's configuration names, and unload those that it does not name.
        Versions that served before go on meanwhile, even where each is begun anew and takes its own place.

        Raises `ModelUnavailable` when one of them cannot be loaded: then those that served go on serving, and
        no new one does. What heals a model whose process has
        died is `unload`, then `load`: on its own, this leaves a loaded version as it is.
        """
        ...

    async def unload(self, model: str) -> None:
        """Unload every version of a model; no error when none is loaded."""
        ...

    async def versions(self, model: str) -> tuple[int, ...]:
        """The versions that are served, ascending; empty when the model is not loaded."""
        ...

    async def serving(self) -> Mapping[str, tuple[int, ...]]:
        """The versions that are served of every model that is loaded, ascending."""
        ...

    async def usage(self, model: str) -> Mapping[int, Usage]:
        """What each version that is served was asked; empty when the model is not loaded."""
        ...

    async def ready(self) -> bool:
        """Whether the server answers at all, which says nothing about its models. Never raises."""
        ...


def join(contract: ModelContract, answers: Sequence[Inference]) -> Inference:
    """The answers to consecutive requests as one; to none at all, an answer for no windows."""
    if len(answers) == 1:
        return answers[0]
    none = np.empty(0, np.float32)
    wide = np.empty((0, len(contract.features)), np.float32)
    return Inference(
        np.concatenate([none, *(one.score for one in answers)]),
        np.concatenate([wide, *(one.features for one in answers)]),
        np.concatenate([wide, *(one.deviations for one in answers)]),
        memory_of(contract, [one.memory for one in answers]),
    )


def memory_of(contract: ModelContract, parts: Sequence[Floats | None]) -> Floats | None:
    """What parts of an answer hand on, as one; `None` where the model has no memory."""
    if not contract.memory:
        return None
    none = np.empty((0, contract.memory), np.float32)
    return np.concatenate([none, *(one for one in parts if one is not None)])


def compare(served: ModelContract, due: ModelContract) -> None:
    """Raises `ContractMismatch`, with every field that differs, unless the two are equal."""
    different = [
        f"{name} is {getattr(served, name)!r}, not {getattr(due, name)!r}"
        for name in due.__struct_fields__
        if getattr(served, name) != getattr(due, name)
    ]
    if different:
        raise ContractMismatch(f"{due.model} version {due.version} as served: {'; '.join(different)}")


def largest_request(window: int, signals: int) -> int:
    """How many windows of this shape are in one request, at most."""
    return min(MAX_BATCH, max(1, REQUEST_BYTES // (np.dtype(np.float32).itemsize * window * signals)))


def batches(windows: Sequence[Floats]) -> list[list[Floats]]:
    """The windows as requests of at most `MAX_BATCH` and `REQUEST_BYTES`; nothing is copied."""
    made: list[list[Floats]] = []
    if not windows:
        return made
    most = largest_request(*windows[0].shape[1:])
    room = 0
    for one in windows:
        start = 0
        while start < len(one):
            if room == 0:
                made.append([])
                room = most
            some = one[start : start + room]
            made[-1].append(some)
            start += len(some)
            room -= len(some)
    return made


def check_memory(contract: ModelContract, memory: Floats | None, count: int) -> Floats | None:
    """What to hand to the model with `count` windows: `memory`, or zeros where there is none yet.

    Raises `ContractMismatch` when it is not what the model takes.
    """
    due = (count, contract.memory)
    if memory is None:
        return np.zeros(due, np.float32) if contract.memory else None
    if not contract.memory or memory.shape != due or memory.dtype != np.float32:
        takes = f"a memory of float32 {list(due)}" if contract.memory else "no memory"
        raise ContractMismatch(
            f"{contract.model} version {contract.version} takes {takes}, "
            f"not {memory.dtype} {list(memory.shape)}"
        )
    return memory


def check_windows(contract: ModelContract, windows: Floats) -> None:
    """Raises `ContractMismatch` when `windows` are not what the model takes."""
    expected = (contract.window, len(contract.signals))
    if windows.ndim != 3 or windows.shape[1:] != expected or windows.dtype != np.float32:
        raise ContractMismatch(
            f"{contract.model} version {contract.version} takes float32 [N, {expected[0]}, {expected[1]}], "
            f"not {windows.dtype} {list(windows.shape)}"
        )


def check_answer(contract: ModelContract, answer: Inference, count: int) -> None:
    """Raises `ContractMismatch` when an answer for `count` windows has another shape than promised, and
    `InferenceFailed` when it holds NaN or infinity: no verdict may rest on that."""
    wide = (count, len(contract.features))
    shapes = {
        "score": (answer.score.shape, (count,)),
        "features": (answer.features.shape, wide),
        "deviations": (answer.deviations.shape, wide),
    }
    if contract.memory:
        remembered = np.empty(0) if answer.memory is None else answer.memory
        shapes["next_memory"] = (remembered.shape, (count, contract.memory))
    wrong = [f"{name} {list(is_)} is not {list(due)}" for name, (is_, due) in shapes.items() if is_ != due]
    if wrong:
        raise ContractMismatch(f"{contract.model} version {contract.version} answered {', '.join(wrong)}")
    parts = (answer.score, answer.features, answer.deviations, answer.memory)
    if not all(np.isfinite(one).all() for one in parts if one is not None):
        raise InferenceFailed(f"{contract.model} version {contract.version} answered NaN or infinity")
