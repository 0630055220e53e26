"""Process models on disk, for the twin: `<root>/<process>/<version>/`, written aside and renamed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from twinloop.contracts.processes import Coverage, ProcessCard
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.process_fit import Fitted
from twinloop.trainer.trials import TrialParts
from twinloop.trainer.weld_onnx import card_of, to_onnx


def put(
    root: Path, process: str, asset: str, fitted: Fitted, coverage: Coverage, parts: TrialParts
) -> ProcessCard:
    """Write the next version and return its card; a model that is there as the newest keeps its own.

    Raises `BadRecording` when a card that is there cannot be read.
    """
    file = to_onnx(fitted)
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        present = cards(root, process)
        if present:
            newest = present[-1]
            if newest == card_of(fitted, coverage, parts, process, newest.version, asset, file):
                return newest
        version = present[-1].version + 1 if present else 1
        card = card_of(fitted, coverage, parts, process, version, asset, file)
        home = root / process / str(version)
        aside = root / f".incoming-{process}-{version}"
        shutil.rmtree(aside, ignore_errors=True)  # of a job that died
        aside.mkdir()
        _write(aside / "model.onnx", file)
        _write(aside / "card.json", msgspec.json.format(msgspec.json.encode(card)))
        home.parent.mkdir(exist_ok=True)
        aside.rename(home)
    return card


def cards(root: Path, process: str) -> tuple[ProcessCard, ...]:
    """The card of every version of `process`, ascending. Raises `BadRecording`."""
    found = []
    for path in (root / process).glob("[0-9]*/card.json"):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=ProcessCard))
        except msgspec.DecodeError as error:
            raise BadRecording(f"{path} is no card of a process model: {error}") from error
    return tuple(sorted(found, key=lambda one: one.version))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One job at a time: each takes the next version."""
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
