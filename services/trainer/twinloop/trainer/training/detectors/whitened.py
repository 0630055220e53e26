"""Models whose score is a squared Mahalanobis distance: of a window's statistics, or of what a network makes
of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.fit import MARGIN, ONE_BY_ONE, mahalanobis
from twinloop.trainer.recipes import Statistic
from twinloop.trainer.training.detectors.base import Answer, Detector, Settings, finite


class Mahalanobis(Detector):
    """Of the means and standard deviations of every signal. See `fit.fit_mahalanobis`: the same, in torch.

    `features` are these statistics and `deviations` their distances from the healthy ones in standard
    deviations, by which whoever diagnoses may go.
    """

    DEFAULTS: ClassVar[Settings] = {"false_alarms": 1e-5}

    limits = ONE_BY_ONE

    def __init__(self, spec: WindowSpec, settings: Settings) -> None:
        super().__init__(spec, settings)
        statistics = (Statistic.MEAN, Statistic.STD)
        self.features = tuple(f"{signal}.{one}" for one in statistics for signal in spec.signals)
        wide, judged = len(self.features), self.judged()
        for name, shape in (
            ("usual", (wide,)),
            ("spread", (wide,)),
            ("centre", (judged,)),
            ("scale", (judged,)),
            ("weights", (judged, judged)),
        ):
            self.register_buffer(name, torch.zeros(shape))

    def judged(self) -> int:
        """How many numbers the score is made of."""
        return len(self.features)

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """What the statistics usually are."""
        finite(recordings)
        values = torch.cat([_statistics(one) for one in recordings])
        self.usual.copy_(values.mean(dim=0))
        self.spread.copy_(torch.maximum(values.std(dim=0), 1e-4 * values.abs().mean(dim=0)).clamp_min(1e-9))

    def numbers(self, windows: Tensor, deviations: Tensor) -> Tensor:
        """What the distance is taken of, [N, judged]."""
        return deviations

    def calibrate(self, learnt: Sequence[Tensor], apart: Sequence[Tensor]) -> None:
        """The distance by what was learnt from; the threshold also by what was not."""
        found = mahalanobis(_double(self._numbers(learnt)), self.number("false_alarms"))
        for name in ("centre", "scale", "weights"):
            getattr(self, name).copy_(torch.from_numpy(getattr(found, name)))
        highest = float(self._distance(self._numbers(apart)).max())
        self.limit.fill_(max(found.threshold, MARGIN * highest))

    def forward(self, windows: Tensor, memory: Tensor) -> Answer:
        """See `Detector`."""
        features = _statistics(windows)
        deviations = (features - self.usual) / self.spread
        score = self._distance(self.numbers(windows, deviations))
        return score, features, deviations, memory

    def _numbers(self, recordings: Sequence[Tensor]) -> Tensor:
        windows = torch.cat(list(recordings))
        if not len(windows):
            raise UnfitData("no window is left to calibrate by")
        return self.numbers(windows, (_statistics(windows) - self.usual) / self.spread)

    def _distance(self, numbers: Tensor) -> Tensor:
        return (((numbers - self.centre) / self.scale) @ self.weights).square().sum(dim=1)


class Autoencoder(Mahalanobis):
    """A network squeezes a window through `code` numbers and draws it again.

    Judged are, together, the code and the logarithm of what is left of each signal: what no healthy window
    looks like cannot be drawn. The window is seen in stretches of `stretch` rows, by their means, each
    signal in its own standard deviations.
    """

    DEFAULTS: ClassVar[Settings] = {"false_alarms": 1e-5, "code": 6, "hidden": 48, "stretch": 10}
    EPOCHS = 60

    def __init__(self, spec: WindowSpec, settings: Settings) -> None:
        self.code = int({**self.DEFAULTS, **settings}["code"])
        super().__init__(spec, settings)
        self.stretch = int(self.number("stretch"))
        if spec.window % self.stretch:
            raise UnfitData(
                f"a window of {spec.window} rows is no whole number of stretches of {self.stretch}"
            )
        seen, hidden = spec.window // self.stretch * len(spec.signals), int(self.number("hidden"))
        self.squeeze = nn.Sequential(nn.Linear(seen, hidden), nn.Tanh(), nn.Linear(hidden, self.code))
        self.draw = nn.Sequential(nn.Linear(self.code, hidden), nn.Tanh(), nn.Linear(hidden, seen))
        self.register_buffer("middle", torch.zeros(len(spec.signals)))
        self.register_buffer("size", torch.ones(len(spec.signals)))

    def judged(self) -> int:
        """See `Mahalanobis`."""
        return self.code + len(self.spec.signals)

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """See `Mahalanobis`; also the scale of each signal."""
        super().learn(recordings)
        rows = torch.cat([self._stretches(one) for one in recordings]).flatten(0, 1)
        self.middle.copy_(rows.mean(dim=0))
        self.size.copy_(torch.maximum(rows.std(dim=0), 1e-4 * rows.abs().mean(dim=0)).clamp_min(1e-9))

    def loss(self, windows: Tensor) -> Tensor:
        """The mean square of what is left."""
        seen = self._seen(windows)
        return (seen - self.draw(self.squeeze(seen))).square().mean()

    def calibrate(self, learnt: Sequence[Tensor], apart: Sequence[Tensor]) -> None:
        """See `Mahalanobis`; all by what was not learnt from, to which the network answers otherwise."""
        super().calibrate(apart, apart)

    def numbers(self, windows: Tensor, deviations: Tensor) -> Tensor:
        """See `Mahalanobis`."""
        seen = self._seen(windows)
        code = self.squeeze(seen)
        left = (seen - self.draw(code)).square().reshape(-1, *self._shape()).mean(dim=1)
        return torch.cat([code, torch.log(left + 1e-6)], dim=1)

    def _shape(self) -> tuple[int, int]:
        return self.spec.window // self.stretch, len(self.spec.signals)

    def _stretches(self, windows: Tensor) -> Tensor:
        """[N, stretches, signals]."""
        count, signals = self._shape()
        return windows.reshape(-1, count, self.stretch, signals).mean(dim=2)

    def _seen(self, windows: Tensor) -> Tensor:
        return ((self._stretches(windows) - self.middle) / self.size).flatten(1)


def _statistics(windows: Tensor) -> Tensor:
    """Means, then population standard deviations, [N, 2 · signals]."""
    mean = windows.mean(dim=1)
    off = windows - mean.unsqueeze(1)
    return torch.cat([mean, (off * off).mean(dim=1).sqrt()], dim=1)


def _double(values: Tensor) -> np.ndarray:
    return values.detach().numpy().astype(np.float64)
