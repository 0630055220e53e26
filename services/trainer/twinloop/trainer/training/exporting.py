"""A model as ONNX, as `ModelContract` promises it, and whether onnxruntime answers as torch does."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor

from twinloop.contracts.models import ModelContract
from twinloop.trainer.errors import NotAsFitted
from twinloop.trainer.training.detectors.base import Detector
from twinloop.tritonio.artefact import Golden
from twinloop.tritonio.onnx_server import OnnxModel
from twinloop.tritonio.server import Floats, Inference

OPSET = 17
INPUTS = ("windows", "memory")
OUTPUTS = ("score", "features", "deviations", "next_memory")
RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""How far the two may be apart: float32, summed in another order. Absolute: as a part of the largest."""


def to_onnx(detector: Detector) -> bytes:
    """The file. The same parameters give the same bytes."""
    memory = detector.layout.size
    inputs, outputs = (INPUTS, OUTPUTS) if memory else (INPUTS[:1], OUTPUTS[:3])
    given = torch.zeros(2, detector.spec.window, len(detector.spec.signals))
    module = detector if memory else _WithoutMemory(detector)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter knows no opset below 18, which not every Triton that we serve on reads.
        warnings.simplefilter("ignore", DeprecationWarning)
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


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What torch answers to the `windows` of one recording, one after the other, and the memory before each:
    `None` of a model without one."""

    windows: Floats
    answer: Inference
    memory: Floats | None

    def select(self, index: np.ndarray) -> Answers:
        """To some of them."""
        memory = None if self.memory is None else self.memory[index]
        return Answers(self.windows[index], self.answer.select(index), memory)


AT_ONCE = 1024


@torch.no_grad()
def answers(detector: Detector, recordings: Sequence[Tensor]) -> list[Answers]:
    """Of each recording's windows [n, window, signals]: those of a model with a memory step by step."""
    if detector.layout.size:
        return _in_turn(detector, recordings)
    return [_together(detector, one) for one in recordings]


def _together(detector: Detector, windows: Tensor) -> Answers:
    parts = [detector(one, detector.nothing(len(one)))[:3] for one in windows.split(AT_ONCE)]
    whole = [torch.cat([part[n] for part in parts]).numpy() for n in range(3)]
    return Answers(windows.numpy(), Inference(*whole), None)


def _in_turn(detector: Detector, recordings: Sequence[Tensor]) -> list[Answers]:
    memory = detector.nothing(len(recordings))
    lengths = torch.tensor([len(one) for one in recordings])
    found: list[list[tuple[Tensor, ...]]] = [[] for _ in recordings]
    for step in range(int(lengths.max())):
        alive = torch.nonzero(lengths > step).flatten()
        given = torch.stack([recordings[int(n)][step] for n in alive])
        before = memory[alive]
        said = detector(given, before)
        for place, n in enumerate(alive.tolist()):
            found[n].append((*(one[place] for one in said), before[place]))
        memory[alive] = said[3]
    made = []
    for one, those in zip(recordings, found, strict=True):
        if those:
            stacked = [torch.stack(part).numpy() for part in zip(*those, strict=True)]
            made.append(Answers(one.numpy(), Inference(*stacked[:4]), stacked[4]))
    return made


def check(contract: ModelContract, file: bytes, asked: Answers) -> None:
    """Raises `NotAsFitted` unless onnxruntime answers the same to each window, from the same memory."""
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


def golden(asked: Sequence[Answers], count: int) -> Golden:
    """So many of the windows, spread over all recordings and their whole length."""
    each = max(1, count // len(asked))
    some = [
        one.select(np.linspace(0, len(one.windows) - 1, min(each, len(one.windows))).astype(np.int64))
        for one in asked
    ]
    some = some[:count]
    memories = [one.memory for one in some if one.memory is not None]
    nexts = [one.answer.memory for one in some if one.answer.memory is not None]
    score, features, deviations = (
        np.concatenate([getattr(one.answer, name) for one in some]) for name in OUTPUTS[:3]
    )
    whole = Inference(score, features, deviations, np.concatenate(nexts) if nexts else None)
    windows = np.concatenate([one.windows for one in some])
    return Golden(windows, whole, np.concatenate(memories) if memories else None)
