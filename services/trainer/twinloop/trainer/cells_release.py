"""Puts the model `cells` into service: nothing is fitted, but it is checked like what is. See `release`.

The windows that it is checked by are made up: minutes whose current moves, of groups that scatter as cells
do, one of them with a joint that has grown. What they must give is computed by `twinloop.features.cells`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract
from twinloop.features.cells import SNIPPET, slopes
from twinloop.trainer.cells_onnx import contract_of, to_onnx
from twinloop.trainer.fit import Answer
from twinloop.trainer.release import GOLDEN, check, put_file
from twinloop.tritonio.answers import Tolerance
from twinloop.tritonio.server import InferenceServer
from twinloop.tritonio.serving import DEFAULT, Target

TOLERANCE = Tolerance(features=0.05, deviations=0.05, score=0.05)
"""µΩ, standard errors: a fiftieth of what noise makes of a minute. A float32 voltage is known to 0.2 µV."""


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


def put(root: Path, name: str, groups: int, target: Target = DEFAULT) -> ModelContract:
    """Publish the model of so many cell groups under `name`, as `release.put` does."""
    file = to_onnx(groups)
    return put_file(root, name, file, lambda version: contract_of(groups, version, file, name), target)


async def load(server: InferenceServer, contract: ModelContract, groups: int) -> None:
    """Load and check what `put` has published. Raises `NotAsFitted` and what the server raises."""
    windows = golden(groups)
    await check(server, contract, windows, answer(windows), TOLERANCE)
