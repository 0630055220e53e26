"""Recordings and training are the trainer's: what is said is handed on to it.

Training has an environment of its own, with torch; the CSV files of recordings are written in this one.
"""

from __future__ import annotations

import importlib.util
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
CALLED: Final = "TWINLOOP_CALLED"
"""Tells the trainer by what name it was called, for its help."""
_TRAINER: Final = "twinloop.trainer"


def command(verb: str, words: Sequence[str], environ: Mapping[str, str], prefix: Path) -> list[str]:
    """The trainer's command line. The Python of training is the one that is named, else that of `.venv-train`
    beside the environment at `prefix`. Raises `Unusable` where there is none."""
    if verb == RECORDINGS:
        if importlib.util.find_spec(_TRAINER) is None:
            raise Unusable(
                "The trainer, which writes recordings, is not installed here: say it in the image of the"
                f" trainer (`python -m {_TRAINER} {verb}`), or in a checkout after `make install`."
            )
        return [sys.executable, "-m", _TRAINER, verb, *words]
    python = Path(environ.get(PYTHON) or prefix.parent / ".venv-train" / "bin" / "python").expanduser()
    if not os.access(python, os.X_OK):
        raise Unusable(
            f"There is no environment to train in at {python}: run `make install-train`, or set {PYTHON}."
        )
    return [str(python), "-m", _TRAINER, verb, *words]


def hand_on(verb: str, words: Sequence[str], places: Places) -> int:
    """Become the trainer, told where the historian's files are: its exit status is that of this command."""
    line = command(verb, words, places.environ, Path(sys.prefix))
    folder = places.folder()
    told = {CALLED: "twinloop", **({HISTORIAN: folder} if folder else {})}
    os.execve(line[0], line, {**places.environ, **told})
