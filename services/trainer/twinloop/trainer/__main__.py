"""`python -m twinloop.trainer <command>`: models from recordings, as artefacts; the score of served ones.

Exit status: 0 done, 1 could not be done (one sentence on stderr says why), 2 asked for wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from aiokafka.errors import KafkaError

from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.observability import logging
from twinloop.runtime.settings import ServiceSettings, load
from twinloop.trainer import app, recordings
from twinloop.trainer.errors import NoTorch, NotScored, TrainerError
from twinloop.trainer.recipes import RECIPES
from twinloop.trainer.recordings import add_recordings
from twinloop.trainer.training.arguments import add_artefact, add_train, out_of
from twinloop.trainer.words import folder_name, positive, share

CALLED = "TWINLOOP_CALLED"
"""By what name people call this, where another program hands their words on."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog=os.environ.get(CALLED) or "python -m twinloop.trainer",
        description="Make models, as artefacts that modelops stages.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_recordings(commands)
    add_train(commands)

    fit = commands.add_parser("fit", help="on the historian's recording of one healthy asset; no torch")
    fit.add_argument("--parquet", type=Path, required=True, help="the historian's folder")
    fit.add_argument("--topic", default=TELEMETRY_FACTORY.name, help="in that folder (default: %(default)s)")
    fit.add_argument("--signal-set", choices=sorted(RECIPES), required=True)
    fit.add_argument("--asset", required=True, help="whose windows are learnt from")
    fit.add_argument("--min-windows", type=positive, required=True, metavar="N", help="wait for so many")
    fit.add_argument("--newest", type=positive, help="learn from so many of them (default: all)")
    fit.add_argument("--wait-s", type=float, default=60.0, help="how long (%(default)s)")
    fit.add_argument("--false-alarms", type=share, default=1e-5, help="wanted share (%(default)s)")
    add_artefact(fit)

    identify = commands.add_parser("identify", help="a process model, from commissioning trials")
    identify.add_argument("--parquet", type=Path, required=True, help="the historian's folder")
    identify.add_argument("--topic-prefix", default="", help="of the topics in that folder")
    identify.add_argument("--plan", type=Path, required=True, help="TOML file: the trials that were welded")
    identify.add_argument("--asset", required=True, help="where they were welded")
    identify.add_argument("--process", type=folder_name, required=True, help="name of the process model")
    identify.add_argument("--into", type=Path, required=True, help="the twin's folder of process models")
    identify.add_argument("--wait-s", type=float, default=60.0, help="for the historian (%(default)s)")

    cells = commands.add_parser("cells", help="the resistance of cell groups; nothing is fitted")
    cells.add_argument("--groups", type=positive, required=True, metavar="N", help="of a vehicle")
    add_artefact(cells)

    fit_skab = commands.add_parser("fit-skab", help="on the first rows of each recorded file; no torch")
    fit_skab.add_argument("--data", type=Path, required=True, help="folder of SKAB's CSV files")
    fit_skab.add_argument("--out", type=Path, required=True, help="folder of the artefacts, one each")

    score_skab = commands.add_parser("score-skab", help="what the detector said of the recorded files")
    score_skab.add_argument("--data", type=Path, required=True, help="folder of SKAB's CSV files")
    score_skab.add_argument("--wait-s", type=float, default=120.0, help="for the detector (%(default)s)")
    return parser.parse_args(argv)


def _made(given: argparse.Namespace) -> list[str]:
    """The command, done; returns lines for people. Raises `TrainerError`, `OSError`."""
    clock = SystemClock()
    match given.command:
        case "train":
            return _trained(given)
        case "recordings":
            return recordings.run(given)
        case "cells":
            return app.cells(given.groups, given.model, out_of(given), clock)
        case "fit-skab":
            return app.fit_skab(given.data, given.out, clock)
        case "identify":
            words = (given.parquet, given.plan, given.asset, given.process, given.into, given.wait_s)
            return asyncio.run(app.identify(*words, given.topic_prefix))
        case "score-skab":
            return _scored(given)
    request = app.FitRequest(
        parquet=given.parquet,
        topic=given.topic,
        recipe=RECIPES[given.signal_set],
        asset=given.asset,
        min_windows=given.min_windows,
        newest=given.newest,
        model=given.model,
        out=out_of(given),
        false_alarms=given.false_alarms,
        wait_s=given.wait_s,
    )
    return asyncio.run(app.fit(request, clock))


def _trained(given: argparse.Namespace) -> list[str]:
    """The one command that needs torch."""
    if importlib.util.find_spec("torch") is None:
        raise NoTorch(
            "there is no torch here: run `make install-train`, then `twinloop train` or this with"
            " .venv-train/bin/python"
        )
    from twinloop.trainer.training import command

    return command.run(given)


def _scored(given: argparse.Namespace) -> list[str]:
    """The one command that talks to somebody: to Kafka."""
    settings = load(ServiceSettings)
    logging.configure("trainer", settings.log_format, "WARNING")
    try:
        return asyncio.run(app.score_skab(given.data, given.wait_s, settings))
    except KafkaError as error:
        raise NotScored(f"Kafka at {settings.kafka} refused: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit status."""
    given = parse(argv)
    try:
        lines = _made(given)
    except (TrainerError, OSError) as error:
        sys.stderr.write(f"Trainer: {error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
