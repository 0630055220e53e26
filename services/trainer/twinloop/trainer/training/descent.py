"""Gradient descent that can be killed: it goes on from the last epoch that was complete, to the same bits.

What is drawn by chance is drawn by torch: the order of windows, and whatever a module draws, as dropout does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.detectors.base import Detector

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Schedule:
    """`epochs` times over all windows in batches of `batch`, by Adam with this learning `rate`."""

    epochs: int
    batch: int
    rate: float


def descend(
    detector: Detector, windows: Tensor, schedule: Schedule, seed: int, checkpoint: Path, key: str, say: Say
) -> None:
    """Learn the parameters of `detector` from `windows` [n, window, signals].

    After each epoch `checkpoint` holds all that the next one depends on. One with another `key`, which names
    everything that decides the outcome, is begun anew. Raises `UnfitData` when the loss is no number.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([one for one in detector.parameters() if one.requires_grad], schedule.rate)
    done = _resume(detector, optimizer, generator, checkpoint, key)
    if done:
        say(f"going on after epoch {done} of {schedule.epochs}")
    for epoch in range(done, schedule.epochs):
        order = torch.randperm(len(windows), generator=generator)
        total = 0.0
        for index in order.split(schedule.batch):
            optimizer.zero_grad()
            loss = detector.loss(windows[index])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(index)
        mean = total / len(windows)
        if not torch.isfinite(torch.tensor(mean)):
            raise UnfitData(f"the loss of epoch {epoch + 1} is no number: try a lower learning rate")
        _save(detector, optimizer, generator, epoch + 1, checkpoint, key)
        say(f"epoch {epoch + 1} of {schedule.epochs}: loss {mean:.4g}")


def _save(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    done: int,
    checkpoint: Path,
    key: str,
) -> None:
    """Whole or not at all."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    aside = checkpoint.with_name(f"{checkpoint.name}.incoming")
    state = {
        "key": key,
        "done": done,
        "detector": detector.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generator": generator.get_state(),
        "chance": torch.get_rng_state(),
    }
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(checkpoint)


def _resume(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    checkpoint: Path,
    key: str,
) -> int:
    """How many epochs are done."""
    if not checkpoint.exists():
        return 0
    state = torch.load(checkpoint, weights_only=True)
    if state["key"] != key:
        return 0
    detector.load_state_dict(state["detector"])
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    torch.set_rng_state(state["chance"])
    return int(state["done"])
