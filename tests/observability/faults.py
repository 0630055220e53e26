"""Real faults, each done to a running stack and taken back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from support.stubs import stubs

from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.local.stack import Stack

_ENDS_S = 20.0
SLOW = "slow"
_SLOW_MODEL = """
import time
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.4)
        return [
            utils.InferenceResponse([utils.Tensor("y", utils.get_input_tensor_by_name(one, "x").as_numpy())])
            for one in requests
        ]
"""
_SLOW_CONFIG = """
name: "slow"
backend: "python"
max_batch_size: 1
input [{ name: "x" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching {
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 600000 }
}
"""


@contextlib.contextmanager
def tampered(store: Path):  # type: ignore[no-untyped-def]
    """An audit store with one character changed in its first entry, for the time of the context."""
    before = store.read_bytes()
    at = before.index(b'"reason":"') + len(b'"reason":"')
    with store.open("r+b") as file:
        file.seek(at)
        file.write(b"?")
    try:
        yield
    finally:
        with store.open("r+b") as file:
            file.seek(at)
            file.write(before[at : at + 1])


@contextlib.asynccontextmanager
async def flooded(triton_http: str, repository: Path) -> AsyncIterator[None]:
    """Another's slow model on the same Triton, which is asked by more clients than it can answer in time."""
    folder = repository / SLOW
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text(_SLOW_MODEL)
    (folder / "config.pbtxt").write_text(_SLOW_CONFIG)
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
    async with httpx.AsyncClient(base_url=f"http://{triton_http}/v2", timeout=30) as client:
        loaded = await client.post(f"/repository/models/{SLOW}/load", json={})
        assert loaded.status_code == 200, loaded.text

        async def ask() -> None:
            while True:
                await client.post(f"/models/{SLOW}/infer", json=body)
                await asyncio.sleep(0.05)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        try:
            yield
        finally:
            for one in asking:
                one.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await client.post(f"/repository/models/{SLOW}/unload", json={})


@contextlib.asynccontextmanager
async def dying(stack: Stack, model: str) -> AsyncIterator[None]:
    """The process of a model is killed, again and again; nobody heals it meanwhile."""

    async def kill() -> None:
        while True:
            for one in stubs(model, of=stack.pid("triton")):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            await asyncio.sleep(0.5)

    killing = asyncio.create_task(kill())
    try:
        yield
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)


@contextlib.asynccontextmanager
async def fenced(kafka: str, group: str) -> AsyncIterator[None]:
    """Somebody else takes the detector's transactional ids, again and again."""
    ending = asyncio.Event()

    async def fence(partition: int) -> None:
        name = f"{group}-{TELEMETRY_FACTORY.name}-{partition}"
        while not ending.is_set():
            rogue = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
            try:
                with contextlib.suppress(KafkaError):
                    await rogue.start()
            finally:
                await rogue.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), 1)

    async with _under_way(ending, *(fence(n) for n in range(TELEMETRY_FACTORY.partitions))):
        yield


@contextlib.asynccontextmanager
async def restless(kafka: str, group: str, topic: str) -> AsyncIterator[None]:
    """A member that joins the group and leaves it, again and again."""
    ending = asyncio.Event()

    async def come_and_go() -> None:
        while not ending.is_set():
            member = AIOKafkaConsumer(
                topic,
                bootstrap_servers=kafka,
                group_id=group,
                enable_auto_commit=False,
                session_timeout_ms=6000,
                heartbeat_interval_ms=500,
                partition_assignment_strategy=(StickyPartitionAssignor,),
            )
            try:
                with contextlib.suppress(KafkaError):
                    await member.start()
            finally:
                await member.stop()

    async with _under_way(ending, come_and_go()):
        yield


@contextlib.asynccontextmanager
async def _under_way(ending: asyncio.Event, *doing: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Until the end of the context, and then until each has closed what it has open: a client of Kafka that
    is cancelled while it starts or stops leaves connections behind."""
    tasks = [asyncio.create_task(one) for one in doing]
    try:
        yield
    finally:
        ending.set()
        _, late = await asyncio.wait(tasks, timeout=_ENDS_S)
        for one in late:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def set_back(kafka: str, group: str, records: int) -> int:
    """An operator resets a group that has no member by so many records; how many that makes in all."""
    client = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await client.start()
    try:
        partitions = [TopicPartition(TELEMETRY_FACTORY.name, n) for n in range(TELEMETRY_FACTORY.partitions)]
        client.assign(partitions)
        before = {one: await client.committed(one) or 0 for one in partitions}
        after = {one: max(0, at - records) for one, at in before.items()}
        await client.commit({one: OffsetAndMetadata(at, "") for one, at in after.items()})
        return sum(before[one] - after[one] for one in partitions)
    finally:
        await client.stop()
