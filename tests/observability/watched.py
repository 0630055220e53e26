"""What a real Prometheus has alerted of, and until when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

import httpx

Key = str
"""An alert's name, with its long window where it has several."""


class Watched:
    """Looks at the alerts of the Prometheus at `address` (host:port) for as long as `watch` runs."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/api/v1"
        self._began_s = time.monotonic()
        self.firing: set[Key] = set()
        self.fired: dict[Key, float] = {}
        self.over: dict[Key, float] = {}
        self.looks = 0

    async def watch(self) -> None:
        """For ever."""
        async with httpx.AsyncClient(timeout=10) as client:
            while True:
                try:
                    answer = (await client.get(f"{self._url}/alerts")).json()
                except httpx.HTTPError:
                    await asyncio.sleep(0.5)  # the machine is busy
                    continue
                now = {_key(one["labels"]) for one in answer["data"]["alerts"] if one["state"] == "firing"}
                at_s = time.monotonic() - self._began_s
                for key in now - self.firing:
                    self.fired.setdefault(key, at_s)
                    self.over.pop(key, None)
                for key in self.firing - now:
                    self.over[key] = at_s
                self.firing = now
                self.looks += 1
                await asyncio.sleep(0.5)

    async def until_fired(self, keys: Collection[Key], timeout_s: float) -> None:
        """Raises `AssertionError` with those that did not fire in time."""
        await self._until(lambda: set(keys) <= set(self.fired), timeout_s)
        missing = sorted(set(keys) - set(self.fired))
        assert not missing, f"did not fire: {missing}; {self.told()}"

    async def until_over(self, timeout_s: float, keys: Collection[Key] | None = None) -> None:
        """All of them, or these."""
        await self._until(lambda: not (self.firing if keys is None else self.firing & set(keys)), timeout_s)
        left = self.firing if keys is None else self.firing & set(keys)
        assert not left, f"not over: {sorted(left)}; {self.told()}"

    async def _until(self, true: object, timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        seen = self.looks
        while time.monotonic() < end_s and not (self.looks > seen and true()):  # type: ignore[operator]
            await asyncio.sleep(0.2)

    def told(self) -> str:
        """Since when, and until when."""
        return ", ".join(f"{key} {at:.0f}-{self.over.get(key, -1):.0f}" for key, at in self.fired.items())


def _key(labels: dict[str, str]) -> Key:
    window = labels.get("long_window")
    return labels["alertname"] + (f" {window}" if window in ("1h", "6h") else "")
