"""The twin's own model of a process: identified from a commissioning trial, loaded as ONNX with its card.

The twin has no formula and no constant of a process: what the sensors show and what the joint measures, at
given setpoints and in a given state, is what the file says (see `twinloop.contracts.processes`). So is how
sure the model is, and where it holds. All functions take and give arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from twinloop.contracts.processes import INPUTS, OUTPUTS, ProcessCard

Array = NDArray[np.float64]


class BadProcessModel(Exception):
    """Raised when a process model's file is not what its card says.

    Operator action: identify the process again; the twin releases no setpoint without a model.
    """


@dataclass(frozen=True, slots=True)
class Setpoints:
    """What is set on the machine."""

    power_w: float
    focus_mm: float


class ProcessModel:
    """One version of a process model. Raises `BadProcessModel`."""

    def __init__(self, card: ProcessCard, file: bytes) -> None:
        name = f"{card.process} version {card.version}"
        if hashlib.sha256(file).hexdigest() != card.digest:
            raise BadProcessModel(f"{name}: the file is not the one of its card")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common root
            raise BadProcessModel(f"{name} cannot be loaded: {error}") from error
        inputs = {one.name for one in self._session.get_inputs()}
        outputs = {one.name for one in self._session.get_outputs()}
        if inputs != set(INPUTS) or not outputs.issuperset(OUTPUTS):
            raise BadProcessModel(f"{name} has inputs {sorted(inputs)} and outputs {sorted(outputs)}")
        self.card = card

    def evaluate(
        self, wanted: Sequence[str], power_w: Array, focus_mm: Array, transmission: Array, error_mm: Array
    ) -> list[Array]:
        """The `wanted` outputs; inputs [N] each, or what broadcasts to it."""
        arrays = np.broadcast_arrays(power_w, focus_mm, transmission, error_mm)
        feed = {name: np.ascontiguousarray(one, np.float64) for name, one in zip(INPUTS, arrays, strict=True)}
        found: list[Array] = self._session.run(list(wanted), feed)
        return found

    def at(self, wanted: Sequence[str], at: Setpoints, transmission: Array, error_mm: Array) -> list[Array]:
        """The same at one pair of setpoints, over states [N]."""
        return self.evaluate(wanted, np.array(at.power_w), np.array(at.focus_mm), transmission, error_mm)
