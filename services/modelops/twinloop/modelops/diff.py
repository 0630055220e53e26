"""What two versions promise, were measured at, and say of the same windows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from twinloop.contracts.models import Measured, ModelCard, ModelContract
from twinloop.tritonio.server import Inference


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which two contracts or cards differ."""

    name: str
    one: Any
    other: Any


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured of one, the other, or both, by what it says it is."""

    what: str
    one: Measured | None
    other: Measured | None


@dataclass(frozen=True, slots=True)
class Said:
    """How both judge the same `windows`, taken `of` the golden ones of a version: alarms, and the largest
    difference of their scores, each in units of its own threshold."""

    of: str
    windows: int
    both: int
    only_one: int
    only_other: int
    score_apart: float


def contracts_differ(one: ModelContract, other: ModelContract) -> list[Difference]:
    """Every field but the name and the number."""
    return [
        Difference(name, getattr(one, name), getattr(other, name))
        for name in one.__struct_fields__
        if name not in ("model", "version") and getattr(one, name) != getattr(other, name)
    ]


def cards_differ(one: ModelCard | None, other: ModelCard | None) -> list[Difference]:
    """How they were made. A card that is not there says nothing."""
    ours, theirs = _made(one), _made(other)
    return [
        Difference(name, ours.get(name), theirs.get(name))
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]


def figures(one: ModelCard | None, other: ModelCard | None) -> list[Figure]:
    """What was measured, side by side."""
    ours = {} if one is None else {each.what: each for each in one.measured}
    theirs = {} if other is None else {each.what: each for each in other.measured}
    return [Figure(what, ours.get(what), theirs.get(what)) for what in dict.fromkeys([*ours, *theirs])]


def same_windows(one: ModelContract, other: ModelContract) -> bool:
    """Whether both can be asked about the same windows."""
    return (one.window, one.signals) == (other.window, other.signals)


def compared(
    of: str, contracts: tuple[ModelContract, ModelContract], answers: tuple[Inference, Inference]
) -> Said:
    """The answers of both to the same windows."""
    (one, other), (ours, theirs) = contracts, answers
    first, second = ours.score > one.threshold, theirs.score > other.threshold
    apart = np.abs(_relative(ours, one) - _relative(theirs, other))
    return Said(
        of,
        len(ours),
        int((first & second).sum()),
        int((first & ~second).sum()),
        int((~first & second).sum()),
        float(apart.max(initial=0.0)),
    )


def _relative(answer: Inference, contract: ModelContract) -> Any:
    unit = abs(contract.threshold) or 1.0
    return answer.score.astype(np.float64) / unit


def _made(card: ModelCard | None) -> dict[str, Any]:
    if card is None:
        return {}
    trained = {f"trained.{name}": value for name, value in msgspec.to_builtins(card.trained).items()}
    settings = {f"settings.{name}": value for name, value in card.settings.items()}
    return (
        {"architecture": card.architecture, "at": card.at.isoformat(), "seed": card.seed} | trained | settings
    )
