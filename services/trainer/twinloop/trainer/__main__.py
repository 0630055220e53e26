"""`python -m twinloop.trainer <command>`: fit models on recordings and put them into service.

Exit status: 0 done, 1 could not be done (one sentence on stderr says why), 2 asked for wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from twinloop.runtime import logging
from twinloop.runtime.settings import load, load_toml
from twinloop.trainer import app, cells_onnx, recordings
from twinloop.trainer.errors import NoTorch, TrainerError
from twinloop.trainer.recipes import RECIPES
from twinloop.trainer.recordings import add_recordings
from twinloop.trainer.settings import TrainerSettings
from twinloop.trainer.training.arguments import add_train
from twinloop.trainer.words import folder_name, positive, share
from twinloop.tritonio.errors import TritonError
from twinloop.tritonio.serving import Platform, ServingTable, Target


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m twinloop.trainer", description="Fit models and serve them."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    fit = commands.add_parser("fit", help="on the historian's recording of one healthy asset")
    fit.add_argument("--parquet", type=Path, required=True, help="the historian's folder")
    fit.add_argument("--signal-set", choices=sorted(RECIPES), required=True)
    fit.add_argument("--asset", required=True, help="whose windows are learnt from")
    fit.add_argument("--scope", help="asset or signal set to serve (default: the signal set)")
    fit.add_argument("--min-windows", type=positive, required=True, metavar="N", help="wait for so many")
    fit.add_argument("--newest", type=positive, help="learn from so many of them (default: all)")
    fit.add_argument("--wait-s", type=float, default=60.0, help="how long (%(default)s)")
    fit.add_argument("--model", required=True, help="name of the model in the repository")
    fit.add_argument("--false-alarms", type=share, default=1e-5, help="wanted share (%(default)s)")
    _add_repository(fit)

    identify = commands.add_parser("identify", help="a process model, from commissioning trials")
    identify.add_argument("--parquet", type=Path, required=True, help="the historian's folder")
    identify.add_argument("--plan", type=Path, required=True, help="TOML file: the trials that were welded")
    identify.add_argument("--asset", required=True, help="where they were welded")
    identify.add_argument("--process", type=folder_name, required=True, help="name of the process model")
    identify.add_argument("--into", type=Path, required=True, help="the twin's folder of process models")
    identify.add_argument("--wait-s", type=float, default=60.0, help="for the historian (%(default)s)")

    cells = commands.add_parser("cells", help="the resistance of cell groups; nothing is fitted")
    cells.add_argument("--groups", type=positive, required=True, metavar="N", help="of a vehicle")
    cells.add_argument("--model", default="cells", help="name of the model in the repository (%(default)s)")
    cells.add_argument("--scope", default=cells_onnx.SIGNAL_SET, help="what it serves (%(default)s)")
    _add_repository(cells)

    fit_skab = commands.add_parser("fit-skab", help="on the first rows of each recorded file")
    fit_skab.add_argument("--data", type=Path, required=True, help="folder of SKAB's CSV files")
    _add_repository(fit_skab)

    add_recordings(commands)
    add_train(commands)

    score_skab = commands.add_parser("score-skab", help="what the detector said of the recorded files")
    score_skab.add_argument("--data", type=Path, required=True, help="folder of SKAB's CSV files")
    score_skab.add_argument("--wait-s", type=float, default=120.0, help="for the detector (%(default)s)")
    return parser.parse_args(argv)


def _add_repository(command: argparse.ArgumentParser) -> None:
    command.add_argument("--repository", type=Path, required=True, help="Triton's model repository")
    command.add_argument("--platform", type=Platform, choices=list(Platform), default=Platform.CPU)


def _work(given: argparse.Namespace, settings: TrainerSettings) -> Coroutine[Any, Any, list[str]]:
    """The command as a coroutine that returns lines for people."""
    if given.command in ("score-skab", "identify"):
        return _read(given, settings)
    table = ServingTable() if settings.serving is None else load_toml(settings.serving, ServingTable)
    target = Target(given.platform, table)
    if given.command == "cells":
        return app.cells(given.groups, given.model, given.scope, given.repository, target, settings)
    if given.command == "fit-skab":
        return app.fit_skab(given.data, given.repository, target, settings)
    request = app.FitRequest(
        parquet=given.parquet,
        recipe=RECIPES[given.signal_set],
        asset=given.asset,
        scope=given.scope or given.signal_set,
        min_windows=given.min_windows,
        newest=given.newest,
        model=given.model,
        repository=given.repository,
        target=target,
        false_alarms=given.false_alarms,
        wait_s=given.wait_s,
    )
    return app.fit(request, settings)


def _read(given: argparse.Namespace, settings: TrainerSettings) -> Coroutine[Any, Any, list[str]]:
    """The commands that put nothing into the repository."""
    if given.command == "score-skab":
        return app.score_skab(given.data, given.wait_s, settings)
    return app.identify(
        given.parquet, given.plan, given.asset, given.process, given.into, given.wait_s, settings
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the process's exit status."""
    given = parse(argv)
    if given.command in ("recordings", "train"):
        return _quiet(given)
    settings = load(TrainerSettings)
    logging.configure("trainer", settings.log_format, "WARNING")
    try:
        lines = asyncio.run(_work(given, settings))
    except (TrainerError, TritonError) as error:
        return _fail(str(error))
    except KafkaError as error:
        return _fail(f"Kafka at {settings.kafka} refused: {error}")
    except TimeoutError:
        return _fail(f"Kafka at {settings.kafka} did not answer in time.")
    except OSError as error:
        return _fail(str(error))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _quiet(given: argparse.Namespace) -> int:
    """Commands that talk to nobody, and so need no settings."""
    try:
        lines = recordings.run(given) if given.command == "recordings" else _train(given)
    except (TrainerError, OSError) as error:
        return _fail(str(error))
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _train(given: argparse.Namespace) -> list[str]:
    """The one command that needs torch."""
    if importlib.util.find_spec("torch") is None:
        raise NoTorch(
            "there is no torch here: run `make install-train`, then `twinloop train` or this with"
            " .venv-train/bin/python"
        )
    from twinloop.trainer.training import command

    return command.run(given)


def _fail(problem: str) -> int:
    sys.stderr.write(f"Trainer: {problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
