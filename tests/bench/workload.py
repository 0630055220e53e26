"""The work that everybody is measured on: a model on Triton, and a topic full of frames."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import onnx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts import codec
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import MODELS, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.clients import publisher
from twinloop.tritonio.client import triton
from twinloop.tritonio.onnx_file import digest
from twinloop.tritonio.repository import publish

SIGNAL_SET = "bench.v1"
ROWS, SIGNALS, WINDOW, HOP = 16, 8, 64, 16
HIDDEN = 16
MODEL = "bench"
THRESHOLD = 3.22
"""One window in a hundred, about, is anomalous: see `model`."""
_POOL = 997
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


@dataclass(frozen=True, slots=True)
class Shape:
    """What frames hold, and how windows are cut from them."""

    model: str = MODEL
    signal_set: str = SIGNAL_SET
    rows: int = ROWS
    signals: int = SIGNALS
    window: int = WINDOW
    hop: int = HOP


USUAL = Shape()


def model(shape: Shape = USUAL) -> tuple[ModelContract, bytes]:
    """A dense layer of tanh, whose norm is the score; and its contract."""
    inputs = shape.window * shape.signals
    # As strong whatever goes in, so that as many windows are anomalous.
    scale = 0.05 * (WINDOW * SIGNALS / inputs) ** 0.5
    weights = np.random.default_rng(0).normal(0, scale, (inputs, HIDDEN)).astype(np.float32)
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["windows"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["features"]),
            helper.make_node("Tanh", ["features"], ["deviations"]),
            helper.make_node("ReduceL2", ["deviations"], ["score"], axes=[1], keepdims=0),
        ],
        shape.model,
        [helper.make_tensor_value_info("windows", floats, [None, shape.window, shape.signals])],
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
        model=shape.model,
        version=1,
        signal_set=shape.signal_set,
        signals=tuple(f"signal{n}" for n in range(shape.signals)),
        features=tuple(f"feature{n}" for n in range(HIDDEN)),
        window=shape.window,
        hop=shape.hop,
        threshold=THRESHOLD,
        digest=digest(content),
    )
    return contract, content


async def serve(stack: Stack, shape: Shape = USUAL) -> None:
    """Load the model."""
    contract, content = model(shape)
    publish(stack.endpoints.model_repository, contract, content)
    async with triton(stack.endpoints.triton) as server:
        await server.load(shape.model)


async def announce(kafka: str, prefix: str, shape: Shape = USUAL) -> None:
    """Tell the detector of the model."""
    contract = model(shape)[0]
    route = ModelRoute(event_id="bench", scope=shape.signal_set, at=datetime.now(UTC), contract=contract)
    async with publisher(kafka, prefix, asyncio.Event()) as out:
        await out.publish([codec.message(MODELS, route, source="bench")])


class Frames:
    """Frames without end, the assets in turn.

    Made as a table of bytes, a row a frame, in which what differs is overwritten: whoever sends at a high
    rate on the machine that is measured must not take much of it.
    """

    _SEQUENCE, _FIRST_AT, _OBSERVED_AT = (
        int.from_bytes(bytes([n] * 8), "little") for n in (0x11, 0x22, 0x33)
    )
    _EVENT_ID, _TRACE_ID = "e" * 32, "f" * 32

    def __init__(self, assets: int, shape: Shape = USUAL, area: str = "packs") -> None:
        rng = np.random.default_rng(1)
        self._shape = shape
        names = [f"acme.berlin.{area}.line{n % 7}.station{n:06d}" for n in range(assets)]
        pool = rng.normal(size=(_POOL, shape.rows, shape.signals)).astype(np.float32)
        whole = [self._like(name, pool[0]) for name in names]
        self._table = np.frombuffer(b"".join(whole), np.uint8).reshape(assets, -1)
        self._pool = pool.view(np.uint8).reshape(_POOL, -1)
        self._keys = [name.encode() for name in names]
        at = whole[0].index
        self._sequence = at(bytes([0x11] * 8))
        self._first_at = at(bytes([0x22] * 8))
        self._observed_at = at(bytes([0x33] * 8))
        self._event_id, self._trace_id = at(self._EVENT_ID.encode()), at(self._TRACE_ID.encode())
        self._samples = at(pool[0].tobytes())
        self._made = 0

    def _like(self, asset: str, samples: NDArray[np.float32]) -> bytes:
        frame = Frame(
            asset=asset,
            signal_set=self._shape.signal_set,
            sequence=self._SEQUENCE,
            first_at_ns=self._FIRST_AT,
            period_ns=10**6,
            samples=samples,
            observed_at_ns=self._OBSERVED_AT,
            event_id=self._EVENT_ID,
            trace_id=self._TRACE_ID,
        )
        return encode_frame(frame)

    def take(self, count: int) -> list[tuple[int, bytes, bytes]]:
        """Partition, key and value of the next frames, observed now."""
        number = self._made + np.arange(count)
        self._made += count
        asset, round_ = number % len(self._table), number // len(self._table)
        table = self._table[asset]

        def put(at: int, what: NDArray[Any]) -> None:
            as_bytes = np.ascontiguousarray(what).view(np.uint8).reshape(count, -1)
            table[:, at : at + as_bytes.shape[1]] = as_bytes

        hexadecimal = _DIGITS[number[:, None] >> np.arange(28, -1, -4) & 0xF]
        put(self._sequence, round_.astype("<u8") + 1)
        put(self._first_at, 10**18 + number.astype("<u8") * 1000)
        put(self._observed_at, np.full(count, time.time_ns(), "<u8"))
        put(self._event_id, hexadecimal)
        put(self._trace_id, hexadecimal)
        put(self._samples, self._pool[number * 7 % _POOL])
        every, length = table.tobytes(), table.shape[1]
        return [
            (one % TELEMETRY_FACTORY.partitions, self._keys[one], every[n * length : (n + 1) * length])
            for n, one in enumerate(asset.tolist())
        ]


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
    source = Frames(assets)
    async with Sender(kafka, TELEMETRY_FACTORY.named(prefix)) as sender:
        for _ in range(-(-count // 10_000)):
            await sender.send(source.take(10_000))


async def rewind(kafka: str, prefix: str) -> None:
    """Let the detector read the telemetry topic from its beginning again."""
    topic = TELEMETRY_FACTORY.named(prefix)
    client = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=f"{prefix}detector", enable_auto_commit=False)
    await client.start()
    partitions = [TopicPartition(topic, n) for n in range(TELEMETRY_FACTORY.partitions)]
    client.assign(partitions)
    await client.commit(dict.fromkeys(partitions, 0))
    await client.stop()
