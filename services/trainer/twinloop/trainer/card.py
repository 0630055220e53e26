"""What a person should know of a model: its card. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from twinloop.contracts.models import QUANTILES, Measured, ModelCard, ModelContract, Reference
from twinloop.tritonio.server import Floats, Inference

RESAMPLED: Final = 2000
FEW: Final = 8
"""With fewer recordings than this, each is cut into blocks for its interval."""


@dataclass(frozen=True, slots=True)
class References:
    """What a card says that drift is measured against: see `ModelCard`."""

    pooled: dict[str, tuple[float, ...]]
    windows: int
    by_asset: dict[str, Reference]


def references_of(contract: ModelContract, answers: Iterable[tuple[str, Inference]]) -> References:
    """Of what a model answers to the windows that it has learnt from, each recording with its asset.

    Where assets differ, none lies as all of them do together: so each has its own. What a model that
    calibrates itself sees of an asset may be anywhere: of its windows only the scores count, once it judges.
    """
    by_asset: dict[str, list[Inference]] = {}
    for asset, one in answers:
        by_asset.setdefault(asset, []).append(one)
    names = () if contract.quiet else contract.features
    own = {
        asset: _reference(contract, names, those)
        for asset, those in by_asset.items()
        if any(len(one) > contract.quiet for one in those)
    }
    if contract.quiet:
        return References({}, 0, own)
    pooled = _reference(contract, names, [one for those in by_asset.values() for one in those])
    return References(pooled.quantiles, pooled.windows, own if len(own) > 1 else {})


def _reference(contract: ModelContract, names: Sequence[str], answers: Sequence[Inference]) -> Reference:
    """Of the score and of the features `names`."""
    judged = [one.part(contract.quiet, len(one)) for one in answers if len(one) > contract.quiet]
    columns: dict[str, Floats] = {"score": np.concatenate([one.score for one in judged])}
    table = np.concatenate([one.features for one in judged])
    columns |= {name: table[:, n] for n, name in enumerate(names)}
    apart = min(1.0, contract.hop / contract.window)
    return Reference(
        windows=max(1, round(len(table) * apart)),
        quantiles={
            name: tuple(np.quantile(values, QUANTILES).astype(np.float64).tolist())
            for name, values in columns.items()
        },
    )


def alarmed(flags: Sequence[NDArray[np.bool_]], what: str) -> Measured | None:
    """The share of windows that are anomalous, of healthy recordings; `None` where there is no window.

    Its 95 % interval is the wider one, at each end, of two: by resampling whole recordings (or blocks, where
    there are few), and the exact one of as many independent windows (Clopper and Pearson 1934): none of a
    few says little.
    """
    some = [one for one in flags if len(one)]
    if not some:
        return None
    if len(some) < FEW:
        some = [block for one in some for block in np.array_split(one, FEW) if len(block)]
    counts = np.array([(one.sum(), len(one)) for one in some], np.float64)
    drawn = np.random.default_rng(0).integers(0, len(counts), (RESAMPLED, len(counts)))
    summed = counts[drawn].sum(axis=1)
    low, high = np.quantile(summed[:, 0] / summed[:, 1], [0.025, 0.975])
    told, windows = counts.sum(axis=0)
    exact = binomtest(int(told), int(windows)).proportion_ci(0.95, "exact")
    low, high = min(low, exact.low), max(high, exact.high)
    return Measured(what=what, value=float(told / windows), low=float(low), high=float(high))


def in_words(card: ModelCard) -> list[str]:
    """What people are told of a model that was made, a line each."""
    return [
        *(f"  {one.what}: {one.value:.3%}{_interval(one)}" for one in card.measured),
        *(f"  limit: {one}" for one in card.limits),
    ]


def _interval(one: Measured) -> str:
    return "" if one.low is None or one.high is None else f" (95 %: {one.low:.3%} to {one.high:.3%})"
