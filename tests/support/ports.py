"""Ports that nobody else is given while the tests run; a server can listen on them all the same."""

from __future__ import annotations

import atexit

from twinloop.local.ports import Ports

_HELD = Ports({})
atexit.register(_HELD.release)


def free_port() -> int:
    """One that nobody listens on."""
    return _HELD.reserve("").number


def free_endpoint() -> str:
    """The same as the address of a PLC."""
    return f"opc.tcp://127.0.0.1:{free_port()}/twinloop/"
