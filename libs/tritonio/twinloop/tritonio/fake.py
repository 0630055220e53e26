"""`InferenceServer` without a server: each model is a numpy function. It passes the suite of the real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import InferenceFailed, ModelUnavailable, TritonUnavailable, VersionTaken
from twinloop.tritonio.server import (
    Floats,
    Inference,
    Usage,
    batches,
    check_answer,
    check_memory,
    check_windows,
    compare,
    join,
)

Function = Callable[..., Inference]
"""Of the windows; of a recurrent model, of them and what it remembers of each."""


class FakeTriton:
    """Serves what has been published and loaded.

    A test sets `away` to take the server down, and puts a model's name into `broken` to kill its process:
    inference then fails while `ready` stays true, until it is unloaded and loaded. What is in `unloadable`
    cannot be loaded. `batches` are the sizes of all requests that were answered.
    """

    def __init__(self) -> None:
        self.away = False
        self.broken: set[str] = set()
        self.unloadable: set[tuple[str, int]] = set()
        self.batches: list[int] = []
        self._used: dict[tuple[str, int], Usage] = {}
        self._published: dict[str, dict[int, tuple[ModelContract, Function]]] = {}
        self._loaded: dict[str, dict[int, tuple[ModelContract, Function]]] = {}

    def publish(self, contract: ModelContract, function: Function) -> None:
        """Put a model version into the repository. Raises `VersionTaken` for one that holds another model."""
        held = self._published.get(contract.model, {}).get(contract.version)
        if held is not None and held[0] != contract:
            raise VersionTaken(f"{contract.model} version {contract.version} has been published already")
        self._published.setdefault(contract.model, {})[contract.version] = (contract, function)

    def withdraw(self, model: str, version: int) -> None:
        """Take a model version out of the repository; what is loaded stays until the next `load`."""
        self._published.get(model, {}).pop(version, None)

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """See `InferenceServer`."""
        for one in windows:
            check_windows(contract, one)
        memory = check_memory(contract, memory, sum(map(len, windows)))
        answers = []
        begin = 0
        for parts in batches(windows):
            batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
            _, function = self._served(contract)
            began_s = time.perf_counter()
            if contract.model in self.broken:
                self._count(contract, failures=1)
                raise InferenceFailed(f"{contract.model}: the model's process has died")
            end = begin + len(batch)
            answer = function(batch) if memory is None else function(batch, memory[begin:end])
            begin = end
            self._count(contract, windows=len(batch), busy_s=time.perf_counter() - began_s)
            check_answer(contract, answer, len(batch))
            self.batches.append(len(batch))
            answers.append(answer)
        return join(contract, answers)

    async def check(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        served, _ = self._served(contract)
        compare(served, contract)

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        await self.infer(contract, np.zeros((1, contract.window, len(contract.signals)), np.float32))

    async def load(self, model: str) -> None:
        """See `InferenceServer`."""
        self._answer()
        named = self._published.get(model)
        if not named:
            raise ModelUnavailable(f"{model} could not be loaded: it is not in the repository")
        served = self._loaded.get(model, {})
        if refused := [one for one in named if (model, one) in self.unloadable and one not in served]:
            raise ModelUnavailable(f"{model} could not be loaded: version {refused[0]} is at fault")
        for version in named.keys() - served.keys():
            self._used[model, version] = Usage()
        self._loaded[model] = dict(named)

    async def unload(self, model: str) -> None:
        """See `InferenceServer`."""
        self._answer()
        self._loaded.pop(model, None)
        self.broken.discard(model)

    async def versions(self, model: str) -> tuple[int, ...]:
        """See `InferenceServer`."""
        self._answer()
        return tuple(sorted(self._loaded.get(model, {})))

    async def serving(self) -> Mapping[str, tuple[int, ...]]:
        """See `InferenceServer`."""
        self._answer()
        return {model: tuple(sorted(loaded)) for model, loaded in self._loaded.items() if loaded}

    async def usage(self, model: str) -> Mapping[int, Usage]:
        """See `InferenceServer`."""
        self._answer()
        return {version: self._used[model, version] for version in self._loaded.get(model, {})}

    async def ready(self) -> bool:
        """See `InferenceServer`."""
        return not self.away

    def _count(
        self, contract: ModelContract, *, failures: int = 0, windows: int = 0, busy_s: float = 0.0
    ) -> None:
        key = contract.model, contract.version
        self._used[key] = self._used[key].after(failed=failures > 0, windows=windows, busy_s=busy_s)

    def _answer(self) -> None:
        if self.away:
            raise TritonUnavailable("the server is away")

    def _served(self, contract: ModelContract) -> tuple[ModelContract, Function]:
        self._answer()
        try:
            return self._loaded[contract.model][contract.version]
        except KeyError:
            raise ModelUnavailable(f"{contract.model} version {contract.version} is not loaded") from None
