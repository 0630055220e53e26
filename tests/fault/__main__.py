"""`python -m fault [row ...]`: play the table of faults, a line a row; status 1 when one does not hold."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable
from pathlib import Path

from fault.model_rows import MODEL_ROWS
from fault.rows import ROWS as STREAM_ROWS
from fault.scene import Size

ROWS = {**STREAM_ROWS, **MODEL_ROWS}
TABLES = {"stream": STREAM_ROWS, "models": MODEL_ROWS}

LIMIT_S = 3600
"""Of a row."""


async def limited(row: Awaitable[str]) -> str:
    """The line of a row. Raises `TimeoutError`."""
    async with asyncio.timeout(LIMIT_S):
        return await row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fault", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}; default: all of the table"
    )
    parser.add_argument("--table", choices=TABLES, default="stream", help="which rows (%(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of content and moments")
    parser.add_argument("--frames", type=int, default=Size().frames, help="at least so many a row")
    parser.add_argument("--folder", type=Path, help="keep state and logs here")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    sys.stdout.write(f"seed {given.seed}\n")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="twinloop-fault-") as scratch:
        for name in given.rows or TABLES[given.table]:
            begun = time.monotonic()
            folder = (given.folder or Path(scratch)) / name
            shutil.rmtree(folder, ignore_errors=True)
            try:
                said = asyncio.run(limited(ROWS[name](folder, given.seed, Size(frames=given.frames))))
                verdict = "held"
            except Exception as problem:  # noqa: BLE001  # a row that fails must not hide the others
                failed += 1
                verdict, said = "FAILED", f"{problem}"
                if not isinstance(problem, AssertionError):
                    traceback.print_exc()
            sys.stdout.write(f"{verdict}  {name}: {said} ({time.monotonic() - begun:.0f} s)\n")
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
