"""The model `cells` on a real Triton answers what `twinloop.features.cells` computes; modelops takes it."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.serving import modelops
from support.topics import events

from twinloop.contracts.topics import MODELS
from twinloop.features.cells import slopes
from twinloop.ingest import signal_sets
from twinloop.local.demo.models import into_service
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.fleets.vehicle import cells, drive
from twinloop.trainer.cells_onnx import contract_of, to_onnx
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.repository import publish

GROUPS = 96


async def test_triton_finds_the_resistance_that_numpy_finds(stack: Stack, triton: str) -> None:
    file = to_onnx(GROUPS)
    name = f"cells_{uuid.uuid4().hex[:8]}"
    contract = msgspec.structs.replace(contract_of(GROUPS, file, name), version=1)
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


async def test_the_command_makes_it_and_modelops_lets_it_serve(
    stack: Stack, certs: Path, kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    await provision(kafka, topic_prefix)
    name = f"cells_{uuid.uuid4().hex[:8]}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "twinloop.trainer", "cells", "--groups", str(GROUPS), "--model", name),
        *("--out", str(tmp_path / "made")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert (process.returncode, err) == (0, b"")
    assert b"it has learnt nothing" in out
    async with modelops(stack, certs, topic_prefix, tmp_path) as people:
        for _ in range(2):  # a repeat keeps the version
            await into_service(people, tmp_path / "made", "a fleet of 96 cell groups")
    (route,) = await events(kafka, topic_prefix, MODELS)
    assert (route.scope, route.contract.model, route.contract.version) == ("vehicle.cells.v1", name, 1)
    assert route.contract.signals == signal_sets.load(None).find("vehicle.cells.v1").columns
    async with triton_client(stack.endpoints.triton) as server:
        assert await server.versions(name) == (1,)
        await server.unload(name)
