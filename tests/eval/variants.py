"""The same recordings with their faults elsewhere, to find out who has learnt where faults are. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from eval.data import Labelled

Variant = Callable[[Labelled], Labelled]
_FROM, _TO = 400, 560
"""Rows that are healthy in every file of the benchmark, right before its faults."""
_CROPPED = 860
STRETCH, EVERY = 1150, 400
"""Rows of a stretch of the healthy recording, and from the beginning of one to the next."""


def later(rows: int) -> Variant:
    """Recording began so many rows later."""
    return lambda one: Labelled(one.name, one.rows[rows:], one.anomalous[rows:])


def spliced(times: int) -> Variant:
    """The rows before the fault are played backwards and forwards again: it comes later, without a step."""

    def made(one: Labelled) -> Labelled:
        again = np.concatenate([np.arange(_TO - 1, _FROM - 1, -1), np.arange(_FROM, _TO)])
        index = np.concatenate([np.arange(_TO), *[again] * times, np.arange(_TO, len(one.rows))])
        return Labelled(one.name, one.rows[index], one.anomalous[index])

    return made


def cropped(one: Labelled) -> Labelled:
    """It ends within the fault."""
    return Labelled(one.name, one.rows[:_CROPPED], one.anomalous[:_CROPPED])


VARIANTS: Final[dict[str, Variant]] = {
    "as recorded": lambda one: one,
    "50 rows later": later(50),
    "100 rows later": later(100),
    "150 rows later": later(150),
    "ends in the fault": cropped,
    "320 rows of health more": spliced(1),
    "960 rows of health more": spliced(3),
}


def stretches(one: Labelled) -> list[Labelled]:
    """Parts of a long recording, each as an asset of its own."""
    begins = range(0, len(one.rows) - STRETCH, EVERY)
    return [
        Labelled(
            f"{one.name}-{first}", one.rows[first : first + STRETCH], one.anomalous[first : first + STRETCH]
        )
        for first in begins
    ]
