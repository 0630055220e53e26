"""Ports on 127.0.0.1, chosen by the system and held until the part that was promised them is listening."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from twinloop.local.errors import CannotStart

LOOPBACK = "127.0.0.1"


class Port:
    """A reserved port.

    A socket that is bound but does not listen keeps the port from being given to anyone else (also as the
    local end of an outgoing connection), while a server that sets SO_REUSEADDR, as all of ours do, can
    still listen on it.
    """

    def __init__(self, holder: socket.socket) -> None:
        self.number: int = holder.getsockname()[1]
        self._holder = holder

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.number}"

    def release(self) -> None:
        self._holder.close()


class Ports:
    """The ports of one stack, released together. An environment variable may fix any of them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._reserved: list[Port] = []

    def reserve(self, variable: str) -> Port:
        """The port that `variable` fixes, else one that the system chooses.

        Raises `CannotStart` when the fixed one is no port, or in use.
        """
        number = _fixed(variable, self._environ)
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((LOOPBACK, number))
        except OSError as problem:
            holder.close()
            raise CannotStart(
                f"Port {number}, which {variable} asks for, cannot be used ({problem.strerror}): stop "
                "what uses it, "
                f"or unset {variable} so that a free port is chosen."
            ) from problem
        port = Port(holder)
        self._reserved.append(port)
        return port

    def release(self) -> None:
        """Give all of them back."""
        while self._reserved:
            self._reserved.pop().release()


def _fixed(variable: str, environ: Mapping[str, str]) -> int:
    text = environ.get(variable, "")
    if not text:
        return 0
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise CannotStart(f"{variable}={text} is no port: set it to a number from 1 to 65535, or unset it.")
    return int(text)


def checked_address(variable: str, address: str) -> str:
    """`host:port` as given; `CannotStart` when `variable` holds something else."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise CannotStart(f"{variable}={address} is no address: write it as host:port.")
    return address
