"""The work that everybody is measured on: a model on Triton, and a topic full of frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import onnx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts import codec
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import MODELS, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka import publisher
from twinloop.tritonio.client import triton
from twinloop.tritonio.repository import digest, publish

SIGNAL_SET = "bench.v1"
ROWS, SIGNALS, WINDOW, HOP = 16, 8, 64, 16
HIDDEN = 16
MODEL = "bench"
THRESHOLD = 3.22
"""One window in a hundred, about, is anomalous: see `model`."""
_POOL = 997


def model() -> tuple[ModelContract, bytes]:
    """A dense layer of tanh, whose norm is the score; and its contract."""
    weights = np.random.default_rng(0).normal(0, 0.05, (WINDOW * SIGNALS, HIDDEN)).astype(np.float32)
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["windows"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["features"]),
            helper.make_node("Tanh", ["features"], ["deviations"]),
            helper.make_node("ReduceL2", ["deviations"], ["score"], axes=[1], keepdims=0),
        ],
        MODEL,
        [helper.make_tensor_value_info("windows", floats, [None, WINDOW, SIGNALS])],
        [
            helper.make_tensor_value_info("score", floats, [None]),
            helper.make_tensor_value_info("features", floats, [None, HIDDEN]),
            helper.make_tensor_value_info("deviations", floats, [None, HIDDEN]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    content = onnx.ModelProto.SerializeToString(made)
    contract = ModelContract(
        model=MODEL,
        version=1,
        signal_set=SIGNAL_SET,
        signals=tuple(f"signal{n}" for n in range(SIGNALS)),
        features=tuple(f"feature{n}" for n in range(HIDDEN)),
        window=WINDOW,
        hop=HOP,
        threshold=THRESHOLD,
        digest=digest(content),
    )
    return contract, content


async def serve(stack: Stack) -> None:
    """Load the model."""
    contract, content = model()
    publish(stack.endpoints.model_repository, contract, content)
    async with triton(stack.endpoints.triton) as server:
        await server.load(MODEL)


async def announce(kafka: str, prefix: str) -> None:
    """Tell the detector of the model."""
    route = ModelRoute(event_id="bench", scope=SIGNAL_SET, at=datetime.now(UTC), contract=model()[0])
    async with publisher(kafka, prefix, asyncio.Event()) as out:
        await out.publish([codec.message(MODELS, route, source="bench")])


def frames(assets: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Endless: partition, key and value of each frame, the assets in turn."""
    rng = np.random.default_rng(1)
    pool = [rng.normal(size=(ROWS, SIGNALS)).astype(np.float32) for _ in range(_POOL)]
    names = [f"acme.berlin.packs.line{n % 7}.station{n:06d}" for n in range(assets)]
    number = 0
    while True:
        for asset, name in enumerate(names):
            number += 1
            frame = Frame(
                asset=name,
                signal_set=SIGNAL_SET,
                sequence=number // assets + 1,
                first_at_ns=10**18 + number * 1000,
                period_ns=10**6,
                samples=pool[number * 7 % _POOL],
                observed_at_ns=time.time_ns(),
                event_id=f"{number:032x}",
                trace_id=f"{number:032x}",
            )
            yield asset % TELEMETRY_FACTORY.partitions, name.encode(), encode_frame(frame)


class Sender:
    """Sends many small records fast: batches are built here and handed over whole."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=kafka, acks=1, linger_ms=0, max_batch_size=1024 * 1024
        )

    async def __aenter__(self) -> Sender:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.flush()
        await self._producer.stop()

    async def send(self, records: list[tuple[int, bytes, bytes]]) -> None:
        """Send; returns when they are under way."""
        batches = {}
        for partition, key, value in records:
            batch = batches.get(partition)
            if batch is None:
                batch = batches[partition] = self._producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None) is None:
                await self._send(partition, batch)
                batch = batches[partition] = self._producer.create_batch()
                batch.append(key=key, value=value, timestamp=None)
        for partition, batch in batches.items():
            await self._send(partition, batch)

    async def _send(self, partition: int, batch: object) -> None:
        batch.close()  # type: ignore[attr-defined]
        await self._producer.send_batch(batch, self._topic, partition=partition)


async def fill(kafka: str, prefix: str, count: int, assets: int) -> None:
    """Put frames into the telemetry topic."""
    source = frames(assets)
    async with Sender(kafka, TELEMETRY_FACTORY.named(prefix)) as sender:
        for _ in range(-(-count // 10_000)):
            await sender.send([next(source) for _ in range(10_000)])


async def rewind(kafka: str, prefix: str) -> None:
    """Let the detector read the telemetry topic from its beginning again."""
    topic = TELEMETRY_FACTORY.named(prefix)
    client = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=f"{prefix}detector", enable_auto_commit=False)
    await client.start()
    partitions = [TopicPartition(topic, n) for n in range(TELEMETRY_FACTORY.partitions)]
    client.assign(partitions)
    await client.commit(dict.fromkeys(partitions, 0))
    await client.stop()
