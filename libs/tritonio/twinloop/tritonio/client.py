"""`InferenceServer` on a real Triton, over gRPC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
from grpc import StatusCode
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.config import parameter
from twinloop.tritonio.errors import (
    ContractMismatch,
    DeadlineExceeded,
    InferenceFailed,
    ModelUnavailable,
    TritonError,
    TritonUnavailable,
)
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
from twinloop.tritonio.shared import WindowRegion

# gRPC waits up to two minutes between attempts to connect: a server is back long before.
_CHANNEL = [
    # A name that means several servers, such as a headless Service: requests take turns.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
OUTPUTS = [InferRequestedOutput(name) for name in ("score", "features", "deviations")]
NEXT_MEMORY = InferRequestedOutput("next_memory")


class TritonClient:
    """One channel to one server, or to several that serve the same models: requests take turns.

    `deadline_s` bounds every call except `load`, which waits `load_s`: a model's process takes seconds to
    start. With `share`, windows for a server at a loopback address lie in shared memory if it can see it.
    """

    def __init__(
        self, address: str, *, deadline_s: float = 5.0, load_s: float = 60.0, share: bool = False
    ) -> None:
        self._client = InferenceServerClient(address, channel_args=_CHANNEL)
        self._region = WindowRegion() if share and _is_here(address) else None
        self._address = address
        self._deadline_s = deadline_s
        self._load_s = load_s

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        if self._region is not None:
            await self._region.close(self._client)
        await self._client.close()

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """See `InferenceServer`. More than one request are under way at a time."""
        for one in windows:
            check_windows(contract, one)
        memory = check_memory(contract, memory, sum(map(len, windows)))
        asked = []
        begin = 0
        for parts in batches(windows):
            end = begin + sum(map(len, parts))
            asked.append(self._infer(contract, parts, None if memory is None else memory[begin:end]))
            begin = end
        return join(contract, await asyncio.gather(*asked))

    async def _infer(self, contract: ModelContract, parts: list[Floats], memory: Floats | None) -> Inference:
        """One request. Its windows lie in shared memory where the server can see it."""
        count = sum(map(len, parts))
        inputs = []
        if memory is not None:
            inputs.append(InferInput("memory", memory.shape, "FP32"))
            inputs[0].set_data_from_numpy(np.ascontiguousarray(memory))
        tensor = InferInput("windows", (count, *parts[0].shape[1:]), "FP32")
        if self._region is not None and await self._region.seen_by(self._client):
            async with self._region.put(parts) as place:
                if place is not None:
                    tensor.set_shared_memory(self._region.name, place.size, place.offset)
                    try:
                        return await self._ask(contract, [tensor, *inputs], count)
                    except TritonError as error:
                        if "shared memory" not in str(error):
                            raise
                        self._region.forgotten()  # by a server that has restarted
        tensor = InferInput("windows", tensor.shape(), "FP32")
        tensor.set_data_from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return await self._ask(contract, [tensor, *inputs], count)

    async def _ask(self, contract: ModelContract, inputs: list[InferInput], count: int) -> Inference:
        with self._errors(contract.model, contract.version):
            result = await self._client.infer(
                contract.model,
                inputs,
                model_version=str(contract.version),
                outputs=[*OUTPUTS, NEXT_MEMORY] if contract.memory else OUTPUTS,
                client_timeout=self._deadline_s,
            )
        answer = Inference(
            result.as_numpy("score").reshape(-1),
            result.as_numpy("features"),
            result.as_numpy("deviations"),
            result.as_numpy("next_memory") if contract.memory else None,
        )
        check_answer(contract, answer, count)
        return answer

    async def check(self, contract: ModelContract) -> None:
        """See `InferenceServer`. Compares the contract that was published with the version, as a whole."""
        version = str(contract.version)
        with self._errors(contract.model, contract.version):
            if not await self._client.is_model_ready(
                contract.model, version, client_timeout=self._deadline_s
            ):
                raise ModelUnavailable(f"{contract.model} version {version} is not loaded")
            answer = await self._client.get_model_config(
                contract.model, version, client_timeout=self._deadline_s
            )
        published = answer.config.parameters.get(parameter(contract.version))
        if published is None:
            raise ContractMismatch(f"{contract.model} version {version} was published without a contract")
        compare(msgspec.json.decode(published.string_value, type=ModelContract), contract)

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        await self.infer(contract, np.zeros((1, contract.window, len(contract.signals)), np.float32))

    async def load(self, model: str) -> None:
        """See `InferenceServer`."""
        with self._errors(model):
            try:
                await self._client.load_model(model, client_timeout=self._load_s)
            except InferenceServerException as error:
                if _code(error) in _AWAY:
                    raise
                why = str(error.message()).strip().partition("\n")[0]
                raise ModelUnavailable(f"{model} could not be loaded: {why}") from error

    async def unload(self, model: str) -> None:
        """See `InferenceServer`."""
        with self._errors(model):
            await self._client.unload_model(model, client_timeout=self._load_s)

    async def versions(self, model: str) -> tuple[int, ...]:
        """See `InferenceServer`."""
        return (await self.serving()).get(model, ())

    async def serving(self) -> Mapping[str, tuple[int, ...]]:
        """See `InferenceServer`."""
        with self._errors("the repository"):
            index = await self._client.get_model_repository_index(client_timeout=self._deadline_s)
        found: dict[str, list[int]] = {}
        for one in index.models:
            if one.state == "READY":
                found.setdefault(one.name, []).append(int(one.version))
        return {model: tuple(sorted(versions)) for model, versions in found.items()}

    async def usage(self, model: str) -> Mapping[int, Usage]:
        """See `InferenceServer`."""
        served = await self.versions(model)
        if not served:
            return {}
        try:
            with self._errors(model):
                told = await self._client.get_inference_statistics(model, client_timeout=self._deadline_s)
        except (ModelUnavailable, ContractMismatch):  # unloaded since: the latter is how it says so
            return {}
        return {int(one.version): _usage(one) for one in told.model_stats if int(one.version) in served}

    async def ready(self) -> bool:
        """See `InferenceServer`. Triton's own readiness is lost while any model is being unloaded."""
        try:
            return bool(await self._client.is_server_live(client_timeout=self._deadline_s))
        except InferenceServerException:
            return False

    @contextlib.contextmanager
    def _errors(self, model: str, version: int | None = None) -> Iterator[None]:
        """tritonclient's one exception as ours, by status code."""
        what = model if version is None else f"{model} version {version}"
        try:
            yield
        except InferenceServerException as error:
            raise _error(error, what, self._address) from error


def _usage(told: Any) -> Usage:
    succeeded, failed = told.inference_stats.success, told.inference_stats.fail
    return Usage(
        requests=int(succeeded.count + failed.count),
        failures=int(failed.count),
        windows=int(told.inference_count),
        busy_s=succeeded.ns / 1e9,
    )


def _is_here(address: str) -> bool:
    return address.rpartition(":")[0].strip("[]") in ("127.0.0.1", "localhost", "::1")


_AWAY = (
    StatusCode.UNAVAILABLE,
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.RESOURCE_EXHAUSTED,  # its queue is full
    StatusCode.CANCELLED,
)


def _code(error: InferenceServerException) -> StatusCode | None:
    name = str(error.status() or "").removeprefix("StatusCode.")
    return StatusCode[name] if name in StatusCode.__members__ else None


def _error(error: InferenceServerException, what: str, address: str) -> TritonError:
    code, text = _code(error), str(error.message()).strip().partition("\n")[0]
    if code is StatusCode.NOT_FOUND or "not at ready state" in text:  # the latter comes as UNAVAILABLE
        return ModelUnavailable(f"{what}: {text}")
    if code is StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"{what}: no answer of {address} within the deadline")
    if code in _AWAY:
        return TritonUnavailable(f"{address}: {text}")
    if code is StatusCode.INVALID_ARGUMENT:
        return ContractMismatch(f"{what}: {text}")
    return InferenceFailed(f"{what}: {text}")


@contextlib.asynccontextmanager
async def triton(
    address: str, *, deadline_s: float = 5.0, load_s: float = 60.0, share: bool = False
) -> AsyncIterator[TritonClient]:
    """A `TritonClient` for the time of the context. Connects when first used."""
    client = TritonClient(address, deadline_s=deadline_s, load_s=load_s, share=share)
    try:
        yield client
    finally:
        await client.close()
