"""Recordings that are made up, and what the tests ask of an exported model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.contracts.models import ModelContract
from twinloop.trainer.training.detectors.base import Detector
from twinloop.trainer.training.exporting import to_onnx
from twinloop.tritonio.onnx_file import digest, problems
from twinloop.tritonio.onnx_server import OnnxModel
from twinloop.tritonio.server import Floats, Inference

Rows = NDArray[np.float64]


def process(seed: int, rows: int, signals: int = 4) -> Rows:
    """A process that stands still but for noise and wander, of another size and level in each signal."""
    draw = np.random.default_rng(seed)
    noise = draw.standard_normal((rows, signals))
    wander = np.cumsum(draw.standard_normal((rows, signals)), axis=0) * np.linspace(0, 0.03, signals)
    return np.linspace(1, 200, signals) + np.geomspace(0.01, 10, signals) * (noise + wander)


def windows(rows: Rows, window: int, hop: int = 1) -> Floats:
    """float32 [n, window, signals]."""
    cut = np.lib.stride_tricks.sliding_window_view(rows.astype(np.float32), window, axis=0)[::hop]
    return np.ascontiguousarray(cut.transpose(0, 2, 1))


def tensor(cut: Floats) -> Tensor:
    return torch.from_numpy(cut)


def served(detector: Detector) -> OnnxModel:
    """The model as it is exported."""
    file = to_onnx(detector)
    contract = ModelContract(
        model="made",
        version=1,
        signal_set="made.v1",
        signals=detector.spec.signals,
        features=detector.features,
        window=detector.spec.window,
        hop=detector.spec.hop,
        threshold=detector.threshold,
        digest=digest(file),
        memory=detector.layout.size,
    )
    assert problems(contract, file) == []
    assert to_onnx(detector) == file
    return OnnxModel(contract, file)


def stream(model: OnnxModel, assets: list[Floats]) -> list[list[Inference]]:
    """What it answers to each window of each of the `assets`, which go side by side, with their memories."""
    memory = np.zeros((len(assets), model.contract.memory), np.float32)
    said: list[list[Inference]] = [[] for _ in assets]
    for step in range(max(map(len, assets))):
        alive = [n for n, one in enumerate(assets) if step < len(one)]
        answer = model.infer(np.stack([assets[n][step] for n in alive]), memory=memory[alive])
        memory[alive] = answer.memory
        for place, n in enumerate(alive):
            said[n].append(answer.part(place, place + 1))
    return said
