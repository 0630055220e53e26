"""The weld model as the trainer fits and exports it, asked in-process through onnxruntime.

It is fitted as in the demo: on the healthy welds of one commissioning campaign, with a seed that no case has.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from msgspec.structs import replace

from bench_loop.cases import Case
from bench_loop.cell import Cell, Welder, noise_of
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import fit_mahalanobis
from twinloop.trainer.recipes import WELD
from twinloop.tritonio.onnx_server import OnnxModel

COMMISSIONING_SEED = 1
COMMISSIONING_PARTS = 400
FALSE_ALARMS = 1e-5


@cache
def served() -> OnnxModel:
    """Fitted once a process; always the same model."""
    cell = Cell(Case("commissioning", "", (), frozenset(), parts=COMMISSIONING_PARTS))
    noise = noise_of(COMMISSIONING_SEED, COMMISSIONING_PARTS)
    windows = np.stack([cell.weld(Welder(one)).signals for one in noise])
    model = fit_mahalanobis(windows, WELD.statistics, FALSE_ALARMS)
    file = to_onnx(model, WELD)
    return OnnxModel(replace(contract_of(model, WELD, "weld", file), version=1), file)
