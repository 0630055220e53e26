"""`make replay DATA=<folder>`: recorded data of a real water circuit through the same path, then scored.

    fit on first 400 rows -> ONNX on Triton -> CSV replay -> Kafka -> detector -> anomalies -> score

The score is counted on anomalies read back from Kafka. Exit status 0 when every row is accounted for.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from twinloop.local.console import Printer
from twinloop.local.demo.commissioning import served
from twinloop.local.errors import CannotStart
from twinloop.local.interrupts import run_command
from twinloop.local.jobs import run_job
from twinloop.local.services import select
from twinloop.local.stack import Stack


def csv_folder(data: Path) -> Path:
    """The folder, checked. Raises `CannotStart` when there is nothing to replay."""
    if not data.is_dir():
        raise CannotStart(
            f"{data} is not a folder: name one with SKAB's CSV files, as in `make replay DATA=…/valve1`"
        )
    if not any(data.glob("*.csv")):
        raise CannotStart(
            f"{data} holds no CSV file: name the folder with SKAB's files, such as …/skab/valve1"
        )
    return data.resolve()


async def replay(data: Path, state: Path, console: Console) -> int:
    """Start Kafka, Triton and the detector; fit, replay, score; stop everything."""
    async with Stack(
        state,
        parts=("kafka", "triton"),
        services=select(["detector"]),
        env=os.environ,
        listener=Printer(console),
    ) as stack:
        where = stack.endpoints
        environment = where.environment()

        async def work() -> None:
            fitted = await run_job(
                "twinloop.trainer",
                *("fit-skab", "--data", str(data), "--repository", str(where.model_repository)),
                environment=environment,
                timeout_s=300,
                log=stack.state.log("trainer"),
            )
            console.print(fitted.strip(), highlight=False, soft_wrap=True)
            await served(where.health["detector"], routes=len(list(data.glob("*.csv"))))
            sent = await run_job(
                "twinloop.ingest.replay",
                *("--folder", str(data)),
                environment=environment,
                timeout_s=300,
                log=stack.state.log("replay"),
            )
            console.print(sent.strip(), highlight=False, soft_wrap=True)
            board = await run_job(
                "twinloop.trainer",
                *("score-skab", "--data", str(data)),
                environment=environment,
                timeout_s=300,
                log=stack.state.log("trainer"),
            )
            console.print(board.rstrip(), highlight=False, soft_wrap=True)

        await stack.guard(work())
    return 0


def main() -> int:
    """Parse the command line and turn what went wrong into one sentence."""
    parser = argparse.ArgumentParser(prog="twinloop.local.replay", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of SKAB CSV files")
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("TWINLOOP_STATE", ".twinloop")))
    options = parser.parse_args()
    console = Console(highlight=False)

    async def work() -> int:
        return await replay(csv_folder(options.data), options.state, console)

    return run_command(work())


if __name__ == "__main__":
    sys.exit(main())
