"""Windows for a Triton on the same machine, in shared memory: no bytes of theirs pass through gRPC.

A region of the operating system is registered with the server and divided into slots; a request holds one
while it is under way, and waits for one when all are held: there are more than a server works on at a time.
Whoever has more than fits, or a server that cannot see the region (another machine, another container), sends
its windows by gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from twinloop.tritonio.server import REQUEST_BYTES, Floats

SLOT_BYTES = REQUEST_BYTES
SLOTS = 8
_DEADLINE_S = 2.0
_PREFIX = "twinloop-"
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the windows of a request lie in the region."""

    offset: int
    size: int


class WindowRegion:
    """A region of this process. `name` is what the server knows it by."""

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{uuid.uuid4().hex}"
        self._memory = SharedMemory(create=True, size=SLOTS * SLOT_BYTES)
        self._free: asyncio.LifoQueue[int] = asyncio.LifoQueue()  # the one used last is in the caches
        for slot in range(SLOTS):
            self._free.put_nowait(slot)
        self._registered = False
        self._invisible = False
        self._asking = asyncio.Lock()

    async def seen_by(self, client: InferenceServerClient) -> bool:
        """Whether the server sees the region; it is told of it when first asked."""
        if self._registered or self._invisible:
            return self._registered
        async with self._asking:
            if not self._registered and not self._invisible:
                key = f"/{self._memory.name.lstrip('/')}"
                try:
                    await client.register_system_shared_memory(
                        self.name, key, SLOTS * SLOT_BYTES, client_timeout=_DEADLINE_S
                    )
                except InferenceServerException as error:
                    # One that is away or busy now may see it later; one that answers and does not never will.
                    status = str(error.status())
                    self._invisible = not any(one in status for one in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))
                else:
                    self._registered = True
                    await _clear_away(client)
        return self._registered

    def forgotten(self) -> None:
        """The server does not know the region any more: tell it anew."""
        self._registered = False

    @contextlib.asynccontextmanager
    async def put(self, parts: Sequence[Floats]) -> AsyncIterator[Place | None]:
        """`parts`, float32 [n, window, signals] each, side by side in a slot that is theirs for the time of
        the context, once there is one; `None` where they do not fit."""
        size = sum(one.nbytes for one in parts)
        if size > SLOT_BYTES:
            yield None
            return
        slot = await self._free.get()
        try:
            shape = (sum(map(len, parts)), *parts[0].shape[1:])
            view: Floats = np.ndarray(shape, np.float32, self._memory.buf, offset=slot * SLOT_BYTES)
            np.concatenate(parts, out=view)
            del view
            yield Place(slot * SLOT_BYTES, size)
        finally:
            self._free.put_nowait(slot)

    async def close(self, client: InferenceServerClient) -> None:
        """Give the memory back, here and at the server."""
        if self._registered:
            with contextlib.suppress(InferenceServerException):
                await client.unregister_system_shared_memory(self.name, client_timeout=_DEADLINE_S)
        self._memory.close()
        self._memory.unlink()


async def _clear_away(client: InferenceServerClient) -> None:
    """Make the server let go of regions whose process was killed: it would hold their memory for ever.

    When a process dies, Python's resource tracker removes its region's name. Somebody whose region is cleared
    away by mistake is answered that it is unknown, and registers it again.
    """
    with contextlib.suppress(InferenceServerException):
        held = await client.get_system_shared_memory_status(client_timeout=_DEADLINE_S)
        for name, region in held.regions.items():
            if name.startswith(_PREFIX) and not (_SHARED_MEMORY / region.key.lstrip("/")).exists():
                await client.unregister_system_shared_memory(name, client_timeout=_DEADLINE_S)
