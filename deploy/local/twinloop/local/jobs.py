"""Jobs: processes that run to their end beside a stack, such as the trainer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from twinloop.local.errors import LocalError


class JobFailed(LocalError):
    """Raised when a job ends with an error or takes too long.

    Operator action: read what it said; the sentence holds its last lines.
    """


async def run_job(
    module: str, *arguments: str, environment: Mapping[str, str], timeout_s: float, log: Path | None = None
) -> str:
    """Run `python -m module arguments`, and return what it printed to stdout.

    Its stderr goes to `log`, or to ours. It is stopped when this is cancelled. Raises `JobFailed`.
    """
    errors = log.open("ab") if log is not None else None
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
        try:
            async with asyncio.timeout(timeout_s):
                printed, _ = await process.communicate()
        except TimeoutError:
            raise JobFailed(f"{module} {arguments[0]} took more than {timeout_s:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
    finally:
        if errors is not None:
            errors.close()
    text = printed.decode(errors="replace")
    if process.returncode:
        said = text.strip() or (log.read_text(errors="replace")[-2000:] if log is not None else "")
        raise JobFailed(f"{module} {' '.join(arguments)} ended with status {process.returncode}:\n{said}")
    return text
