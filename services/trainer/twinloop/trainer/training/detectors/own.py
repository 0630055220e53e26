"""A module that somebody else has written, wrapped: it says what is unusual, and nothing else.

    class Mine(torch.nn.Module):
        def __init__(self, window: int, signals: int) -> None: ...
        def forward(self, windows):  # float32 [N, window, signals] -> [N, signals], how unusual each is
            ...

Each signal comes in its own standard deviations around its mean, in the recordings that are learnt from. The
score is the sum over the signals. With a method `loss(self, windows)` that returns a number, the parameters
are learnt, in 60 epochs unless `--epochs` says otherwise. With an attribute `memory`, a number M > 0,
`forward(self, windows, memory)` takes, and returns as the second of a pair, float32 [N, M]; zeros are for a
new asset. An attribute `quiet` says on how many first windows of an asset it gives no verdict yet.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import BadModule, UnfitData
from twinloop.trainer.training.answering import answers
from twinloop.trainer.training.detectors.base import Answer, Detector, Settings, finite
from twinloop.trainer.training.layout import Layout


class Own(Detector):
    """See above. The threshold is `margin` times the `quantile` of the scores of windows that were not learnt
    from."""

    DEFAULTS: ClassVar[Settings] = {"quantile": 0.999, "margin": 1.25}
    EPOCHS = 60

    def __init__(self, spec: WindowSpec, settings: Settings, module: nn.Module) -> None:
        super().__init__(spec, settings)
        self.module = module
        self.features = tuple(f"{one}.mean" for one in spec.signals)
        if memory := int(getattr(module, "memory", 0)):
            self.layout = Layout((("all", (memory,)),))
        self.quiet = int(getattr(module, "quiet", 0))
        self.register_buffer("middle", torch.zeros(len(spec.signals)))
        self.register_buffer("size", torch.ones(len(spec.signals)))

    @property
    def learns(self) -> bool:
        """See `Detector`."""
        return hasattr(self.module, "loss") and super().learns

    def learn(self, recordings: Sequence[Tensor]) -> None:
        """The scale of each signal."""
        finite(recordings)
        rows = torch.cat(list(recordings)).flatten(0, 1)
        self.middle.copy_(rows.mean(dim=0))
        self.size.copy_(torch.maximum(rows.std(dim=0), 1e-4 * rows.abs().mean(dim=0)).clamp_min(1e-9))

    def loss(self, windows: Tensor) -> Tensor:
        """The module's own. Raises `BadModule`."""
        try:
            return self.module.loss((windows - self.middle) / self.size)
        except Exception as error:
            raise BadModule(f"loss: {type(error).__name__}: {error}") from error

    def calibrate(self, learnt: Sequence[Tensor], apart: Sequence[Tensor]) -> None:
        """See the class."""
        self._try(apart[0][:2])
        found = torch.cat([torch.from_numpy(one.answer.score)[self.quiet :] for one in answers(self, apart)])
        if not len(found):
            raise UnfitData(f"the recordings are too short: the first {self.quiet} windows get no verdict")
        if not torch.isfinite(found).all():
            raise UnfitData("the module answers NaN or infinity")
        self.limit.copy_(self.number("margin") * found.quantile(self.number("quantile")))

    def _try(self, windows: Tensor) -> None:
        """Raises `BadModule` where the module does not do what is asked of it."""
        memory = self.nothing(len(windows))
        try:
            *_, unusual, after = self(windows, memory)
        except Exception as error:
            raise BadModule(f"forward: {type(error).__name__}: {error}") from error
        for what, is_, due in (
            ("it", unusual.shape, (len(windows), len(self.spec.signals))),
            ("its memory", after.shape, memory.shape),
        ):
            if tuple(is_) != tuple(due):
                raise BadModule(f"forward: {what} is of shape {list(is_)}, not {list(due)}")

    def forward(self, windows: Tensor, memory: Tensor) -> Answer:
        """See `Detector`. `features`: the means; `deviations`: what the module says."""
        scaled = (windows - self.middle) / self.size
        if self.layout.size:
            unusual, memory = self.module(scaled, memory)
        else:
            unusual = self.module(scaled)
        return unusual.sum(dim=1), windows.mean(dim=1), unusual, memory


def own_module(named: str, spec: WindowSpec) -> nn.Module:
    """The module `named` as file.py:Class. Raises `BadModule`."""
    file, _, name = named.rpartition(":")
    path = Path(file)
    found = importlib.util.spec_from_file_location(f"twinloop_own_{path.stem}", path)
    if not path.is_file() or found is None or found.loader is None:
        raise BadModule(f"{named}: name a file and a class in it, as in detector.py:Mine")
    code = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(code)
        module = getattr(code, name)(spec.window, len(spec.signals))
    except Exception as error:
        raise BadModule(f"{named}: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise BadModule(f"{named}: it is no torch.nn.Module")
    return module
