"""What a line goes through before it is watched: healthy welds, a model fitted on them, its service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import PlayError, finished
from twinloop.local.demo.scenarios import CLOSED, asset, commissioning
from twinloop.local.jobs import run_job
from twinloop.local.stack import Stack

_FIT_S = 120.0
_SERVED_S = 30.0

Say = Callable[[str], None]


async def commission(stack: Stack, panel: Panel, say: Say) -> None:
    """Weld, fit and serve on a running stack. Raises `PlayError`."""
    where = stack.endpoints
    say("commissioning: healthy welds at weld1, kept as Parquet by the historian")
    welds = await _weld(panel)
    summary = await run_job(
        "twinloop.trainer",
        "fit",
        *("--parquet", str(where.parquet), "--signal-set", "weld.v1", "--asset", asset(CLOSED)),
        *("--min-windows", str(welds), "--model", "weld", "--repository", str(where.model_repository)),
        environment=where.environment(),
        timeout_s=_FIT_S,
        log=stack.state.log("trainer"),
    )
    say(summary.strip())
    await served(where.health["detector"])


async def _weld(panel: Panel) -> int:
    """Weld the healthy parts that a model is trained on; returns how many."""
    campaign = commissioning()
    await panel.start(campaign)
    welds = int(campaign["welds"])
    try:
        await finished(panel, timeout_s=30 + 3 * welds / float(campaign["rate_hz"]))
    except TimeoutError:
        raise PlayError("the commissioning welds did not end: look at the simulator's log") from None
    return welds


async def served(detector_url: str, routes: int = 1) -> None:
    """Wait until the detector follows so many announced routes and their models answer."""
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
