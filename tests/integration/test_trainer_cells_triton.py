"""The model `cells` on a real Triton answers what `twinloop.features.cells` computes; a command serves it."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

import msgspec
import numpy as np
import pytest
from support.topics import events

from twinloop.contracts.topics import MODELS
from twinloop.features.cells import slopes
from twinloop.ingest import signal_sets
from twinloop.local.stack import Stack
from twinloop.runtime.provision import provision
from twinloop.simulator.fleets.vehicle import cells, drive
from twinloop.trainer.cells_onnx import contract_of, to_onnx
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.repository import publish

GROUPS = 96


async def test_triton_finds_the_resistance_that_numpy_finds(stack: Stack, triton: str) -> None:
    file = to_onnx(GROUPS)
    contract = msgspec.structs.replace(contract_of(GROUPS, 1, file), model=f"cells_{uuid.uuid4().hex[:8]}")
    publish(stack.endpoints.model_repository, contract, file)
    draw = np.random.default_rng(1)
    joints = np.full((32, GROUPS), 42e-6)
    joints[:, 5] = 300e-6
    minutes = drive(draw, cells(draw, 32, GROUPS), joints)
    async with triton_client(triton) as server:
        await server.load(contract.model)
        await server.check(contract)
        await server.probe(contract)
        answer = await server.infer(contract, minutes.frames(np.full(32, 5000.0)))
        await server.unload(contract.model)
    wanted = slopes(minutes.windows())
    assert answer.features[:, :GROUPS] == pytest.approx(wanted.delta_r_uohm, abs=0.02)
    assert answer.features[:, GROUPS : 2 * GROUPS] == pytest.approx(wanted.se_uohm, abs=0.01)
    assert answer.features[:, -1] == pytest.approx(5000.0)
    assert (answer.score > contract.threshold).all()


async def test_the_command_serves_and_announces_it(
    stack: Stack, triton: str, kafka: str, topic_prefix: str
) -> None:
    await provision(kafka, topic_prefix)
    name = f"cells_{uuid.uuid4().hex[:8]}"
    command = [
        *(sys.executable, "-m", "twinloop.trainer", "cells", "--groups", str(GROUPS), "--model", name),
        *("--repository", str(stack.endpoints.model_repository)),
    ]
    settings = {"TWINLOOP_KAFKA": kafka, "TWINLOOP_TRITON": triton, "TWINLOOP_TOPIC_PREFIX": topic_prefix}
    for _ in range(2):  # a repeat keeps the version
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        assert (process.returncode, err) == (0, b"")
        assert f"{name} version 1".encode() in out
    routes = await events(kafka, topic_prefix, MODELS)
    assert {(one.scope, one.contract.model, one.contract.version) for one in routes} == {
        ("vehicle.cells.v1", name, 1)
    }
    assert routes[0].contract.signals == signal_sets.load(None).find("vehicle.cells.v1").columns
    async with triton_client(triton) as server:
        assert await server.versions(name) == (1,)
        await server.unload(name)
