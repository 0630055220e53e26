"""A real Prometheus scrapes the running loop: each alert fires by a real fault, and is over after it.

Made up is only what there is no Kubernetes for: the replicas of the detector's autoscaler. Rules are the
chart's, with shorter times (`shortened`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.artefacts import artefact_of

from observability.conftest import Scene
from observability.declared import TRITON
from observability.faults import dying, fenced, flooded, restless, set_back, tampered
from observability.rules import alerts
from observability.traffic import Traffic, traffic
from observability.watched import Watched
from twinloop.contracts.modes import Mode
from twinloop.local.demo.commissioning import commission, modelops
from twinloop.local.demo.models import into_service
from twinloop.local.demo.operator import ModeNotEntered, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.scenarios import CLOSED, asset
from twinloop.local.weld import Order
from twinloop.tritonio.artefact import write

BURNS = {f"Twinloop{one}{rest}" for one in ("FreshnessBurn", "ErrorBurn") for rest in (" 1h", " 6h", "Slow")}
EVERY = {one.name for one in alerts() if "Burn" not in one.name} | BURNS
DEFOCUS = {"kind": "defocus", "start": 10, "offset_mm": 0.8}
SLOW_S = 90.0
"""How long an alert may take on a machine that others use, too."""


@pytest.mark.timeout(900)
def test_every_alert_fires_by_a_fault_and_is_over_after_it(scene: Scene) -> None:
    scene.runner.run(scene.stack.guard(_play(scene)))


async def _play(scene: Scene) -> None:
    where = scene.stack.endpoints
    tokens = scene.stack.state.certs / "tokens"
    async with (
        Panel(where.health["simulator"]) as panel,
        modelops(scene.stack) as people,
        People(where.health["twin"], tokens) as engineer,
        traffic(where.kafka, hz=4) as flowing,
    ):
        level = scene.checkout / "level"
        write(level, artefact_of("level", 1.0))
        await into_service(people, level, "for a test")
        await commission(scene.stack, panel, print)
        await engineer.lead_up(asset(CLOSED), Mode.SUPERVISED, "for a test")
        await panel.start(_order(None))

        watched = Watched(where.prometheus)
        watching = asyncio.create_task(watched.watch())
        try:
            await watched.until_over(SLOW_S)  # what the start was like
            watched.fired.clear()
            await _faults(scene, watched, flowing, panel, engineer)
            await watched.until_over(2 * SLOW_S)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        assert set(watched.fired) == EVERY, watched.told()
        assert await _triton_metrics(where.prometheus) >= TRITON


async def _faults(scene: Scene, watched: Watched, flowing: Traffic, panel: Panel, engineer: People) -> None:
    stack, kafka = scene.stack, scene.stack.endpoints.kafka
    # Senders gone wrong, a drift beyond what may be corrected, a store that was tampered with; line killed.
    flowing.poison_hz = 12
    await panel.start(_order("window-drift"))
    with tampered(Path(stack.state.root) / "audit" / "modelops.jsonl"):
        await watched.until_fired(
            {
                "TwinloopErrorBurn 1h",
                "TwinloopErrorBurn 6h",
                "TwinloopErrorBurnSlow",
                "TwinloopDeadLetterRate",
                "TwinloopAuthorityExhausted",
                "TwinloopAuditChainBroken",
            },
            SLOW_S,
        )
    flowing.poison_hz = 0
    await stack.kill("line")
    await watched.until_fired({"TwinloopTargetDown", "TwinloopLagAbsent"}, SLOW_S)
    await panel.start(_order(None))
    await stack.start("line")
    # A historian that hangs; and a model whose process dies, while nobody can heal it.
    await stack.kill("historian", signal.SIGSTOP)
    await stack.kill("modelops", signal.SIGSTOP)
    scene.kube_state.replicas = 4
    async with dying(stack, "level"), _asked(stack, "level"):
        await watched.until_fired(
            {
                "TwinloopLoopShed",
                "TwinloopExactlyOnceUnmeasured",
                "TwinloopTritonBackendFailures",
                "TwinloopCircuitOpen",
                "TwinloopConsumerStalled",
                "TwinloopLagSeconds",
                "TwinloopAtMaxReplicas",
            },
            SLOW_S,
        )
    scene.kube_state.replicas = 2
    for one in ("historian", "modelops"):
        await stack.kill(one, signal.SIGCONT)
    # It catches up, late; meanwhile somebody floods Triton, and members of groups come and go.
    where = stack.endpoints
    async with (
        flooded(where.triton_http, where.model_repository),
        restless(kafka, "detector-vehicles", "telemetry.vehicle"),
    ):
        await watched.until_fired(
            {
                "TwinloopFreshnessBurn 1h",
                "TwinloopFreshnessBurn 6h",
                "TwinloopFreshnessBurnSlow",
                "TwinloopTritonQueueing",
                "TwinloopTritonRejecting",
                "TwinloopRebalanceStorm",
            },
            SLOW_S,
        )
    # A PLC that takes its time to answer. Few parts a second: else the station is stopped for scrap.
    await engineer.lead_up(asset(CLOSED), Mode.AUTO, "for a test")
    late = {"faults": {CLOSED: [DEFOCUS]}, "plc": {CLOSED: {"answer_after_s": 2.4}}}
    await panel.start(Order(100_000, 2.5, None, 11).campaign() | late)
    async with _kept_in(engineer, Mode.AUTO):
        await watched.until_fired({"TwinloopLoopSlow"}, SLOW_S)
    await panel.start(_order(None))
    # Two installations share a group; then an operator sets the group back.
    async with fenced(kafka, "detector"):
        await watched.until_fired({"TwinloopTransactionAborts"}, SLOW_S)
    assert (
        "TwinloopExactlyOnceViolation" not in watched.fired
    )  # whatever was killed, hung or fenced until now
    await stack.stop("detector")
    assert await set_back(kafka, "detector", 3) > 0
    await stack.start("detector")
    await watched.until_fired({"TwinloopExactlyOnceViolation"}, SLOW_S)


def _order(scenario: str | None) -> dict[str, Any]:
    return Order(100_000, 8.0, scenario, 7).campaign()


@contextlib.asynccontextmanager
async def _kept_in(engineer: People, mode: Mode) -> AsyncIterator[None]:
    """The asset is led up again whenever it was shed, as a busy machine's is."""

    async def keep() -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError, ModeNotEntered):
                if (await engineer.modes(asset(CLOSED))).get("actual") != mode:
                    await engineer.promote(asset(CLOSED), mode, "for a test")
            await asyncio.sleep(0.5)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


@contextlib.asynccontextmanager
async def _asked(stack: object, model: str):  # type: ignore[no-untyped-def]
    """Another client asks the model, too: detectors ask a failing one seldom."""
    body = {"inputs": [{"name": "windows", "datatype": "FP32", "shape": [1, 4, 2], "data": [0.1] * 8}]}
    url = f"http://{stack.endpoints.triton_http}/v2/models/{model}/infer"  # type: ignore[attr-defined]

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    await client.post(url, json=body)
                await asyncio.sleep(0.3)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _triton_metrics(prometheus: str) -> set[str]:
    async with httpx.AsyncClient() as client:
        url = f"http://{prometheus}/api/v1/label/__name__/values"
        answer = await client.get(url, params={"match[]": '{job="triton"}'})
        return set(answer.json()["data"])
