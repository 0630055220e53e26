"""What torch answers to recordings: what is served is checked against it, and a card is written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.trainer.training.detectors.base import Detector
from twinloop.tritonio.artefact import Golden
from twinloop.tritonio.server import Floats, Inference


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What torch answers to the `windows` of one recording, one after the other, and the memory before each:
    `None` of a model without one."""

    windows: Floats
    answer: Inference
    memory: Floats | None

    def select(self, index: NDArray[np.int64]) -> Answers:
        """To some of them."""
        memory = None if self.memory is None else self.memory[index]
        return Answers(self.windows[index], self.answer.select(index), memory)


AT_ONCE = 1024


@torch.no_grad()
def answers(detector: Detector, recordings: Sequence[Tensor]) -> list[Answers]:
    """Of each recording's windows [n > 0, window, signals]: those of a model with a memory step by step."""
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
        stacked = [torch.stack(part).numpy() for part in zip(*those, strict=True)]
        made.append(Answers(one.numpy(), Inference(*stacked[:4]), stacked[4]))
    return made


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
        np.concatenate([getattr(one.answer, name) for one in some])
        for name in ("score", "features", "deviations")
    )
    whole = Inference(score, features, deviations, np.concatenate(nexts) if nexts else None)
    windows = np.concatenate([one.windows for one in some])
    return Golden(windows, whole, np.concatenate(memories) if memories else None)
