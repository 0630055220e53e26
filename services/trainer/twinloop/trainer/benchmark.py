"""The replay of recorded data: a model for each file, and the score of what the detector said of its rows."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from twinloop.contracts.models import Trained
from twinloop.trainer import display, skab
from twinloop.trainer.artefacts import by_pca, fitted
from twinloop.trainer.errors import NotScored
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.scoreboard import Flags, score
from twinloop.trainer.verdicts import Judged
from twinloop.tritonio.artefact import Artefact


def artefact(one: skab.Recorded, at: datetime) -> Artefact:
    """A model that is fitted on the file's training rows, to serve that file's asset alone."""
    windows = skab.windows(one.values[: skab.TRAIN_ROWS])
    source = f"the first {skab.TRAIN_ROWS} rows of {one.name}.csv"
    trained = Trained(source=source, assets=(one.asset,), windows=len(windows))
    return fitted(one.asset.replace(".", "-"), SKAB, by_pca(SKAB), windows, trained, at)


def alarms(one: skab.Recorded, said: Judged) -> Flags:
    """A verdict for each row. Raises `NotScored` unless every row that ends a window has one."""
    due = set(range(SKAB.spec.window - 1, len(one.values)))
    if missing := due - said.rows:
        raise NotScored(
            f"{one.asset}: {len(missing)} of {len(due)} windows have no verdict, the first ends at row"
            f" {min(missing)}; the detector must publish every verdict (TWINLOOP_DETECTOR_SCORE_EVERY=1)"
        )
    flags = np.zeros(len(one.values), np.bool_)
    flags[sorted(said.anomalous)] = True
    return flags


def board(files: list[skab.Recorded], said: dict[str, Judged]) -> str:
    """The scoreboard of `files`. Raises `NotScored`."""
    rows = skab.TRAIN_ROWS
    scores = [score(one.anomalous[rows:], alarms(one, said[one.asset])[rows:]) for one in files]
    judged = sum(len(one.values) for one in files)
    return f"{display.render(files, scores)}\nall {judged} rows of {len(files)} files accounted for"
