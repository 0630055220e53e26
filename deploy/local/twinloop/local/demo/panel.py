"""The plant operator's panel: starts campaigns at the simulated plant and follows them, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec

_LOOK_EVERY_S = 0.25


class StationProgress(msgspec.Struct, frozen=True):
    """Where a station stands in its campaign. Sequences are part counters; `None` before the first part."""

    welds_done: int
    first_sequence: int | None
    last_sequence: int | None
    held: bool
    finished: bool


class CampaignProgress(msgspec.Struct, frozen=True):
    """The campaign at the panel."""

    name: str
    finished: bool
    stations: dict[str, StationProgress]


class Panel:
    """A client of the panel at `url`. Raises `httpx.HTTPError` when the plant does not answer as agreed."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=10.0)

    async def __aenter__(self) -> Panel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def start(self, campaign: dict[str, Any]) -> CampaignProgress:
        """Reset the plant to nominal and begin `campaign`."""
        answer = await self._client.post("/campaigns", json=campaign)
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=CampaignProgress)

    async def build_fleet(self, order: dict[str, Any]) -> None:
        """Build vehicles from the stations' joints, and drive them."""
        answer = await self._client.post("/fleets", json=order)
        answer.raise_for_status()

    async def fleet(self) -> dict[str, Any]:
        """How far the present fleet is."""
        answer = await self._client.get("/fleets/current")
        answer.raise_for_status()
        progress: dict[str, Any] = answer.json()
        return progress

    async def progress(self) -> CampaignProgress:
        """How far the present campaign is."""
        answer = await self._client.get("/campaigns/current")
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=CampaignProgress)

    async def finished(self, timeout_s: float) -> CampaignProgress:
        """The progress of the present campaign once it is finished. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s):
            while True:
                progress = await self.progress()
                if progress.finished:
                    return progress
                await asyncio.sleep(_LOOK_EVERY_S)
