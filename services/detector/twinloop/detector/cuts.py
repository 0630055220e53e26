"""How the windows of a version are cut, and what of a route cannot be followed. Pure.

Frames are cut for all versions of a route together, so these must agree on what is in a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.features.windows import WindowSpec


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Assets whose windows are cut alike, whatever model judges them. One object a cut; its windows have all
    columns of the frames."""

    signal_set: str
    spec: WindowSpec

    @property
    def name(self) -> str:
        """What it is known by from one process to the next."""
        return f"{self.signal_set}/{self.spec.window}/{self.spec.hop}"


Cut = tuple[str, WindowSpec]
"""What a lane is made of."""


def cut(contract: ModelContract) -> Cut:
    """How windows are cut for a version that `followable` has let pass."""
    return contract.signal_set, WindowSpec(contract.window, contract.hop, contract.frame)


def reads(contract: ModelContract) -> NDArray[np.intp] | None:
    """Which columns of its lane's windows a version reads, in its order; `None`: all of them as they are."""
    columns = contract.frame
    if contract.signals == columns:
        return None
    return np.array([columns.index(one) for one in contract.signals], np.intp)


def followable(route: ModelRoute) -> tuple[ModelRoute | None, str | None]:
    """What of a route can be followed, and why the rest cannot. Without the version that serves it is
    nothing; without one on trial, or the one before, it is the rest."""
    if (why := _wrong(route.contract)) is not None:
        return None, why
    problems = []
    trial, previous = route.trial, route.previous
    if trial is not None and (why := _wrong(trial.contract, beside=route.contract)) is not None:
        trial, problems = None, [why]
    if previous is not None and (why := _wrong(previous, beside=route.contract)) is not None:
        previous = None
        problems.append(why)
    if not problems:
        return route, None
    return msgspec.structs.replace(route, trial=trial, previous=previous), "; ".join(problems)


def _wrong(contract: ModelContract, beside: ModelContract | None = None) -> str | None:
    """Why no windows can be cut for a version, or none together with those of another."""
    columns = contract.frame
    problems = []
    if contract.window < 1 or contract.hop < 1:
        problems.append(f"windows of {contract.window} samples every {contract.hop} are none")
    if contract.memory < 0:
        problems.append(f"a memory of {contract.memory} is none")
    if not contract.signals:
        problems.append("it reads no signals")
    if twice := sorted({one for one in columns if columns.count(one) > 1}):
        problems.append(f"frames have {', '.join(twice)} more than once")
    if twice := sorted({one for one in contract.signals if contract.signals.count(one) > 1}):
        problems.append(f"it reads {', '.join(twice)} more than once")
    if missing := [one for one in contract.signals if one not in columns]:
        problems.append(f"it reads {', '.join(missing)}, which frames do not have")
    if beside is not None and columns != beside.frame:
        problems.append(f"its frames have other columns than those of version {beside.version}, which serves")
    if not problems:
        return None
    return f"{contract.model} version {contract.version}: {'; '.join(problems)}"
