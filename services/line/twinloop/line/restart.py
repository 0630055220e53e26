"""Nobody acts on behalf of a process that has died: what to shed when a log was read to its end. Pure.

A mode that this process saw being entered stays: then it is a partition that comes back, not a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twinloop.contracts.controls import Governance
from twinloop.contracts.modes import Mode
from twinloop.line.ledger import Ledger


class Admission:
    """Lets ledgers in, each once it is complete and looked through. `asset` names are those of this line."""

    def __init__(self, assets: Iterable[str]) -> None:
        self._assets = frozenset(assets)
        self._admitted: list[Ledger] = []
        self._entered: set[str] = set()
        """Event ids of the modes that this process saw being entered."""

    def admit(self, complete: Iterable[Ledger], shed: Callable[[Ledger, str, Governance], None]) -> None:
        """Look at those that are complete now. `shed` is called for each asset of a new one that acts or
        might, and must have shed it when it returns."""
        admitted = []
        for ledger in complete:
            known = any(ledger is one for one in self._admitted)
            for asset in self._assets.intersection(ledger.assets()):
                state = ledger.governance(asset)
                if state.actual.rank <= Mode.SHADOW.rank or state.since is None:
                    continue
                if known:
                    self._entered.add(state.since)
                elif state.since not in self._entered:
                    shed(ledger, asset, state)
            admitted.append(ledger)
        self._admitted = admitted

    def problem(self, complete: Iterable[Ledger]) -> str | None:
        """Health check: a mode that is entered before all are looked through would be shed with the rest."""
        waiting = sum(not any(ledger is one for one in self._admitted) for ledger in complete)
        return f"{waiting} partitions were not looked through yet" if waiting else None

    def of(self, asset: str) -> Ledger | None:
        """The ledger that speaks of `asset`, if this member has it and it was looked through."""
        return next((one for one in self._admitted if one.knows(asset)), None)
