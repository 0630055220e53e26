"""`InferenceServer` without a server: each model is a numpy function. It passes the suite of the real one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import InferenceFailed, ModelUnavailable, TritonUnavailable, VersionTaken
from twinloop.tritonio.server import (
    Floats,
    Inference,
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
    inference then fails while `ready` stays true, until it is unloaded and loaded. `batches` are the sizes of
    all requests that were answered.
    """

    def __init__(self) -> None:
        self.away = False
        self.broken: set[str] = set()
        self.batches: list[int] = []
        self._published: dict[str, dict[int, tuple[ModelContract, Function]]] = {}
        self._loaded: dict[str, dict[int, tuple[ModelContract, Function]]] = {}

    def publish(self, contract: ModelContract, function: Function) -> None:
        """Put a model version into the repository. Raises `VersionTaken` for one that holds another model."""
        held = self._published.get(contract.model, {}).get(contract.version)
        if held is not None and held[0] != contract:
            raise VersionTaken(f"{contract.model} version {contract.version} has been published already")
        self._published.setdefault(contract.model, {})[contract.version] = (contract, function)

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
            if contract.model in self.broken:
                raise InferenceFailed(f"{contract.model}: the model's process has died")
            end = begin + len(batch)
            answer = function(batch) if memory is None else function(batch, memory[begin:end])
            begin = end
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
        if model not in self._published:
            raise ModelUnavailable(f"{model} could not be loaded: it is not in the repository")
        self._loaded[model] = dict(self._published[model])

    async def unload(self, model: str) -> None:
        """See `InferenceServer`."""
        self._answer()
        self._loaded.pop(model, None)
        self.broken.discard(model)

    async def versions(self, model: str) -> tuple[int, ...]:
        """See `InferenceServer`."""
        self._answer()
        return tuple(sorted(self._loaded.get(model, {})))

    async def ready(self) -> bool:
        """See `InferenceServer`."""
        return not self.away

    def _answer(self) -> None:
        if self.away:
            raise TritonUnavailable("the server is away")

    def _served(self, contract: ModelContract) -> tuple[ModelContract, Function]:
        self._answer()
        try:
            return self._loaded[contract.model][contract.version]
        except KeyError:
            raise ModelUnavailable(f"{contract.model} version {contract.version} is not loaded") from None
