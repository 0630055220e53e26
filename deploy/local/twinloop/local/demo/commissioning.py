"""What a line goes through before it is watched: trials, healthy welds, and a model from each.

The trials, at setpoints of a plan, tell the twin how the process answers; the healthy welds after them tell
the detector what is usual. Both are kept as Parquet by the historian, and learnt from there. The detector's
model is an artefact first: modelops checks it, and lets it serve when a data scientist says so.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.local.demo.models import PATIENT_S, into_service
from twinloop.local.demo.operator import People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import PlayError
from twinloop.local.demo.scenarios import CLOSED, HEALTHY_WELDS, asset, healthy_welds, trials
from twinloop.local.demo.stage import Stage
from twinloop.local.jobs import run_job
from twinloop.local.pages import relative
from twinloop.local.places import find_places

_JOB_S = 180.0
_SERVED_S = 90.0
PROCESS = "cu-al-tab"

Say = Callable[[str], None]


async def commission(stack: Stage, panel: Panel, say: Say) -> None:
    """Weld, identify, fit and serve on a running stack. Raises `PlayError`."""
    plan = find_places().config / "commissioning.toml"
    planned = tomllib.loads(plan.read_text())["trials"]
    tried = sum(one["welds"] for one in planned)
    say(f"commissioning: {tried} trial welds and {HEALTHY_WELDS} healthy ones at {CLOSED}, kept as Parquet")
    await _weld(panel, trials(planned))
    await _weld(panel, healthy_welds())
    for summary in await asyncio.gather(_identify(stack, plan), _fit_and_serve(stack, tried)):
        say(summary.strip())
    await served(stack.endpoints.health["detector"])


async def _identify(stack: Stage, plan: Path) -> str:
    """The twin's process model, from the trials."""
    where = stack.endpoints
    return await run_job(
        "twinloop.trainer",
        "identify",
        *("--parquet", str(where.parquet), "--plan", str(plan), "--asset", asset(CLOSED)),
        *("--process", PROCESS, "--into", str(stack.state.root / "processes")),
        *("--topic-prefix", where.topic_prefix),
        environment=where.environment(),
        timeout_s=_JOB_S,
        log=stack.state.log("trainer-identify"),
    )


async def _fit_and_serve(stack: Stage, tried: int) -> str:
    """The detector's model, from the healthy welds after the trials."""
    where, out = stack.endpoints, relative(stack.state.artefacts / "weld")
    fitted = await run_job(
        "twinloop.trainer",
        "fit",
        *("--parquet", str(where.parquet), "--topic", TELEMETRY_FACTORY.named(where.topic_prefix)),
        *("--signal-set", "weld.v1", "--asset", asset(CLOSED)),
        *("--min-windows", str(tried + HEALTHY_WELDS), "--newest", str(HEALTHY_WELDS)),
        *("--model", "weld", "--out", str(out)),
        environment=where.environment(),
        timeout_s=_JOB_S,
        log=stack.state.log("trainer"),
    )
    async with modelops(stack) as people:
        told = await into_service(people, out, f"fitted on the healthy welds of {CLOSED}")
    return f"{fitted.strip()}\n{told}"


def modelops(stack: Stage) -> People:
    """People at modelops."""
    return People(stack.endpoints.health["modelops"], stack.state.certs / "tokens", PATIENT_S)


async def _weld(panel: Panel, campaign: dict[str, Any]) -> None:
    await panel.start(campaign)
    welds = int(campaign["welds"])
    try:
        await panel.finished(30 + 3 * welds / float(campaign["rate_hz"]))
    except TimeoutError:
        raise PlayError(f"the welds of {campaign['name']} did not end: look at the simulator's log") from None


async def served(detector_url: str, routes: int = 1) -> None:
    """Wait until the detector follows so many routes and their models answer."""
    async with httpx.AsyncClient(base_url=detector_url, timeout=5) as client:
        try:
            async with asyncio.timeout(_SERVED_S):
                while _routes((await client.get("/metrics")).text) < routes:
                    await asyncio.sleep(0.1)
                while (await client.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise PlayError("the detector does not serve the new model: look at its log") from None


def _routes(metrics: str) -> float:
    """How many routes the detector's metrics say that it knows."""
    lines = [line for line in metrics.splitlines() if line.startswith("twinloop_detector_routes ")]
    return float(lines[0].split()[1]) if lines else 0.0
