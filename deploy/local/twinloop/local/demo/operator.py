"""The people of the demo: what they ask for goes through the services' public APIs, as anyone's would."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from twinloop.contracts.modes import Mode

ENGINEER: Final = "enzo"
_LOOK_EVERY_S: Final = 0.05
_AGAIN_S: Final = 0.5


class ModeNotEntered(Exception):
    """Raised when an asset does not reach the mode that was asked for.

    Operator action: the message says what is in force and why; the logs of controller and line say more.
    """


class People:
    """Clients of a service's API at `url`, each with the token of its person in the folder `tokens`. What
    is asked of the twin has a name of its own. `timeout_s` is how long an answer may take; `transport` is
    what goes there instead of a network."""

    def __init__(
        self,
        url: str,
        tokens: Path,
        timeout_s: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._tokens = tokens
        self._timeout_s = timeout_s
        self._transport = transport
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def __aenter__(self) -> People:
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.aclose()

    async def post(self, who: str, path: str, body: Mapping[str, Any]) -> Any:
        """Ask for something in the name of `who`. Raises `httpx.HTTPStatusError` with the answer's text."""
        return _said(path, await self._client(who).post(path, json=dict(body)))

    async def upload(self, who: str, path: str, content: bytes, query: Mapping[str, str]) -> Any:
        """Send `content` in the name of `who`. Raises as `post` does."""
        return _said(path, await self._client(who).post(path, content=content, params=dict(query)))

    async def get(self, who: str, path: str) -> Any:
        """What `who` sees. Raises `httpx.HTTPStatusError`."""
        answer = await self._client(who).get(path)
        answer.raise_for_status()
        return answer.json()

    async def modes(self, asset: str) -> dict[str, Any]:
        """Requested and actual mode of `asset`, as the twin tells them; empty while it knows nothing of it
        yet. Raises `httpx.HTTPStatusError`."""
        shadow = (await self.get(ENGINEER, f"/assets/{asset}"))["shadow"]
        return {} if shadow is None else dict(shadow["mode"])

    async def promote(self, asset: str, to: Mode, reason: str, timeout_s: float = 30.0) -> None:
        """Lead `asset` up to `to`, one step after the other. Raises `ModeNotEntered`."""
        for step in (one for one in Mode if Mode.SHADOW.rank < one.rank <= to.rank):
            await self.post(ENGINEER, f"/assets/{asset}/mode", {"mode": str(step), "reason": reason})
            await self._entered(asset, step, timeout_s)

    async def lead_up(self, asset: str, to: Mode, reason: str, within_s: float = 90.0) -> None:
        """`promote`; again for so long, as a person would: a busy machine sheds, and a twin may not have read
        yet what lets it promote. Raises what the last attempt raised."""
        end = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                return await self.promote(asset, to, reason)
            except (httpx.HTTPError, ModeNotEntered):
                if asyncio.get_running_loop().time() > end:
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _entered(self, asset: str, mode: Mode, timeout_s: float) -> None:
        modes: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    modes = await self.modes(asset)
                    if modes.get("actual") == mode:
                        return
                    if modes and not modes["pending"] and modes["requested"] == mode:
                        raise ModeNotEntered(f"{asset} was not let into {mode}: {modes['why']}")
                    await asyncio.sleep(_LOOK_EVERY_S)
        except TimeoutError:
            raise ModeNotEntered(f"{asset} did not enter {mode}: {modes}") from None

    def _client(self, who: str) -> httpx.AsyncClient:
        if who not in self._clients:
            token = (self._tokens / f"{who}.token").read_text().strip()
            self._clients[who] = httpx.AsyncClient(
                base_url=self._url,
                timeout=self._timeout_s,
                headers={"Authorization": f"Bearer {token}"},
                transport=self._transport,
            )
        return self._clients[who]


def _said(path: str, answer: httpx.Response) -> Any:
    if answer.is_error:
        raise httpx.HTTPStatusError(
            f"{path}: {answer.status_code} {answer.text}", request=answer.request, response=answer
        )
    return answer.json()
