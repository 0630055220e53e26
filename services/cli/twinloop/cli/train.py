"""Training has an environment of its own, with torch: what is said is handed on to the trainer in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from twinloop.cli.errors import Unusable

VERB: Final = "train"
PYTHON: Final = "TWINLOOP_TRAIN_PYTHON"


def command(words: Sequence[str], environ: Mapping[str, str], prefix: Path) -> list[str]:
    """The trainer's command line. Its Python is the one that is named, else that of `.venv-train` beside the
    environment at `prefix`. Raises `Unusable` where there is none."""
    python = Path(environ.get(PYTHON) or prefix.parent / ".venv-train" / "bin" / "python").expanduser()
    if not os.access(python, os.X_OK):
        raise Unusable(
            f"There is no environment to train in at {python}: run `make install-train`, or set {PYTHON}."
        )
    return [str(python), "-m", "twinloop.trainer", VERB, *words]


def train(words: Sequence[str]) -> int:
    """Become the trainer: its exit status is that of this command."""
    line = command(words, os.environ, Path(sys.prefix))
    os.execv(line[0], line)
