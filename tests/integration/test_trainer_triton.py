"""The trainer's commands on a real Kafka and a real Triton, as the demo and the replay call them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from twinloop.contracts.codec import decode, frame_message
from twinloop.contracts.frames import Frame
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.topics import MODELS, TELEMETRY_FACTORY, Format
from twinloop.historian.parquet import ParquetFolder
from twinloop.local.stack import Stack
from twinloop.runtime.provision import provision
from twinloop.simulator.process import Conditions, Setpoints, draw_noise, weld
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.repository import contracts

ASSET = "acme.berlin.packs.line1.weld1"


@dataclass(frozen=True)
class Kept:
    """A Kafka record as the historian sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def welds(seed: int, count: int, conditions: Conditions | None = None) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    where = conditions or Conditions()
    return [weld(Setpoints(), where, draw_noise(generator)).signals for _ in range(count)]


def record(folder: Path, topic: str, made: Sequence[np.ndarray], asset: str = ASSET) -> None:
    """Keep welds as the historian would."""
    records = []
    for number, samples in enumerate(made):
        frame = Frame(
            asset=asset,
            signal_set="weld.v1",
            sequence=number,
            first_at_ns=number * 10**9,
            period_ns=10**6,
            samples=samples,
            observed_at_ns=number * 10**9,
            event_id=f"{asset}-{number}",
            trace_id="0" * 32,
            part_id=f"p{number}",
        )
        value = frame_message(TELEMETRY_FACTORY, frame, source="test").value
        records.append(Kept(number, 1_790_000_000_000 + number, asset.encode(), value))
    ParquetFolder(folder).write(topic, 3, Format.PROTOBUF, records)


async def trainer(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; its status, and what it said on stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "twinloop.trainer", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def routes(kafka: str, prefix: str) -> list[ModelRoute]:
    """Every record of `models`."""
    partition = TopicPartition(MODELS.named(prefix), 0)
    async with AIOKafkaConsumer(bootstrap_servers=kafka, isolation_level="read_committed") as client:
        client.assign([partition])
        await client.seek_to_beginning()
        end = (await client.end_offsets([partition]))[partition]
        found: list[ModelRoute] = []
        while await client.position(partition) < end:
            for batch in (await client.getmany(timeout_ms=100)).values():
                found += [decode(MODELS, one.value) for one in batch]
        return found


@pytest.fixture
def environment(kafka: str, triton: str, topic_prefix: str) -> dict[str, str]:
    return {"TWINLOOP_KAFKA": kafka, "TWINLOOP_TRITON": triton, "TWINLOOP_TOPIC_PREFIX": topic_prefix}


async def test_a_model_of_healthy_welds_is_fitted_served_and_announced(
    stack: Stack, environment: dict[str, str], topic_prefix: str, tmp_path: Path
) -> None:
    where = stack.endpoints
    await provision(where.kafka, topic_prefix)
    healthy = welds(1, 400)
    record(tmp_path, TELEMETRY_FACTORY.named(topic_prefix), healthy)
    name = f"weld-{topic_prefix.strip('.')}"
    command = (
        "fit",
        *("--parquet", str(tmp_path), "--signal-set", "weld.v1", "--asset", ASSET, "--min-windows", "400"),
        *("--model", name, "--repository", str(where.model_repository)),
    )
    status, said, errors = await trainer(environment, *command)
    assert status == 0, errors
    assert errors == ""
    assert f"{name} version 1" in said
    (route,) = await routes(where.kafka, topic_prefix)
    assert route.scope == "weld.v1"
    assert (route.contract,) == contracts(where.model_repository, name)
    async with triton_client(where.triton) as client:
        # Healthy and faulty parts that it has never seen, through the real server.
        fresh = await client.infer(route.contract, np.stack(welds(7, 2000)))
        assert (fresh.score > route.contract.threshold).sum() <= 2
        for fault in (
            Conditions(window_transmission=0.9),
            Conditions(defocus_mm=0.8),
            Conditions(gap_um=140.0),
        ):
            faulty = await client.infer(route.contract, np.stack(welds(8, 50, fault)))
            assert (faulty.score > route.contract.threshold).all()
        # The same recording gives the same model, which needs no second version; another one gives the next.
        assert (await trainer(environment, *command))[0] == 0
        assert len(contracts(where.model_repository, name)) == 1
        record(tmp_path / "more", TELEMETRY_FACTORY.named(topic_prefix), welds(2, 400))
        again = [str(tmp_path / "more") if one == str(tmp_path) else one for one in command]
        status, said, errors = await trainer(environment, *again)
        assert (status, f"{name} version 2" in said) == (0, True), errors
        assert await client.versions(name) == (1, 2)
        await client.unload(name)
    assert [one.contract.version for one in await routes(where.kafka, topic_prefix)] == [1, 1, 2]
