"""The broker where there is no mosquitto: `python -m twinloop.local.parts.amqtt_broker HOST:PORT`, or a
JSON file with its whole configuration."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from amqtt.broker import Broker


def configuration(told: str) -> dict[str, Any]:
    """That of the file; of an address, one that lets everybody in."""
    if told.endswith(".json"):
        found: dict[str, Any] = json.loads(Path(told).read_text())
        return found
    return {
        "listeners": {"default": {"type": "tcp", "bind": told}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


async def serve(told: str) -> None:
    """Serve until SIGTERM."""
    broker = Broker(configuration(told))
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    await broker.start()
    await ending.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("transitions").setLevel(logging.WARNING)
    asyncio.run(serve(sys.argv[1]))
