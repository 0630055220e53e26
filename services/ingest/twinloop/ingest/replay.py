"""`python -m twinloop.ingest.replay --folder F`: recorded CSV files into Kafka, as if they came now.

The frames go through the same normalisation as live ones; only the limits on age do not apply. Exit status:
0 when Kafka has acknowledged every row (bad rows as dead letters), 1 when something could not be sent, 2 when
it was asked for wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiokafka.errors import KafkaError

from twinloop.contracts.codec import Message
from twinloop.ingest import signal_sets
from twinloop.ingest.csv_source import BadRow, asset_of, csv_files, frames
from twinloop.ingest.deadletters import dead_letter
from twinloop.ingest.errors import BadCatalogue, BadSource, Refused
from twinloop.ingest.normalize import Normalized
from twinloop.ingest.signal_sets import CsvShape, SignalSet
from twinloop.runtime.clock import Clock, SystemClock
from twinloop.runtime.kafka import clients
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging
from twinloop.runtime.settings import ServiceSettings, load

_GROUP = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send, and how."""

    files: list[Path]
    signal_set: SignalSet
    shape: CsvShape
    asset_prefix: str
    rows_per_frame: int
    first_row: int
    timeout_s: float


@dataclass(slots=True)
class Sent:
    """What has been acknowledged of a file."""

    rows: int = 0
    frames: int = 0
    refused: int = 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m twinloop.ingest.replay", description=__doc__.split("\n")[0].partition(": ")[2]
    )
    parser.add_argument("--folder", type=Path, required=True, help="folder of CSV files, each one asset")
    parser.add_argument("--signal-set", default="skab.v1", help="which columns are signals (%(default)s)")
    parser.add_argument("--signal-sets", type=Path, help="TOML file of further signal sets")
    parser.add_argument("--asset-prefix", default="skab", help="assets are <prefix>.<folder>.<file>")
    parser.add_argument("--rows-per-frame", type=_positive, default=1, metavar="N")
    parser.add_argument("--first-row", type=_natural, default=0, metavar="N", help="leave out rows before N")
    parser.add_argument("--delimiter", help="instead of the signal set's")
    parser.add_argument("--time-column", help="instead of the signal set's")
    parser.add_argument("--timeout-s", type=float, default=60.0, help="for each answer from Kafka")
    return parser.parse_args(argv)


def _natural(text: str) -> int:
    if (number := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _plan(given: argparse.Namespace) -> Plan:
    """Raises `BadSource`, `BadCatalogue` or `Refused` (no such signal set)."""
    signal_set = signal_sets.load(given.signal_sets).find(given.signal_set)
    shape = signal_set.csv or CsvShape()
    changed = {
        name: value
        for name, value in (("delimiter", given.delimiter), ("time_column", given.time_column))
        if value is not None
    }
    return Plan(
        files=csv_files(given.folder),
        signal_set=signal_set,
        shape=CsvShape(**{**shape.model_dump(), **changed}),
        asset_prefix=given.asset_prefix,
        rows_per_frame=given.rows_per_frame,
        first_row=given.first_row,
        timeout_s=given.timeout_s,
    )


def _message(one: Normalized | BadRow, sent: Sent, clock: Clock) -> list[Message]:
    """The records of a frame or a bad row, counted in `sent`. The same bad row has always the same id."""
    if isinstance(one, BadRow):
        sent.rows += 1
        sent.refused += 1
        return [dead_letter(one.refused, source=one.source, payload=one.line, at=clock.now(), once=True)]
    sent.rows += one.frame.samples.shape[0]
    sent.frames += 1
    return one.messages()


async def _send(path: Path, plan: Plan, publisher: Publisher, clock: Clock) -> Sent:
    """Publish a file and return when all of it is acknowledged. Raises `BadSource` or `TimeoutError`."""
    sent = Sent()
    everything = frames(
        path,
        plan.signal_set,
        plan.shape,
        asset_of(path, plan.asset_prefix),
        rows_per_frame=plan.rows_per_frame,
        first_row=plan.first_row,
    )
    while group := list(islice(everything, _GROUP)):
        async with asyncio.timeout(plan.timeout_s):
            await publisher.publish([record for one in group for record in _message(one, sent, clock)])
    return sent


async def replay(plan: Plan, settings: ServiceSettings, clock: Clock) -> int:
    """Send every file, a line of output each; the exit status."""
    stopping = asyncio.Event()
    total, failed = Sent(), 0
    async with contextlib.AsyncExitStack() as stack:
        async with asyncio.timeout(plan.timeout_s):
            publisher = await stack.enter_async_context(
                clients.publisher(settings.kafka_access, settings.topic_prefix, stopping)
            )
        gc.freeze()  # what was imported stays: do not look through it again and again
        began = time.perf_counter()
        for path in plan.files:
            try:
                sent = await _send(path, plan, publisher, clock)
            except (BadSource, OSError) as error:
                failed += 1
                _say(f"{path.name}: nothing sent: {error}")
                continue
            _say(
                f"{asset_of(path, plan.asset_prefix)}: {sent.rows} rows,"
                f" {sent.frames} frames, {sent.refused} dead letters"
            )
            total = Sent(total.rows + sent.rows, total.frames + sent.frames, total.refused + sent.refused)
        took_s = time.perf_counter() - began
    _say(
        f"{total.rows} rows of {len(plan.files) - failed} files acknowledged by Kafka in {took_s:.1f} s"
        f" ({total.rows / took_s:.0f} rows/s); {total.refused} rows are dead letters"
    )
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Replay from the command line and the environment; the process's exit status."""
    given = _arguments(argv)
    settings = load(ServiceSettings)
    logging.configure("ingest", settings.log_format, "WARNING")
    try:
        plan = _plan(given)
    except (BadSource, BadCatalogue) as error:
        return _fail(str(error), 2)
    except Refused as refused:
        return _fail(refused.detail, 2)
    try:
        return asyncio.run(replay(plan, settings, SystemClock()))
    except TimeoutError:
        return _fail(f"Kafka at {settings.kafka} did not acknowledge within {plan.timeout_s:g} s.", 1)
    except KafkaError as error:
        return _fail(f"Kafka at {settings.kafka} refused: {error}", 1)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _fail(problem: str, status: int) -> int:
    sys.stderr.write(f"Replay: {problem}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
