"""`make replay DATA=<folder>`: recorded data of a real water circuit through the same path, then scored.

    learn from the first 400 rows -> artefact -> modelops -> Triton
    CSV replay -> Kafka -> detector -> verdicts -> score

`twinloop train` learns one model from all files: a drift filter, unless another architecture is named. `pca`
needs no torch: a model is fitted for each file. The score is counted on verdicts read back from Kafka. Exit
status 0 when every row is accounted for.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from twinloop.contracts.models import ModelCard
from twinloop.local.console import Printer
from twinloop.local.demo.commissioning import modelops, served
from twinloop.local.demo.models import into_service
from twinloop.local.errors import CannotStart
from twinloop.local.interrupts import run_command
from twinloop.local.jobs import run_job
from twinloop.local.pages import relative
from twinloop.local.places import find_places
from twinloop.local.services import select
from twinloop.local.stack import Stack
from twinloop.local.state import state_of_play

SERVICES = ("modelops", "detector")
TRAIN_ROWS = 400
"""The benchmark's protocol: the first rows of a file are healthy and for training."""
SIGNAL_SET = "skab.v1"
DRIFT_FILTER, PCA = "drift-filter", "pca"
_JOB_S = 300.0

Say = Callable[[str], None]


def csv_folder(data: Path) -> Path:
    """The folder, checked. Raises `CannotStart` when there is nothing to replay."""
    if not data.is_dir():
        raise CannotStart(
            f"{data} is not a folder: name one with SKAB's CSV files, as in `make replay DATA=…/valve1`"
        )
    if not csv_files(data):
        raise CannotStart(
            f"{data} holds no CSV file: name the folder with SKAB's files, such as …/skab/valve1"
        )
    return data.resolve()


def csv_files(data: Path) -> list[Path]:
    """`2.csv` before `10.csv`."""
    return sorted(data.glob("*.csv"), key=lambda path: (len(path.stem), path.stem))


async def replay(data: Path, architecture: str, state: Path, console: Console) -> int:
    """Start Kafka, Triton, modelops and the detector; learn, replay, score; stop everything."""

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    async with Stack(
        state,
        parts=("kafka", "triton"),
        services=select(SERVICES),
        env=os.environ,
        listener=Printer(console),
    ) as stack:
        await stack.guard(play(stack, data, architecture, say))
    return 0


async def play(stack: Stack, data: Path, architecture: str, say: Say) -> None:
    """The same on a running stack. Raises `LocalError`."""
    if architecture == PCA:
        await _fitted(stack, data, say)
    else:
        await _trained(stack, data, architecture, say)
    say(await _job(stack, "replay", "twinloop.ingest.replay", "--folder", str(data)))
    say(await _job(stack, "score", "twinloop.trainer", "score-skab", "--data", str(data)))


async def _fitted(stack: Stack, data: Path, say: Say) -> None:
    """A model for each file, which serves that file's asset alone."""
    out = relative(stack.state.artefacts / "skab")
    words = ("fit-skab", "--data", str(data), "--out", str(out))
    say(await _job(stack, "trainer", "twinloop.trainer", *words))
    began_s = time.monotonic()
    made = sorted(out.iterdir())
    async with modelops(stack) as people:

        async def serve(folder: Path) -> None:
            card = msgspec.json.decode((folder / "card.json").read_bytes(), type=ModelCard)
            await into_service(people, folder, f"fitted on {card.trained.source}", card.trained.assets[0])

        await asyncio.gather(*map(serve, made))
    say(f"{len(made)} models staged and promoted, each for its file, in {time.monotonic() - began_s:.1f} s")
    await served(stack.endpoints.health["detector"], routes=len(made))


async def _trained(stack: Stack, data: Path, architecture: str, say: Say) -> None:
    """One model for all files."""
    out = relative(stack.state.artefacts / "skab")
    words = (
        *("train", "--architecture", architecture, "--model", "skab", "--signal-set", SIGNAL_SET),
        *("--rows", str(TRAIN_ROWS), "--learn-from-all", "--out", str(out)),
        *("--csv", *map(str, csv_files(data))),
    )
    say(await _job(stack, "trainer", "twinloop.cli", *words))
    async with modelops(stack) as people:
        reason = f"{architecture}, learnt from the first {TRAIN_ROWS} rows of the files in {data.name}"
        say(await into_service(people, out, reason))
    await served(stack.endpoints.health["detector"])


async def _job(stack: Stack, log: str, module: str, *words: str) -> str:
    environment = stack.endpoints.environment()
    printed = await run_job(
        module, *words, environment=environment, timeout_s=_JOB_S, log=stack.state.log(log)
    )
    return printed.strip("\n")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(prog="twinloop.local.replay", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of SKAB CSV files")
    parser.add_argument(
        "--architecture",
        default=DRIFT_FILTER,
        help=f"what `twinloop train` learns (%(default)s), or {PCA}: fitted without torch",
    )
    parser.add_argument("--state", type=Path, default=state_of_play(find_places(), os.environ, "replay").root)
    return parser.parse_args(argv)


def main() -> int:
    """Do what the command line says, and turn what went wrong into one sentence."""
    options = parse()
    console = Console(highlight=False)

    async def work() -> int:
        return await replay(csv_folder(options.data), options.architecture, options.state, console)

    return run_command(work())


if __name__ == "__main__":
    sys.exit(main())
