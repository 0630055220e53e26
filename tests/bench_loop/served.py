"""The weld model as the trainer fits and exports it, asked in-process through onnxruntime.

It is fitted as in the demo: on the healthy welds of one commissioning campaign, with a seed that no case has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench_loop.cases import Case
from bench_loop.cell import Cell, Welder, noise_of
from twinloop.contracts.models import ModelContract
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import fit_mahalanobis
from twinloop.trainer.recipes import WELD
from twinloop.tritonio.server import Inference

COMMISSIONING_SEED = 1
COMMISSIONING_PARTS = 400
FALSE_ALARMS = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """A model version and its session."""

    contract: ModelContract
    session: onnxruntime.InferenceSession

    def infer(self, windows: NDArray[np.float32]) -> Inference:
        """The model's answer for `windows`, float32 [N, window, signals]."""
        names = ["score", "features", "deviations"]
        return Inference(*self.session.run(names, {"windows": windows}))


@cache
def served() -> Served:
    """Fitted once a process; always the same model."""
    cell = Cell(Case("commissioning", "", (), frozenset(), parts=COMMISSIONING_PARTS))
    noise = noise_of(COMMISSIONING_SEED, COMMISSIONING_PARTS)
    windows = np.stack([cell.weld(Welder(one)).signals for one in noise])
    model = fit_mahalanobis(windows, WELD.statistics, FALSE_ALARMS)
    file = to_onnx(model, WELD)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return Served(contract_of(model, WELD, "weld", 1, file), session)
