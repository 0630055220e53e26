"""A server that answers slowly: a TCP proxy whose answers take their time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SlowProxy:
    """Passes bytes between clients and a server; what the server says is held for `delay_s`."""

    def __init__(self, to: str) -> None:
        self._host, _, port = to.rpartition(":")
        self._port = int(port)
        self.delay_s = 0.0
        self.address = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[SlowProxy]:
        """Serve at `address` for the time of the context."""
        server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        for source, sink, slow in ((reader, back, False), (there, writer, True)):
            task = asyncio.create_task(self._pass(source, sink, slow))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, slow: bool) -> None:
        """Until either side closes."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        now = asyncio.get_running_loop().time

        async def deliver() -> None:
            while (one := await held.get())[1]:
                await asyncio.sleep(one[0] - now())
                sink.write(one[1])
                await sink.drain()

        delivering = asyncio.create_task(deliver())
        with contextlib.suppress(OSError):
            while not delivering.done():
                data = await source.read(65536)
                held.put_nowait((now() + (self.delay_s if slow else 0.0), data))
                if not data:
                    break
        with contextlib.suppress(OSError):
            await delivering
        sink.close()
