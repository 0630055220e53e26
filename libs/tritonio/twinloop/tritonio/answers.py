"""Whether two computations of one model say the same: the trainer's own, and what is served. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.server import Inference

RELATIVE = 2e-3
_DEVIATION = 2e-3


class Answer(Protocol):
    """What a model says of N windows: `score` [N]; `features` and `deviations` [N, K]."""

    @property
    def score(self) -> NDArray[Any]: ...
    @property
    def features(self) -> NDArray[Any]: ...
    @property
    def deviations(self) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far, besides a relative 2e-3, an answer may be from the one that is due."""

    features: float
    deviations: float
    score: float


def tolerance_of(contract: ModelContract) -> Tolerance:
    """What float32 loses, for a model whose features are of the order of one or more."""
    return Tolerance(1e-4, _DEVIATION, _DEVIATION * (abs(contract.threshold) or 1.0))


def differences(
    contract: ModelContract, due: Answer, given: Answer, tolerance: Tolerance | None = None
) -> list[str]:
    """What of `given` is not as `due`, in words; empty when both say the same. What is no number is never
    the same."""
    allowed = tolerance or tolerance_of(contract)
    compared = [
        ("features", due.features, given.features, allowed.features),
        ("deviations", due.deviations, given.deviations, allowed.deviations),
        ("score", due.score, given.score, allowed.score),
    ]
    if contract.memory:
        compared.append(("next_memory", _memory(due), _memory(given), allowed.deviations))
    return [
        f"{name} {_by_how_much(ours, theirs)}"
        for name, ours, theirs, atol in compared
        if ours.shape != theirs.shape or not np.allclose(theirs, ours, rtol=RELATIVE, atol=atol)
    ]


def _memory(answer: Answer) -> NDArray[Any]:
    found = answer.memory if isinstance(answer, Inference) else None
    return np.empty(0, np.float32) if found is None else found


def _by_how_much(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    if ours.shape != theirs.shape:
        return f"has shape {list(theirs.shape)}, not {list(ours.shape)}"
    if not np.isfinite(theirs).all() or not np.isfinite(ours).all():
        return "holds what is no number"
    return f"differ by up to {np.abs(theirs.astype(np.float64) - ours).max():.2g}"
