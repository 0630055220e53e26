"""How many windows a version is asked for at a time. Pure.

All at once, as long as it answers within the deadline. A model that does not is asked for fewer: for one
request of the server at a time, for half as many after each deadline missed, and for twice as many again once
that is quick.
"""

from __future__ import annotations

import sys

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.server import MAX_BATCH

_QUICK = 1 / 4
"""Of the deadline: twice as many windows then still take only half of it."""


class Portions:
    """`deadline_s` is that of one request."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._most: dict[tuple[str, int], int] = {}

    def most(self, contract: ModelContract) -> int:
        """So many windows at a time."""
        return self._most.get(_version(contract), sys.maxsize)

    def missed(self, contract: ModelContract, windows: int) -> None:
        """So many windows were not answered within the deadline."""
        self._most[_version(contract)] = min(self.most(contract), MAX_BATCH, max(1, windows // 2))

    def answered(self, contract: ModelContract, windows: int, took_s: float) -> None:
        """So many were, after `took_s`."""
        most = self._most.get(_version(contract))
        if most is not None and windows >= most and took_s <= _QUICK * self._deadline_s:
            self._most[_version(contract)] = 2 * most


def _version(contract: ModelContract) -> tuple[str, int]:
    return contract.model, contract.version
