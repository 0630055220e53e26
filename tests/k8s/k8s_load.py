"""Detectors under load: upgraded, rolled back, killed, drained. What is committed is exactly what must be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from fault.load import Content
from fault.model import mean_model
from fault.scene import MEMORY_RECORDS, SESSION_TIMEOUT_S, Size, Traffic, loaded, serve, watched
from support.waiting import until, wait

from k8s import helper
from k8s.kube import Namespace, Refused, Ways
from twinloop.tritonio.repository import publish

pytestmark = pytest.mark.timeout(600)
RELEASE = "load-twinloop"
VALUES = Path(__file__).parent / "load.yaml"
KAFKA, TRITON = f"{RELEASE}-kafka", f"{RELEASE}-triton"
BOOTSTRAP = f"{KAFKA}:9092"
SEED = 47
SETTINGS = ("--set", f"detector.settings.TWINLOOP_DETECTOR_MEMORY_RECORDS={MEMORY_RECORDS}")


@pytest.fixture(scope="module")
def release(namespace: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """The release, with a model that serves the load."""
    namespace.install(RELEASE, VALUES, *SETTINGS)
    folder = tmp_path_factory.mktemp("models")
    contract, file = mean_model()
    publish(folder, contract, file)
    helper.start(namespace, f"{RELEASE}-models")
    helper.copy(namespace, folder)
    helper.stop(namespace)
    ways = Ways(namespace)
    ways.to(KAFKA, 9092)
    at_triton = ways.to(TRITON, 8001)

    with ways.named():
        asyncio.run(serve(f"{at_triton}:8001", BOOTSTRAP, "", share=False))
        yield namespace


@pytest.fixture(scope="module")
def content() -> Content:
    """One stream for all tests: each goes on where the one before ended."""
    return Content(SEED)


def traffic(content: Content) -> AbstractAsyncContextManager[Traffic]:
    """The load and what watches it."""
    return watched(Traffic.of(BOOTSTRAP, "", Size(frames=4_000, rate=200, idle=False), SEED, content))


async def both_ready(release: Namespace) -> None:
    """Wait until there are two detectors again."""
    await until(lambda: len(release.ready("detector")) == 2, 120, "there are no two detectors")


async def test_an_upgrade_and_a_rollback(release: Namespace, content: Content) -> None:
    async with traffic(content) as one:
        before = set(release.ready("detector"))
        async with loaded(one):
            await one.flowing()
            at = time.time()
            rolled = ("--set-string", "detector.podAnnotations.rolled=2")
            await asyncio.to_thread(release.upgrade, RELEASE, VALUES, *SETTINGS, *rolled)
            await one.back(at)
            assert not before & set(release.ready("detector")), "nobody was replaced"
            between = set(release.ready("detector"))
            at = time.time()
            await asyncio.to_thread(release.helm, "rollback", RELEASE, "1", "--wait", "--timeout", "5m")
            await one.back(at)
            assert not between & set(release.ready("detector"))
        await one.exact()


async def test_a_pod_is_killed(release: Namespace, content: Content) -> None:
    async with traffic(content) as one:
        async with loaded(one):
            await one.flowing()
            victim = release.ready("detector")[0]
            at = time.time()
            kill = ("delete", "pod", victim, "--grace-period=0", "--force")
            await asyncio.to_thread(release.kubectl, *kill)
            assert await one.back(at) < 60
            await both_ready(release)
        await one.exact()


async def test_a_drain_is_held_back_by_the_budget(release: Namespace, content: Content) -> None:
    await both_ready(release)
    async with traffic(content) as one:
        async with loaded(one):
            await one.flowing()
            first, second = release.ready("detector")
            await asyncio.to_thread(release.evict, first)
            with pytest.raises(Refused):
                await asyncio.to_thread(release.evict, second)
            await one.back(time.time())

            async def evicted() -> bool:
                try:
                    await asyncio.to_thread(release.evict, second)
                except Refused:
                    return False
                return True

            await until(lambda: evicted(), 120, "the second pod may not go, though the first is replaced")
            await one.back(time.time())
            await both_ready(release)
        await one.exact()


async def test_triton_is_replaced_and_serves_what_it_served(release: Namespace, content: Content) -> None:
    async with traffic(content) as one:
        async with loaded(one):
            await one.flowing()
            at = time.time()
            await asyncio.to_thread(release.kubectl, "rollout", "restart", f"deployment/{TRITON}")
            status = ("rollout", "status", f"deployment/{TRITON}", "--timeout=120s")
            await asyncio.to_thread(release.kubectl, *status)
            await one.back(at)
        await one.exact()


def test_nothing_remains(release: Namespace) -> None:
    release.helm("uninstall", RELEASE, "--wait", "--timeout", "3m")
    everything = "deploy,sts,ds,job,pod,svc,cm,secret,pvc,netpol,pdb,sa,role,rolebinding"

    def remains() -> list[str]:
        return [
            f"{one['kind']}/{one['metadata']['name']}"
            for one in release.get(everything, "-l", "app.kubernetes.io/part-of=twinloop")
        ]

    wait(lambda: not remains(), 90, lambda: f"there remain {remains()}")
    assert SESSION_TIMEOUT_S <= 10
