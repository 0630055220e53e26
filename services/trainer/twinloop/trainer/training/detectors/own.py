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
import inspect
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypeGuard

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
        if memory := _count(module, "memory"):
            self.layout = Layout((("all", (memory,)),))
        self.quiet = _count(module, "quiet")
        if not hasattr(module, "loss") and super().learns:
            self.limits = ("it has parameters and no `loss`: they are as they were when it was made",)
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
        self._try(next(one for one in recordings if len(one))[:2])

    def loss(self, windows: Tensor) -> Tensor:
        """The module's own. Raises `BadModule`."""
        try:
            found = self.module.loss((windows - self.middle) / self.size)
        except Exception as error:
            raise BadModule(f"loss: {_told(error, self.module)}") from error
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise BadModule(f"loss: it must return one number, a tensor without dimensions, not {_is(found)}")
        if not found.requires_grad:
            raise BadModule("loss: what it returns does not depend on the parameters, so nothing is learnt")
        return found.squeeze()

    def calibrate(self, learnt: Sequence[Tensor], apart: Sequence[Tensor]) -> None:
        """See the class."""
        found = torch.cat([torch.from_numpy(one.answer.score)[self.quiet :] for one in answers(self, apart)])
        if not len(found):
            raise UnfitData(f"the recordings are too short: the first {self.quiet} windows get no verdict")
        if not torch.isfinite(found).all():
            raise UnfitData("the module answers NaN or infinity")
        self.limit.copy_(self.number("margin") * found.quantile(self.number("quantile")))

    def _try(self, windows: Tensor) -> None:
        """Raises `BadModule` where the module does not do what is asked of it."""
        scaled, memory = (windows - self.middle) / self.size, self.nothing(len(windows))
        training = self.training
        self.eval()
        try:
            said = self.module(scaled, memory) if self.layout.size else (self.module(scaled),)
        except Exception as error:
            raise BadModule(f"forward: {_told(error, self.module)}") from error
        self.train(training)
        wanted = {"how unusual each signal is": (len(windows), len(self.spec.signals))}
        if self.layout.size:
            wanted["the next memory"] = tuple(memory.shape)
        if not isinstance(said, tuple) or len(said) != len(wanted):
            raise BadModule(f"forward: it must return a pair, {' and '.join(wanted)}, not {_is(said)}")
        for (what, due), one in zip(wanted.items(), said, strict=True):
            if not isinstance(one, Tensor) or tuple(one.shape) != due or one.dtype != torch.float32:
                raise BadModule(f"forward: {what} must be float32 {list(due)}, not {_is(one)}")

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
    if not file or not name:
        raise BadModule(f"{named}: name a file and a class in it, as in detector.py:Mine")
    found = importlib.util.spec_from_file_location(f"twinloop_own_{path.stem}", path)
    if not path.is_file() or found is None or found.loader is None:
        raise BadModule(f"{named}: there is no file {path} with Python in it, and a name that ends in .py")
    code = sys.modules[found.name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(code)
    except Exception as error:
        raise BadModule(f"{path} cannot be loaded: {_told(error, path)}") from error
    made = getattr(code, name, None)
    if not _is_module(made):
        its = {one: kind for one, kind in vars(code).items() if getattr(kind, "__module__", "") == found.name}
        there = [one for one, kind in its.items() if _is_module(kind)]
        raise BadModule(
            f"{path} has no class {name} that is a torch.nn.Module: it has {', '.join(there) or 'none'}"
        )
    try:
        return made(spec.window, len(spec.signals))
    except Exception as error:
        raise BadModule(
            f"{name}({spec.window}, {len(spec.signals)}) cannot be made, with the length of a window and the"
            f" number of signals: {_told(error, path)}"
        ) from error


def _is_module(found: object) -> TypeGuard[type[nn.Module]]:
    return isinstance(found, type) and issubclass(found, nn.Module)


def _count(module: nn.Module, name: str) -> int:
    found = getattr(module, name, 0)
    if not isinstance(found, int) or found < 0:
        raise BadModule(f"its attribute `{name}` must be a whole number from 0 on, not {_is(found)}")
    return found


def _is(found: object) -> str:
    """What somebody has returned, for a sentence."""
    if isinstance(found, Tensor):
        return f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    return "None" if found is None else f"a {type(found).__name__}"


def _told(error: Exception, where: Path | nn.Module) -> str:
    """What went wrong, and in which line of the author's file, the innermost one."""
    said = f"{type(error).__name__}: {error}"
    path = Path(inspect.getfile(type(where))) if isinstance(where, nn.Module) else where
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if Path(one.filename) == path.absolute()]
    return f"{said} (line {lines[-1]} of {path.name})" if lines else said
