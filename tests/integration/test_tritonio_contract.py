"""What every `InferenceServer` must do: one suite for the real Triton, for onnxruntime in this process, and
for the fake that tests use."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from msgspec.structs import replace
from support.artefacts import SIGNALS, WINDOW, model_of
from support.stubs import stubs
from support.waiting import until
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from twinloop.contracts.models import ModelContract
from twinloop.local.stack import Stack
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.errors import (
    ContractMismatch,
    InferenceFailed,
    ModelUnavailable,
    TritonUnavailable,
    VersionTaken,
)
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.onnx_server import OnnxServer
from twinloop.tritonio.repository import publish, retire
from twinloop.tritonio.server import MAX_BATCH, Floats, Inference, InferenceServer, Usage


class Bench(Protocol):
    """A server, and what a test does to it behind its back."""

    server: InferenceServer
    name: str

    def publish(self, version: int, factor: float, *, recurrent: bool = False) -> ModelContract:
        """Put a version of the bench's model into the repository."""
        ...

    def publish_spoilt(self, version: int) -> None:
        """Put a version there that cannot be loaded."""
        ...

    def retire(self, version: int) -> None:
        """Take a version out of the repository."""
        ...

    async def kill(self) -> None:
        """Kill the processes of the bench's model."""
        ...


@dataclass
class FakeBench:
    server: FakeTriton
    name: str
    root: Path

    def publish(self, version: int, factor: float, *, recurrent: bool = False) -> ModelContract:
        contract, file = model_of(self.name, version, factor, recurrent=recurrent)
        publish(self.root, contract, file)

        def function(windows: Floats, memory: Floats | None = None) -> Inference:
            features = windows.mean(axis=1)
            deviations = features * np.float32(factor)
            if memory is None:
                return Inference(deviations.sum(axis=1), features, deviations)
            remembered = memory + features
            return Inference(remembered.sum(axis=1), features, deviations, remembered)

        self.server.publish(contract, function)
        return contract

    def publish_spoilt(self, version: int) -> None:
        self.publish(version, 1.0)
        self.server.unloadable.add((self.name, version))

    def retire(self, version: int) -> None:
        retire(self.root, self.name, version)
        self.server.withdraw(self.name, version)

    async def kill(self) -> None:
        self.server.broken.add(self.name)


@dataclass
class FileBench:
    """Its server runs what is in the files."""

    server: InferenceServer
    name: str
    root: Path

    def publish(self, version: int, factor: float, *, recurrent: bool = False) -> ModelContract:
        contract, file = model_of(self.name, version, factor, recurrent=recurrent)
        publish(self.root, contract, file)
        return contract

    def publish_spoilt(self, version: int) -> None:
        self.publish(version, 1.0)
        (self.root / self.name / str(version) / "model.onnx").write_bytes(b"no model")

    def retire(self, version: int) -> None:
        retire(self.root, self.name, version)

    async def kill(self) -> None:
        raise AssertionError("its models have no process of their own")


class TritonBench(FileBench):
    async def kill(self) -> None:
        found = stubs(self.name)
        assert found
        for one in found:
            one.kill()


MORTAL = ("fake", "triton", "triton, in shared memory")
"""Their models run in processes that may die."""


@pytest.fixture(params=[*MORTAL, "onnxruntime"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def its_stack(kind: str, request: pytest.FixtureRequest) -> Stack | None:
    """Real parts, for those that need them."""
    return request.getfixturevalue("stack") if kind.startswith("triton") else None


@pytest.fixture
async def bench(kind: str, its_stack: Stack | None, tmp_path: Path) -> AsyncIterator[Bench]:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    if its_stack is None:
        yield (
            FakeBench(FakeTriton(), name, tmp_path)
            if kind == "fake"
            else FileBench(OnnxServer(tmp_path), name, tmp_path)
        )
        return
    endpoints = its_stack.endpoints
    async with triton_client(endpoints.triton, share=kind != "triton") as client:
        yield TritonBench(client, name, endpoints.model_repository)
        await client.unload(name)


def windows(count: int) -> Floats:
    return np.random.default_rng(count).standard_normal((count, WINDOW, len(SIGNALS))).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 7, MAX_BATCH, MAX_BATCH + 1, 2 * MAX_BATCH + 3])
async def test_the_answer_is_of_all_windows_in_their_order(bench: Bench, count: int) -> None:
    contract = bench.publish(1, 2.0)
    await bench.server.load(bench.name)
    given = windows(count)
    answer = await bench.server.infer(contract, given)
    assert len(answer) == count
    assert (answer.score.shape, answer.features.shape) == ((count,), (count, 2))
    assert {one.dtype for one in (answer.score, answer.features, answer.deviations)} == {np.dtype(np.float32)}
    assert np.allclose(answer.features, given.mean(axis=1), atol=1e-5)
    assert np.allclose(answer.deviations, 2 * given.mean(axis=1), atol=1e-5)
    assert np.allclose(answer.score, 2 * given.mean(axis=1).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, MAX_BATCH + 3])
async def test_a_recurrent_model_is_handed_what_it_remembers_of_each_window_s_asset(
    bench: Bench, count: int
) -> None:
    contract = bench.publish(1, 1.0, recurrent=True)
    await bench.server.load(bench.name)
    await bench.server.check(contract)
    await bench.server.probe(contract)
    first, second = windows(count), windows(count)[::-1].copy()
    one = await bench.server.infer(contract, first)
    assert one.memory is not None
    assert np.allclose(one.memory, first.mean(axis=1), atol=1e-5)
    half = count // 2
    other = await bench.server.infer(contract, second[:half], second[half:], memory=one.memory)
    assert other.memory is not None
    assert np.allclose(other.memory, first.mean(axis=1) + second.mean(axis=1), atol=1e-5)
    assert np.allclose(other.score, other.memory.sum(axis=1), atol=1e-5)
    assert other.part(0, 1).memory is not None


async def test_a_memory_of_another_shape_is_refused(bench: Bench) -> None:
    contract = bench.publish(1, 1.0, recurrent=True)
    await bench.server.load(bench.name)
    with pytest.raises(ContractMismatch, match=r"takes a memory of float32 \[2, 2\], not float32 \[1, 2\]"):
        await bench.server.infer(contract, windows(2), memory=np.zeros((1, 2), np.float32))
    with pytest.raises(ContractMismatch, match="takes no memory"):
        await bench.server.infer(replace(contract, memory=0), windows(2), memory=np.zeros((2, 2), np.float32))


async def test_calls_at_once_get_each_its_own_answer(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    given = [windows(count) for count in range(1, 9)]
    answers = await asyncio.gather(*(bench.server.infer(contract, one) for one in given))
    for one, answer in zip(given, answers, strict=True):
        assert np.allclose(answer.features, one.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, WINDOW + 1, 2), np.float32),
        np.zeros((2, WINDOW, 3), np.float32),
        np.zeros((WINDOW, 2), np.float32),
        np.zeros((2, WINDOW, 2), np.float64),
    ],
    ids=["window", "signals", "no batch", "double"],
)
async def test_windows_of_another_shape_are_refused(bench: Bench, wrong: Floats) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    with pytest.raises(ContractMismatch, match="takes float32"):
        await bench.server.infer(contract, wrong)


async def test_an_answer_that_is_no_number_is_no_answer(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    given = windows(3)
    given[1, 2, 0] = np.nan
    with pytest.raises(InferenceFailed, match="NaN"):
        await bench.server.infer(contract, given)
    await bench.server.probe(contract)


async def test_what_is_not_loaded_serves_nobody(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    assert await bench.server.versions(bench.name) == ()
    for call in (
        bench.server.infer(contract, windows(1)),
        bench.server.check(contract),
        bench.server.probe(contract),
    ):
        with pytest.raises(ModelUnavailable, match=f"{bench.name} version 1"):
            await call
    assert await bench.server.ready()
    with pytest.raises(ModelUnavailable, match="never-published could not be loaded"):
        await bench.server.load("never-published")
    await bench.server.unload("never-published")


async def test_a_contract_is_checked_as_a_whole(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    await bench.server.check(contract)
    with pytest.raises(ContractMismatch, match=r"threshold is 1\.0, not 2\.0; digest is"):
        await bench.server.check(replace(contract, threshold=2.0, digest="other"))
    with pytest.raises(ContractMismatch, match="signals"):
        await bench.server.check(replace(contract, signals=tuple(reversed(SIGNALS))))


async def test_versions_serve_side_by_side_and_a_load_disturbs_none(bench: Bench) -> None:
    first = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    second = bench.publish(2, 10.0)
    with pytest.raises(ModelUnavailable):
        await bench.server.infer(second, windows(1))

    loading = asyncio.create_task(bench.server.load(bench.name))
    asked = 0
    while not loading.done() or asked == 0:
        await bench.server.probe(first)
        asked += 1
        await asyncio.sleep(0.005)
    await loading
    assert await bench.server.versions(bench.name) == (1, 2)
    assert (await bench.server.serving())[bench.name] == (1, 2)
    given = windows(5)
    one, other = await bench.server.infer(first, given), await bench.server.infer(second, given)
    assert np.allclose(10 * one.score, other.score, atol=1e-4)
    await bench.server.unload(bench.name)
    assert await bench.server.versions(bench.name) == ()
    assert bench.name not in await bench.server.serving()


async def asked_meanwhile(
    server: InferenceServer, contract: ModelContract, doing: Awaitable[object]
) -> BaseException | None:
    """Ask a version without a break while something is done, and once after it; what that raised."""
    task = asyncio.ensure_future(doing)
    asked = 0
    while not task.done() or asked == 0:
        await server.probe(contract)
        asked += 1
        await asyncio.sleep(0.005)
    await server.probe(contract)
    return task.exception()


async def test_a_version_that_cannot_be_loaded_disturbs_none_that_serves(bench: Bench) -> None:
    first, second = bench.publish(1, 1.0), bench.publish(2, 2.0)
    await bench.server.load(bench.name)
    bench.publish_spoilt(3)
    raised = await asked_meanwhile(bench.server, first, bench.server.load(bench.name))
    assert isinstance(raised, ModelUnavailable)
    assert bench.name in str(raised)
    assert await bench.server.versions(bench.name) == (1, 2)
    await bench.server.probe(second)
    # Taken out again, it is as if it had never been there, and the next one serves.
    bench.retire(3)
    assert await asked_meanwhile(bench.server, first, bench.server.load(bench.name)) is None
    fourth = bench.publish(4, 4.0)
    assert await asked_meanwhile(bench.server, second, bench.server.load(bench.name)) is None
    assert await bench.server.versions(bench.name) == (1, 2, 4)
    await bench.server.check(fourth)


async def test_one_version_is_unloaded_while_the_others_serve(bench: Bench) -> None:
    first, second, third = (bench.publish(n, float(n)) for n in (1, 2, 3))
    await bench.server.load(bench.name)
    bench.retire(2)
    assert await asked_meanwhile(bench.server, first, bench.server.load(bench.name)) is None
    async with asyncio.timeout(10):
        while await bench.server.versions(bench.name) != (1, 3):  # Triton lets go of it in its own time
            await asyncio.sleep(0.05)
    with pytest.raises(ModelUnavailable):
        await bench.server.infer(second, windows(1))
    await bench.server.check(third)
    await bench.server.probe(third)
    assert set(await bench.server.usage(bench.name)) == {1, 3}


async def used(bench: Bench, requests: int) -> Mapping[int, Usage]:
    """Once so many are counted: Triton counts a request after it has answered it."""

    async def counted() -> Mapping[int, Usage] | None:
        found = await bench.server.usage(bench.name)
        return found if sum(one.requests for one in found.values()) >= requests else None

    return await until(counted)


async def test_requests_are_counted_by_version(bench: Bench) -> None:
    assert await bench.server.usage(bench.name) == {}
    first, second = bench.publish(1, 1.0), bench.publish(2, 2.0)
    await bench.server.load(bench.name)
    assert await bench.server.usage(bench.name) == {1: Usage(), 2: Usage()}
    for _ in range(3):
        await bench.server.infer(first, windows(5))
    await bench.server.infer(second, windows(7))
    found = await used(bench, 4)
    assert [(one.requests, one.failures, one.windows) for one in (found[1], found[2])] == [
        (3, 0, 15),
        (1, 0, 7),
    ]
    assert 0 < found[1].busy_s < 15


@pytest.mark.parametrize("kind", MORTAL, indirect=True)
async def test_requests_that_failed_are_counted(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    for _ in range(3):
        await bench.server.infer(contract, windows(5))
    await bench.kill()
    with pytest.raises(InferenceFailed):
        await bench.server.infer(contract, windows(1))
    one = (await used(bench, 4))[1]
    assert (one.requests, one.failures, one.windows) == (4, 1, 15)


@pytest.mark.parametrize("kind", MORTAL, indirect=True)
async def test_a_model_whose_process_died_fails_its_probe_until_it_is_loaded_anew(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    await bench.server.probe(contract)
    await bench.kill()
    with pytest.raises(InferenceFailed):
        await bench.server.probe(contract)
    with pytest.raises(InferenceFailed):
        await bench.server.infer(contract, windows(2))
    assert await bench.server.ready()
    await bench.server.unload(bench.name)
    await bench.server.load(bench.name)
    await bench.server.probe(contract)


async def test_a_published_version_never_changes(bench: Bench) -> None:
    bench.publish(1, 1.0)
    bench.publish(1, 1.0)
    with pytest.raises(VersionTaken, match=f"{bench.name} version 1 has been published already"):
        bench.publish(1, 3.0)
    await bench.server.load(bench.name)
    given = windows(3)
    contract, _ = model_of(bench.name, 1, 1.0)
    answer = await bench.server.infer(contract, given)
    assert np.allclose(answer.deviations, given.mean(axis=1), atol=1e-5)


async def test_windows_in_several_parts_are_answered_in_their_order(bench: Bench) -> None:
    contract = bench.publish(1, 1.0)
    await bench.server.load(bench.name)
    parts = [windows(n) for n in (3, 0, 1500, 1, 700)]
    answer = await bench.server.infer(contract, *parts)
    assert np.allclose(answer.deviations, np.concatenate(parts).mean(axis=1), atol=1e-5)


async def test_a_server_that_has_forgotten_the_shared_memory_is_told_of_it_anew(stack: Stack) -> None:
    """As one does that has been restarted."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    contract, file = model_of(name, 1, 1.0)
    publish(stack.endpoints.model_repository, contract, file)
    forgetful = InferenceServerClient(stack.endpoints.triton)

    async def regions() -> set[str]:
        return set((await forgetful.get_system_shared_memory_status()).regions)

    async def forgotten(region: str) -> bool:
        with suppress(InferenceServerException):  # it lets go of a region a moment after its answer
            await forgetful.unregister_system_shared_memory(region)
        return region not in await regions()

    async with triton_client(stack.endpoints.triton, share=True) as client:
        await client.load(name)
        for _ in range(3):
            before = await regions()
            given = windows(5)
            answer = await client.infer(contract, given)
            assert np.allclose(answer.deviations, given.mean(axis=1), atol=1e-5)
            (mine,) = await regions() - before
            await until(
                partial(forgotten, mine), problem="Triton still uses the region, after it has answered"
            )
            assert len(await client.infer(contract, given)) == 5
        await client.infer(contract, given)
        (mine,) = await regions() - before
        await client.unload(name)
    assert mine not in await regions()
    await forgetful.close()


async def test_the_shared_memory_of_a_killed_process_is_let_go(stack: Stack) -> None:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    contract, file = model_of(name, 1, 1.0)
    publish(stack.endpoints.model_repository, contract, file)
    looker = InferenceServerClient(stack.endpoints.triton)
    gone = SharedMemory(create=True, size=4096)
    key = f"/{gone.name.lstrip('/')}"
    await looker.register_system_shared_memory("twinloop-of-the-dead", key, 4096)
    gone.close()
    gone.unlink()  # as the resource tracker of a killed process does
    async with triton_client(stack.endpoints.triton, share=True) as client:
        await client.load(name)
        await client.infer(contract, windows(1))
        assert "twinloop-of-the-dead" not in (await looker.get_system_shared_memory_status()).regions
        await client.unload(name)
    await looker.close()


async def test_a_server_that_is_away_is_told_from_a_model_that_is() -> None:
    fake = FakeTriton()
    fake.away = True
    contract, _ = model_of("any", 1, 1.0)
    async with triton_client("127.0.0.1:1", deadline_s=2, load_s=2) as client:
        servers: list[InferenceServer] = [fake, client]
        for server in servers:
            assert not await server.ready()
            for call in (
                server.infer(contract, windows(1)),
                server.check(contract),
                server.probe(contract),
                server.load("any"),
                server.unload("any"),
                server.versions("any"),
                server.serving(),
                server.usage("any"),
            ):
                with pytest.raises(TritonUnavailable):
                    await call
