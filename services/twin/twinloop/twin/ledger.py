"""What the log of changes says of changes that are not ended. Pure.

A fold over `changes` from its beginning: repeats and events that do not follow change nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from twinloop.contracts.changes import (
    AnyChange,
    Forecast,
    IllegalTransition,
    Proposed,
    Simulated,
    State,
    advance,
    state_of,
)

_ENDED_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Change:
    """A change, its forecasts once simulated, and the states that it went through (state, event)."""

    proposed: Proposed
    state: State
    steps: tuple[AnyChange, ...]
    do_nothing: Forecast | None = None
    do_this: Forecast | None = None


class Ledger:
    """Of one partition of `changes`. Ended changes are known for ever by id, the newest with their steps."""

    def __init__(self) -> None:
        self._open: dict[str, Change] = {}
        self._ended_ids: set[str] = set()
        self._ended: deque[Change] = deque(maxlen=_ENDED_SHOWN)

    def fold(self, event: AnyChange) -> None:
        """Take an event."""
        if event.change_id in self._ended_ids:
            return
        change = self._open.get(event.change_id)
        try:
            state = advance(None if change is None else change.state, event)
        except IllegalTransition:
            return
        if isinstance(event, Proposed):
            change = Change(event, state, (event,))
        assert change is not None  # only a proposal follows on nothing
        if event is not change.proposed:
            change = replace(change, state=state, steps=(*change.steps, event))
        if isinstance(event, Simulated):
            change = replace(change, do_nothing=event.do_nothing, do_this=event.do_this)
        if state.final:
            self._open.pop(event.change_id, None)
            self._ended_ids.add(event.change_id)
            self._ended.append(change)
        else:
            self._open[event.change_id] = change

    def due(self) -> list[Change]:
        """Changes that wait for a forecast or a decision."""
        return [one for one in self._open.values() if one.state in (State.PROPOSED, State.SIMULATED)]

    def recent(self) -> list[Change]:
        """The newest ended ones, and all that are not."""
        return [*self._ended, *self._open.values()]


def times(change: Change) -> list[tuple[State, str]]:
    """The states of a change, and when each was reached (ISO 8601)."""
    return [(state_of(step), step.at.isoformat()) for step in change.steps]
