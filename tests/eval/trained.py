"""Models as `twinloop train` makes them, in this process."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from eval.service import BEGAN, Floats
from twinloop.features.windows import WindowSpec
from twinloop.trainer.training.job import Order, train
from twinloop.trainer.training.recordings import Recording, Recordings, of_rows
from twinloop.tritonio.artefact import Artefact


def recordings(source: str, signal_set: str, spec: WindowSpec, assets: Mapping[str, Floats]) -> Recordings:
    """The windows of consecutive rows [n, signals] of each asset."""
    made = tuple(Recording(name, of_rows(rows, spec)) for name, rows in assets.items())
    return Recordings(source, signal_set, spec, made)


def artefact(order: Order, data: Recordings) -> Artefact:
    """The model. Nothing is left of a run that was killed."""
    with tempfile.TemporaryDirectory() as folder:
        return train(order, data, Path(folder) / "checkpoint", BEGAN, lambda _: None)


def say(done: int, of: int, what: str) -> None:
    """How far it is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}: {done} of {of}" + ("\r\x1b[K" if done == of else ""))
