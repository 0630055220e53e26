"""What every model that is trained here is, whatever it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.layout import Layout

Setting = float | int | str
Settings = Mapping[str, Setting]
Answer = tuple[Tensor, Tensor, Tensor, Tensor]
"""score [N]; features and deviations [N, K]; next memory [N, M]."""


class Detector(nn.Module):
    """`forward`: windows float32 [N, window, signals] and memory [N, M] to an `Answer`.

    M is 0 for a model that remembers nothing. Zeros are the memory of an asset that is new. A window is
    anomalous when its score is above `threshold`.
    """

    DEFAULTS: ClassVar[Settings] = {}
    """Its settings: what may be set, and what it is otherwise."""
    WINDOW: ClassVar[tuple[int, int] | None] = None
    """Window and hop, where nothing else says what they are."""
    EPOCHS: ClassVar[int] = 0
    """How often gradient descent sees all windows, where nothing else says it."""

    features: tuple[str, ...]
    layout: Layout = Layout(())
    quiet: int = 0
    """So many first windows of an asset get no verdict."""
    limits: tuple[str, ...] = ()
    """What a person should know before it serves, a sentence each."""

    def __init__(self, spec: WindowSpec, settings: Settings) -> None:
        super().__init__()
        self.spec = spec
        self.settings = {**self.DEFAULTS, **settings}
        self.register_buffer("limit", torch.tensor(float("nan")))

    @property
    def threshold(self) -> float:
        """Set by `learn` or `calibrate`."""
        return float(self.limit)

    @property
    def learns(self) -> bool:
        """Whether there is something for gradient descent to do."""
        return any(one.requires_grad for one in self.parameters())

    def number(self, name: str) -> float:
        """A setting that is a number."""
        return float(self.settings[name])

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """What follows from the healthy windows [n, window, signals] of each recording in closed form.

        Raises `UnfitData`.
        """

    def loss(self, windows: Tensor) -> Tensor:
        """What gradient descent makes small: of a batch of windows. Only of those with parameters."""
        raise NotImplementedError

    def calibrate(self, learnt: Sequence[Tensor], apart: Sequence[Tensor]) -> None:
        """Set the threshold, when everything else was learnt from `learnt` and nothing from `apart`: windows
        [n, window, signals] of each recording. Raises `UnfitData`."""

    def nothing(self, count: int) -> Tensor:
        """The memory of so many new assets."""
        return torch.zeros(count, self.layout.size)

    def unpack(self, memory: Tensor) -> dict[str, Tensor]:
        """The parts of `memory` [N, M] by name, each [N, *shape]; single numbers [N, 1]."""
        parts = torch.split(memory, list(self.layout.sizes), dim=1)
        return {
            name: part.reshape(-1, *shape) if len(shape) > 1 else part
            for (name, shape), part in zip(self.layout.parts, parts, strict=True)
        }

    def pack(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The reverse."""
        return torch.cat([parts[name].flatten(1) for name, _ in self.layout.parts], dim=1)


def rows_in_windows(rows: float, spec: WindowSpec) -> int:
    """How many windows end within the first `rows` rows."""
    return max(0, (int(rows) - spec.window) // spec.hop + 1)


def calibrates_on(rows: float) -> str:
    """A limit of those that calibrate themselves."""
    return f"an asset's first {rows:.0f} rows calibrate it, unjudged: they must be healthy"


def finite(recordings: Sequence[Tensor]) -> None:
    """Raises `UnfitData` where there is no window, or one with a value that is no number."""
    if not recordings or not any(len(one) for one in recordings):
        raise UnfitData("the recording holds no window")
    if not all(torch.isfinite(one).all() for one in recordings):
        raise UnfitData("the windows hold values that are no finite numbers")


def choose(which: Tensor, one: Tensor, other: Tensor | float) -> Tensor:
    """`one` where `which` is true, else `other`."""
    return torch.where(which, one, other if isinstance(other, Tensor) else torch.full_like(one, other))


def either(which: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`choose` of truths: onnxruntime's Where takes only numbers."""
    return (which & one) | (~which & other)
