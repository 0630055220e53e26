"""Words of the command line, checked."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.recipes import RECIPES


def add_frames(command: argparse.ArgumentParser) -> None:
    """Which frames of the historian's folder are meant."""
    command.add_argument(
        "--topic", default=TELEMETRY_FACTORY.name, help="in that folder (default: %(default)s)"
    )
    command.add_argument(
        "--from", dest="since", type=time, metavar="TIME", help="ISO 8601; UTC if it says none"
    )
    command.add_argument("--to", dest="until", type=time, metavar="TIME", help="not included")
    command.add_argument("--asset", action="append", default=[], help="of these alone; may be repeated")
    command.add_argument("--signal-set", required=True, help=f"such as {', '.join(sorted(RECIPES))}")


def signals_of(signal_set: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """The signals of a set: as they are `given`, else as they are known. Raises `BadRecording`."""
    if given:
        return tuple(given)
    if signal_set in RECIPES:
        return RECIPES[signal_set].spec.signals
    raise BadRecording(f"the signals of {signal_set} are not known here: name them with --signals")


def positive(text: str) -> int:
    """A number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def folder_name(text: str) -> str:
    """What may be the name of a folder."""
    if not text or text.startswith(".") or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a folder")
    return text


def share(text: str) -> float:
    """A number between 0 and 0.5."""
    if not 0 < (number := float(text)) < 0.5:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and 0.5")
    return number


def names(text: str) -> tuple[str, ...]:
    """Several, separated by commas."""
    return tuple(text.split(","))


def time(text: str) -> datetime:
    """A time in ISO 8601; in UTC if it names no zone."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def setting(text: str) -> tuple[str, float | int | str]:
    """NAME=VALUE; a value that is a number is taken for one."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
