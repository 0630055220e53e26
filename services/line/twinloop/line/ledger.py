"""What the log of changes says: where each change stands, and when the device was last touched. Pure.

A fold over `changes` from its beginning. Repeats and events that do not follow change nothing, so it is the
same however often the log is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Hold,
    IllegalTransition,
    Issued,
    Proposed,
    State,
    advance,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is not ended. `told_by` is the event that brought it where it stands."""

    proposed: Proposed
    state: State
    told_by: str
    issued: Issued | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """The last command to a station: when it was issued, and how many parts had been made when it was
    applied, or, if it was not, issued."""

    at: datetime
    part_counter: int
    hold: bool


class Ledger:
    """Of one partition of `changes`."""

    def __init__(self) -> None:
        self._open: dict[str, Change] = {}
        self._ended: set[str] = set()
        self._touched: dict[str, Touched] = {}

    def fold(self, event: AnyChange) -> bool:
        """Take an event; whether it said anything new."""
        if event.change_id in self._ended:
            return False
        change = self._open.get(event.change_id)
        try:
            state = advance(None if change is None else change.state, event)
        except IllegalTransition:
            return False
        if isinstance(event, Proposed):
            self._open[event.change_id] = Change(event, state, event.event_id)
            return True
        assert change is not None  # only a proposal follows on nothing
        change = replace(change, state=state, told_by=event.event_id)
        if isinstance(event, Issued):
            change = replace(change, issued=event)
            self._touch(change, event.at, event.part_counter)
        elif isinstance(event, Applied) and change.issued is not None:
            self._touch(change, change.issued.at, event.part_counter)
        # What follows on `applied` is the controller's: nothing is left to do here.
        if state.final or state is State.APPLIED:
            del self._open[event.change_id]
            self._ended.add(event.change_id)
        else:
            self._open[event.change_id] = change
        return True

    def due(self) -> Sequence[Change]:
        """Changes that wait for this service: those issued without a known outcome, then those released."""
        return [
            one
            for state in (State.ISSUED, State.APPROVED)
            for one in self._open.values()
            if one.state is state
        ]

    def unknown(self, asset: str) -> bool:
        """Whether there is a command to `asset` of which nobody knows what became."""
        return any(one.state is State.ISSUED and one.proposed.asset == asset for one in self._open.values())

    def touched(self, asset: str) -> Touched | None:
        """The last command to `asset`."""
        return self._touched.get(asset)

    def _touch(self, change: Change, at: datetime, part_counter: int) -> None:
        hold = isinstance(change.proposed.action, Hold)
        self._touched[change.proposed.asset] = Touched(at, part_counter, hold)
