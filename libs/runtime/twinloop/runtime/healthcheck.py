"""Ask the service in this container how it is: `python -m twinloop.runtime.healthcheck [live|ready]`.

Exit status 0 when it answers well at `TWINLOOP_HEALTH_PORT`; else 1 and a sentence. A container's engine runs
this every few seconds: the standard library alone, so that it costs little.
"""

from __future__ import annotations

import http.client
import os
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
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(_SHOWN).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {host}:{port}{path}: {error}"
    finally:
        connection.close()
    return None if answer.status == 200 else f"{answer.status} {said}"


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
