"""One client of the WebSocket `/stream`, from its handshake to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from fastapi import WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse

from twinloop.trust.bearer import Access
from twinloop.trust.errors import NotAllowed, NotAuthenticated
from twinloop.trust.people import Role, require
from twinloop.twin.mirror import Mirror
from twinloop.twin.stream import Client, Hub, TooSlow, told
from twinloop.twin.views import shadow_view

_TRY_AGAIN_LATER = 1013
_LAST_WORD_S = 1.0


async def follow(socket: WebSocket, hub: Hub, mirror: Mirror, access: Access, assets: Iterable[str]) -> None:
    """Refuse who may not, else tell the present shadows and then what happens, until the client goes or is
    too slow."""
    try:
        person = await access.person_of(socket.headers.get("authorization"))
        require(person, Role.VIEWER)
    except (NotAuthenticated, NotAllowed) as error:
        status = 401 if isinstance(error, NotAuthenticated) else 403
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await socket.send_denial_response(JSONResponse({"problem": str(error)}, status, headers))
        return
    with hub.follower() as client:
        await socket.accept()
        tasks = {
            asyncio.create_task(_send(socket, client, mirror, assets)),
            asyncio.create_task(_wait_for_the_end(socket)),
            # A client that reads nothing blocks the sending: then only this tells.
            asyncio.create_task(client.slow.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    if client.slow.is_set():
        await _let_go(socket, client)


async def _send(socket: WebSocket, client: Client, mirror: Mirror, assets: Iterable[str]) -> None:
    for asset in assets:
        if (shadow := mirror.shadow(asset)) is not None:
            await socket.send_text(told("shadow", shadow_view(shadow).model_dump(mode="json")))
    while True:
        await socket.send_text(await client.next())


async def _wait_for_the_end(socket: WebSocket) -> None:
    """What a client says is not listened to."""
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_bytes()


async def _let_go(socket: WebSocket, client: Client) -> None:
    """Say why, if it can be said at all."""
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(_LAST_WORD_S):
            try:
                await client.next()
            except TooSlow as error:
                await socket.send_text(told("dropped", str(error)))
                await socket.close(_TRY_AGAIN_LATER, str(error)[:120])
