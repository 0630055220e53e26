"""A detector of one's own: it forecasts the second half of a window from the first, and is surprised.

    twinloop train --module docs/examples/own_detector.py:Forecast --model mine \
        --signal-set weld.v1 --csv recordings/*.csv
"""

import torch
from torch import nn


class Forecast(nn.Module):
    def __init__(self, window: int, signals: int) -> None:
        super().__init__()
        self.half = window // 2
        self.shape = (window - self.half, signals)
        wide = self.shape[0] * signals
        self.net = nn.Sequential(nn.Linear(self.half * signals, 32), nn.Tanh(), nn.Linear(32, wide))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """How unusual each signal is: the mean square of what was not foreseen."""
        foreseen = self.net(windows[:, : self.half].flatten(1)).reshape(-1, *self.shape)
        return (windows[:, self.half :] - foreseen).square().mean(dim=1)

    def loss(self, windows: torch.Tensor) -> torch.Tensor:
        return self(windows).mean()
