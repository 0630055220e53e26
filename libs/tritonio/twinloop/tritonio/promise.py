"""Whether a contract and a card can be kept at all, whatever the file beside them holds. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from twinloop.contracts.models import QUANTILES, ModelCard, ModelContract

NAME = "[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""What a model may be called, as a regular expression: it is the name of a folder, and part of file names."""
MOST_SAMPLES = 2**31 - 1


def unkept(contract: ModelContract) -> list[str]:
    """What nobody could serve by, as a sentence's part each; empty when the contract makes sense."""
    if not re.fullmatch(NAME, contract.model) or contract.version < 1:
        return [f"{contract.model[:120]!r} version {contract.version} is no name and version of a folder"]
    return [
        *_numbers(contract),
        *_names("signals", contract.signals),
        *_names("features", contract.features),
        *(_names("columns", contract.columns) if contract.columns else ()),
        *_columns(contract),
    ]


def unusable(card: ModelCard, contract: ModelContract) -> list[str]:
    """What drift could not be told by: a reference that is none, in the same words."""
    found = list(_reference("its reference", card.reference, contract))
    for asset, one in card.by_asset.items():
        found += _reference(f"its reference at {asset[:80]!r}", one.quantiles, contract)
        if one.windows < 1:
            found.append(f"its reference at {asset[:80]!r} is of no windows")
    return found


def _reference(what: str, quantiles: Mapping[str, Sequence[float]], contract: ModelContract) -> Iterator[str]:
    for name, values in quantiles.items():
        if name != "score" and name not in contract.features:
            yield f"{what} has {name[:80]!r}, which the model does not answer"
        elif len(values) != len(QUANTILES):
            yield f"{what} of {name[:80]!r} has {len(values)} values, not {len(QUANTILES)}"
        elif not all(map(math.isfinite, values)) or any(low > high for low, high in pairwise(values)):
            yield f"{what} of {name[:80]!r} does not ascend"


def _numbers(contract: ModelContract) -> Iterator[str]:
    if not contract.signal_set.strip():
        yield "the signal set has no name"
    for name, least in (("window", 1), ("hop", 1), ("memory", 0), ("quiet", 0)):
        if not least <= getattr(contract, name) <= MOST_SAMPLES:
            yield f"{name} is {getattr(contract, name)}, and must be {least} at least"
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(contract.threshold)):
            yield f"the threshold {contract.threshold} is no float32"


def _names(what: str, names: Sequence[str]) -> Iterator[str]:
    if not names:
        yield f"there are no {what}"
    elif not all(one.strip() for one in names):
        yield f"one of the {what} has no name"
    elif twice := sorted({one for one in names if names.count(one) > 1}):
        yield f"{what} come twice: {', '.join(twice)[:200]}"


def _columns(contract: ModelContract) -> Iterator[str]:
    if contract.columns and (unknown := sorted(set(contract.signals) - set(contract.columns))):
        yield f"signals are not among the columns of a frame: {', '.join(unknown)[:200]}"
