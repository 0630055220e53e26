"""The model `cells` as an artefact: nothing is fitted, but it is checked like what is. See `artefacts`.

The windows that it is checked by are made up: minutes whose current moves, of groups that scatter as cells
do, one of them with a joint that has grown. What they must give is computed by `twinloop.features.cells`.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelCard, Trained
from twinloop.features.cells import SNIPPET, slopes
from twinloop.trainer.artefacts import GOLDEN, checked, inference
from twinloop.trainer.cells_onnx import contract_of, to_onnx
from twinloop.trainer.fit import Answer
from twinloop.tritonio.artefact import Artefact, Golden

LIMITS = (
    "every minute is above the threshold: only who has a vehicle's baselines can judge it",
    "it has learnt nothing, so that drift is not told of it",
    "a minute whose current hardly moves says little: its standard errors are large",
)


def golden(groups: int) -> NDArray[np.float32]:
    """Made-up minutes, float32 [GOLDEN, SNIPPET, 2 + groups]; the same each time."""
    draw = np.random.default_rng(groups)
    current = 60 + 70 * draw.standard_normal((GOLDEN, SNIPPET, 1))
    ohm = (1040 + 30 * draw.standard_normal((GOLDEN, 1, groups))) * 1e-6
    ohm[:, :, groups // 3] += 300e-6
    voltage = 3.7 - current * ohm + 1.5e-3 * draw.standard_normal((GOLDEN, SNIPPET, groups))
    distance = np.broadcast_to(np.linspace(100.0, 40_000.0, GOLDEN)[:, None, None], (GOLDEN, SNIPPET, 1))
    return np.concatenate([current, voltage.round(3), distance], axis=2).astype(np.float32)


def answer(windows: NDArray[np.float32]) -> Answer:
    """What the model must say of `windows` [N, SNIPPET, 2 + groups]."""
    found = slopes(windows[:, :, :-1])
    z, distance = found.delta_r_uohm / found.se_uohm, windows[:, -1, -1:].astype(np.float64)
    rest = (found.se_uohm, found.noise, distance)
    return Answer(
        z.max(axis=1),
        np.concatenate([found.delta_r_uohm, *rest], axis=1),
        np.concatenate([z, *rest], axis=1),
    )


def cells(name: str, groups: int, at: datetime) -> Artefact:
    """The model of so many cell groups. Raises `NotAsFitted`."""
    file = to_onnx(groups)
    contract = contract_of(groups, file, name)
    card = ModelCard(
        model=name,
        digest=contract.digest,
        at=at,
        architecture="least squares",
        trained=Trained(source="nothing: a formula", assets=(), windows=0),
        settings={"groups": groups},
        measured=(),
        limits=LIMITS,
        reference={},
    )
    windows = golden(groups)
    return checked(Artefact(contract, card, file, Golden(windows, inference(answer(windows)))))
