"""Recordings and training are the trainer's: what is said is handed on to it.

Training has an environment of its own, with torch; the CSV files of recordings are written in this one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from twinloop.cli.errors import Unusable
from twinloop.cli.places import HISTORIAN, Places

TRAIN: Final = "train"
RECORDINGS: Final = "recordings"
PYTHON: Final = "TWINLOOP_TRAIN_PYTHON"


def command(verb: str, words: Sequence[str], environ: Mapping[str, str], prefix: Path) -> list[str]:
    """The trainer's command line. The Python of training is the one that is named, else that of `.venv-train`
    beside the environment at `prefix`. Raises `Unusable` where there is none."""
    if verb == RECORDINGS:
        return [sys.executable, "-m", "twinloop.trainer", verb, *words]
    python = Path(environ.get(PYTHON) or prefix.parent / ".venv-train" / "bin" / "python").expanduser()
    if not os.access(python, os.X_OK):
        raise Unusable(
            f"There is no environment to train in at {python}: run `make install-train`, or set {PYTHON}."
        )
    return [str(python), "-m", "twinloop.trainer", verb, *words]


def hand_on(verb: str, words: Sequence[str], places: Places) -> int:
    """Become the trainer, told where the historian's files are: its exit status is that of this command."""
    line = command(verb, words, places.environ, Path(sys.prefix))
    folder = places.folder()
    os.execve(line[0], line, {**places.environ, **({HISTORIAN: folder} if folder else {})})
