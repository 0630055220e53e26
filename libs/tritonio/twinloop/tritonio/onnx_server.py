"""`InferenceServer` in this process, on onnxruntime: for who judges recordings, and for a model's checks.

Inference is synchronous: it holds up the event loop, and no deadline ends it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import InferenceFailed, ModelUnavailable
from twinloop.tritonio.onnx_file import digest
from twinloop.tritonio.repository import contracts, listed
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


class OnnxModel:
    """One model version: what its contract promises of the ONNX file, and a session of one thread.

    Raises `ModelUnavailable` when onnxruntime cannot load the file.
    """

    def __init__(self, contract: ModelContract, onnx: bytes) -> None:
        self.contract = contract
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors come as exceptions
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelUnavailable(f"{contract.model} could not be loaded: {_first_line(error)}") from error
        self._outputs = ["score", "features", "deviations"] + ["next_memory"] * bool(contract.memory)

    def infer(self, *windows: Floats, memory: Floats | None = None) -> Inference:
        """See `InferenceServer`. Raises `InferenceFailed`, `ContractMismatch`."""
        return self.infer_as(self.contract, *windows, memory=memory)

    def infer_as(self, contract: ModelContract, *windows: Floats, memory: Floats | None = None) -> Inference:
        """The same for who takes it for what `contract` says."""
        for one in windows:
            check_windows(contract, one)
        memory = check_memory(contract, memory, sum(map(len, windows)))
        answers, begin = [], 0
        for parts in batches(windows):
            batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
            end = begin + len(batch)
            answers.append(self._run(contract, batch, None if memory is None else memory[begin:end]))
            begin = end
        return join(contract, answers)

    def _run(self, contract: ModelContract, windows: Floats, memory: Floats | None) -> Inference:
        given = {"windows": windows} if memory is None else {"windows": windows, "memory": memory}
        try:
            answer = Inference(*self._session.run(self._outputs, given))
        except Exception as error:
            name = f"{contract.model} version {contract.version}"
            raise InferenceFailed(f"{name}: {_first_line(error)}") from error
        check_answer(contract, answer, len(windows))
        return answer


class OnnxServer:
    """Serves what is published in the model repository at `root`, once it is loaded."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._loaded: dict[str, dict[int, OnnxModel]] = {}
        self._used: dict[tuple[str, int], Usage] = {}

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """See `InferenceServer`."""
        served, key = self._served(contract), (contract.model, contract.version)
        for one in windows:
            check_windows(contract, one)
        count, began_s = sum(map(len, windows)), time.perf_counter()
        try:
            answer = served.infer_as(contract, *windows, memory=memory)
        except InferenceFailed:
            self._used[key] = self._used[key].after(failed=True)
            raise
        self._used[key] = self._used[key].after(windows=count, busy_s=time.perf_counter() - began_s)
        return answer

    async def check(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        compare(self._served(contract).contract, contract)

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        await self.infer(contract, np.zeros((1, contract.window, len(contract.signals)), np.float32))

    async def load(self, model: str) -> None:
        """See `InferenceServer`."""
        there = listed(self._root, model)
        if not there:
            raise ModelUnavailable(f"{model} could not be loaded: it is not in the repository")
        due = [one for one in contracts(self._root, model) if one.version in there]
        loaded = self._loaded.get(model, {})
        self._loaded[model] = {one.version: loaded.get(one.version) or self._read(one) for one in due}
        for version in self._loaded[model]:
            self._used.setdefault((model, version), Usage())

    async def unload(self, model: str) -> None:
        """See `InferenceServer`."""
        for version in self._loaded.pop(model, {}):
            self._used.pop((model, version), None)

    async def versions(self, model: str) -> tuple[int, ...]:
        """See `InferenceServer`."""
        return tuple(sorted(self._loaded.get(model, {})))

    async def serving(self) -> Mapping[str, tuple[int, ...]]:
        """See `InferenceServer`."""
        return {model: await self.versions(model) for model in self._loaded}

    async def usage(self, model: str) -> Mapping[int, Usage]:
        """See `InferenceServer`."""
        return {version: self._used[model, version] for version in self._loaded.get(model, {})}

    async def ready(self) -> bool:
        """See `InferenceServer`: always."""
        return True

    def _read(self, contract: ModelContract) -> OnnxModel:
        path = self._root / contract.model / str(contract.version) / "model.onnx"
        try:
            onnx = path.read_bytes()
        except OSError as error:
            raise ModelUnavailable(f"{contract.model} could not be loaded: {error}") from error
        if digest(onnx) != contract.digest:
            raise ModelUnavailable(f"{contract.model} could not be loaded: {path} is not what was published")
        return OnnxModel(contract, onnx)

    def _served(self, contract: ModelContract) -> OnnxModel:
        try:
            return self._loaded[contract.model][contract.version]
        except KeyError:
            raise ModelUnavailable(f"{contract.model} version {contract.version} is not loaded") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
