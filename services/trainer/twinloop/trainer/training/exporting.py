"""A model as ONNX, as `ModelContract` promises it, and whether onnxruntime answers as torch does."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from twinloop.contracts.models import ModelContract
from twinloop.trainer.errors import NotAsFitted, NotExported
from twinloop.trainer.training.detectors.base import Detector
from twinloop.tritonio.artefact import Golden
from twinloop.tritonio.onnx_server import OnnxModel
from twinloop.tritonio.server import Floats

OPSET = 17
INPUTS = ("windows", "memory")
OUTPUTS = ("score", "features", "deviations", "next_memory")
RELATIVE, ABSOLUTE = 2e-3, 1e-3
"""How far the two may be apart: float32, summed in another order. Absolute: as a part of the largest."""


def to_onnx(detector: Detector) -> bytes:
    """The file. The same parameters give the same bytes. Raises `NotExported`."""
    memory = detector.layout.size
    inputs, outputs = (INPUTS, OUTPUTS) if memory else (INPUTS[:1], OUTPUTS[:3])
    given = torch.zeros(2, detector.spec.window, len(detector.spec.signals))
    module = detector if memory else _WithoutMemory(detector)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter knows no opset below 18, which not every Triton that we serve on reads.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            torch.onnx.export(
                module.eval(),
                (given, detector.nothing(2)) if memory else (given,),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: {0: "N"} for name in (*inputs, *outputs)},
            )
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise NotExported(f"not to be written as ONNX: {str(error).splitlines()[0]}") from error
    made = onnx.load_from_string(file.getvalue())
    wide = len(detector.features)
    shapes = {"score": [], "features": [wide], "deviations": [wide], "next_memory": [memory]}
    del made.graph.output[:]
    for name in outputs:
        made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shapes[name]]))
    for node in made.graph.node:
        node.doc_string = ""  # where in the source it was
    made.graph.name, made.producer_name, made.producer_version = "detector", "twinloop.trainer", ""
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


class _WithoutMemory(torch.nn.Module):
    """A model that remembers nothing, without a memory of no numbers."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        score, features, deviations, _ = self.detector(windows, windows.new_zeros(windows.shape[0], 0))
        return score, features, deviations


def check(contract: ModelContract, file: bytes, asked: Golden) -> None:
    """Raises `NotAsFitted` unless onnxruntime answers what torch does, from the same windows and memories."""
    served = OnnxModel(contract, file).infer(asked.windows, memory=asked.memory)
    wrong = [
        f"{name} by up to {np.abs(theirs - ours).max():.3g}"
        for name in ("score", "features", "deviations", "memory")
        if (ours := getattr(asked.answer, name)) is not None
        and not _alike(ours, theirs := getattr(served, name))
    ]
    if wrong:
        raise NotAsFitted(f"{contract.model}: onnxruntime answers otherwise than torch: {', '.join(wrong)}")


def _alike(ours: Floats, theirs: Floats) -> bool:
    return np.allclose(theirs, ours, rtol=RELATIVE, atol=ABSOLUTE * max(1.0, float(np.abs(ours).max())))
