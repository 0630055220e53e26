"""Another stream beside the usual one, with a model, a detector and a load of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import psutil
from support.processes import ServiceProcess
from support.stubs import stubs
from support.waiting import Unmet, until
from support.watch import Watch

from fault.load import Content, Load, Mix
from fault.model import mean_model, rules_of
from fault.oracle import expect
from fault.reconcile import Reconciled
from fault.scene import MEMORY_RECORDS, Scene
from fault.workshop import Workshop, around
from twinloop.contracts.topics import SCORES, TELEMETRY_FACTORY
from twinloop.tritonio.artefact import pack

NAME = "neighbour"
NEIGHBOURS = "neighbour.v1"
"""Its signal set."""
DEADLINE_S = 2.0
"""For so long its detector waits for an answer: what hangs is not noticed before."""
_SOUND = Mix(poison=0.0)
"""What is no frame has no signal set: it would be for the usual stream to refuse."""


@dataclass
class Neighbour:
    """`watch` sees its verdicts alone. `load` sends as many frames as the usual one does."""

    run: Scene
    detector: ServiceProcess
    load: Load
    watch: Watch

    async def process(self) -> psutil.Process:
        """In which Triton runs its model, once it is loaded (anew), and no former one is left beside it: to
        harm that one would disturb nobody."""
        found = list[psutil.Process]()

        def alone() -> bool:
            found[:] = stubs(NAME, of=self.run.stack.pid("triton"))
            return len(found) == 1

        await until(alone, 60, lambda: f"Triton has {len(found)} processes for the neighbour's model")
        return found[0]

    def back(self, at: float) -> bool:
        """Whether there was a verdict on a frame that was sent after `at`."""
        return self.watch.back_after_s(at) is not None


@contextlib.asynccontextmanager
async def neighbour(shop: Workshop, seed: int) -> AsyncIterator[Neighbour]:
    """Stage and promote its model, and have it judge; all of its load is sent at the end of the context."""
    run = shop.run
    answer = await shop.send(pack(around(*mean_model(NAME, version=0, signal_set=NEIGHBOURS))))
    if answer.status_code != 200:
        raise Unmet(f"not staged: {answer.text}")
    await shop.act("promote", version=answer.json()["version"])
    detector = run.detector(
        TWINLOOP_DETECTOR_GROUP=NAME,
        TWINLOOP_DETECTOR_SIGNAL_SETS=NEIGHBOURS,
        TWINLOOP_DETECTOR_INFER_TIMEOUT_S=f"{DEADLINE_S}",
    )
    content = Content(seed, mix=_SOUND, signal_set=NEIGHBOURS)
    load = Load(run.kafka, TELEMETRY_FACTORY.named(run.prefix), content, run.size.rate / 2)
    watch = Watch(run.kafka, SCORES.named(run.prefix), SCORES.partitions, NAME)
    watching = asyncio.create_task(watch.run())
    loading = asyncio.create_task(load.run(0))
    try:
        yield Neighbour(run, detector, load, watch)
        load.stop()
        async with asyncio.timeout(180):
            await loading
    finally:
        for task in (watching, loading):
            task.cancel()
        await asyncio.gather(watching, loading, return_exceptions=True)


async def apart(run: Scene) -> Reconciled:
    """The verdicts of both streams, each against what is due of it, and the dead letters of both."""
    contract, _ = mean_model(NAME, signal_set=NEIGHBOURS)
    rules = rules_of(contract, MEMORY_RECORDS)
    given = await run.given()
    usual = await asyncio.to_thread(expect, given, run.rules())
    its = await asyncio.to_thread(expect, given, rules)
    return await run.reconcile(
        replace(usual, verdicts=usual.verdicts + its.verdicts, anomalies=usual.anomalies + its.anomalies)
    )
