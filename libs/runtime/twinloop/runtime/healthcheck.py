"""Ask the service in this container how it is: `python -m twinloop.runtime.healthcheck [live|ready]`.

Exit status 0 when it answers well at `TWINLOOP_HEALTH_PORT`; else 1 and a sentence. A container's engine runs
this every few seconds, so it must cost little: not even the standard library's HTTP client is loaded.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

_PATHS = {"live": "/health/live", "ready": "/health/ready"}
_TIMEOUT_S = 3.0
_SHOWN = 500
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def problem(environ: Mapping[str, str], path: str) -> str | None:
    """What speaks against it; `None` when it answers with 200."""
    port = environ.get("TWINLOOP_HEALTH_PORT", "")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return f"TWINLOOP_HEALTH_PORT={port} is no port: set it to the one that the service listens on."
    host = environ.get("TWINLOOP_HEALTH_HOST", "")
    question = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"
    try:
        with socket.create_connection((_EVERYWHERE.get(host, host), int(port)), _TIMEOUT_S) as connection:
            connection.sendall(question.encode())
            answer = _all_of(connection)
    except OSError as error:
        return f"no answer from {host}:{port}{path}: {error}"
    head, _, said = answer.partition("\r\n\r\n")
    status = head.split(" ", 2)[1:2]
    return None if status == ["200"] else f"{head.splitlines()[:1]} {said[:_SHOWN].strip()}"


def _all_of(connection: socket.socket) -> str:
    """What is said until the other end closes."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces).decode(errors="replace")


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    asked = arguments[0] if arguments else "ready"
    if len(arguments) > 1 or asked not in _PATHS:
        sys.stderr.write("usage: python -m twinloop.runtime.healthcheck [live|ready]\n")
        return 2
    found = problem(os.environ, _PATHS[asked])
    if found is not None:
        sys.stderr.write(f"{asked}: {found}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
