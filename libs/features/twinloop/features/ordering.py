"""Which frames of a sequence are new: a pure gate over the last 64 sequence numbers of each asset."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

REMEMBERED: Final = 64
"""How many sequence numbers below the highest are remembered one by one."""
_MASK: Final = (1 << REMEMBERED) - 1


class Order(StrEnum):
    """Where a sequence number stands among those seen."""

    NEW = "new"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"


class SequenceGate:
    """Tells new frames from repeats and latecomers, for each asset and signal set.

    Above the highest seen: `NEW`, gaps allowed. Seen among the last `REMEMBERED`: `DUPLICATE`. Anything else
    below is `OUT_OF_ORDER`, also a counter that began anew: the part counters of a plant never restart, so
    a low number is never a new beginning. The first sequence of an asset is always `NEW`.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}  # highest, and a bit for each of those below

    def check(self, asset: str, signal_set: str, sequence: int) -> Order:
        """The order of `sequence`, which is remembered when it is new."""
        key = (asset, signal_set)
        found = self._seen.get(key)
        if found is None:
            self._seen[key] = (sequence, 1)
            return Order.NEW
        highest, bits = found
        ahead = sequence - highest
        if ahead > 0:
            self._seen[key] = (sequence, ((bits << ahead) & _MASK if ahead < REMEMBERED else 0) | 1)
            return Order.NEW
        return Order.DUPLICATE if -ahead < REMEMBERED and bits >> -ahead & 1 else Order.OUT_OF_ORDER
