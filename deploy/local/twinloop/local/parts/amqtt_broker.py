"""The broker where there is no mosquitto: `python -m twinloop.local.parts.amqtt_broker HOST:PORT`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from amqtt.broker import Broker


async def serve(address: str) -> None:
    """Serve until SIGTERM."""
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": address}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await broker.start()
    await ending.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("transitions").setLevel(logging.WARNING)
    asyncio.run(serve(sys.argv[1]))
