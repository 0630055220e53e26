"""What the log of changes says of changes, and of what governs their assets. Pure.

A fold over `changes` from its beginning: repeats and events that do not follow change nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Forecast,
    IllegalTransition,
    Proposed,
    RolledBack,
    SetParameter,
    Simulated,
    State,
    Verified,
    advance,
)
from twinloop.contracts.controls import (
    AnyControl,
    ControlEvent,
    Endorsed,
    Governance,
    IllegalControl,
    govern,
)
from twinloop.twin.calibration import Outcome
from twinloop.twin.shadow import Shadow

_ENDED_SHOWN = 200
_OUTCOMES_KEPT = 1000
_UNREAD_NEWS = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A change, its forecasts once simulated, and the states that it went through (state, event)."""

    proposed: Proposed
    state: State
    steps: tuple[AnyChange, ...]
    do_nothing: Forecast | None = None
    do_this: Forecast | None = None

    @property
    def applied(self) -> Applied | None:
        """When and how it came into force, if it did."""
        return next((one for one in self.steps if isinstance(one, Applied)), None)


class Ledger:
    """Of one partition of `changes`. Ended changes are known for ever by id, the newest with their steps.

    `illegal` counts control events that did not follow. With `live`, what is folded is kept as news.
    """

    def __init__(self) -> None:
        self.live = False
        self.illegal = 0
        self._open: dict[str, Change] = {}
        self._ended_ids: set[str] = set()
        self._ended: deque[Change] = deque(maxlen=_ENDED_SHOWN)
        self._controls: set[str] = set()
        self._governed: dict[str, Governance] = {}
        self._endorsed: dict[str, dict[str, Endorsed]] = {}
        self._released: dict[str, int] = {}
        self._shadows: dict[str, Shadow] = {}
        self._outcomes: dict[str, deque[Outcome]] = {}
        self._measured: set[str] = set()
        self._outcomes_told: dict[str, int] = {}
        self._news: deque[AnyChange | AnyControl] = deque(maxlen=_UNREAD_NEWS)

    def fold(self, event: AnyChange | AnyControl) -> bool:
        """Take an event; whether it changed anything."""
        new = self._control(event) if isinstance(event, ControlEvent) else self._change(event)
        if new and self.live:
            self._news.append(event)
        return new

    def _control(self, event: AnyControl) -> bool:
        if event.event_id in self._controls:
            return False
        self._controls.add(event.event_id)
        if isinstance(event, Endorsed):
            if event.change_id not in self._open:
                return False
            self._endorsed.setdefault(event.change_id, {}).setdefault(event.by, event)
            return True
        try:
            self._governed[event.asset] = govern(self.governance(event.asset), event)
        except IllegalControl:
            self.illegal += 1
            return False
        self.shadow(event.asset).control(event)
        return True

    def _change(self, event: AnyChange) -> bool:
        if isinstance(event, Approved):
            # Whatever became of it: a number that was given away is not given again.
            self._released[event.asset] = max(self.releases(event.asset), event.envelope.sequence)
        if event.change_id in self._ended_ids:
            return False
        change = self._open.get(event.change_id)
        try:
            state = advance(None if change is None else change.state, event)
        except IllegalTransition:
            return False
        if isinstance(event, Proposed):
            change = Change(event, state, (event,))
        assert change is not None  # only a proposal follows on nothing
        if event is not change.proposed:
            change = replace(change, state=state, steps=(*change.steps, event))
        if isinstance(event, Simulated):
            change = replace(change, do_nothing=event.do_nothing, do_this=event.do_this)
        self.shadow(event.asset).change(event, change.proposed)
        if isinstance(event, Verified) and event.parts > 0:
            self.measured(change, event.after_uohm)
        if isinstance(event, RolledBack):
            self._missed(change)
        if state.final:
            self._open.pop(event.change_id, None)
            self._ended_ids.add(event.change_id)
            self._ended.append(change)
            self._endorsed.pop(event.change_id, None)
        else:
            self._open[event.change_id] = change
        return True

    # ---- what is asked of it

    def due(self) -> list[Change]:
        """Changes that wait for a forecast or a decision."""
        return [one for one in self._open.values() if one.state in (State.PROPOSED, State.SIMULATED)]

    def recent(self) -> list[Change]:
        """The newest ended ones, and all that are not."""
        return [*self._ended, *self._open.values()]

    def find(self, change_id: str) -> Change | None:
        """A change that is open, or among the newest ended ones."""
        open_ = self._open.get(change_id)
        return open_ or next((one for one in self._ended if one.proposed.change_id == change_id), None)

    def in_flight(self, asset: str) -> Change | None:
        """The newest change of `asset` that is not ended."""
        return next((one for one in reversed(self._open.values()) if one.proposed.asset == asset), None)

    def governance(self, asset: str) -> Governance:
        """What is in force at `asset`."""
        return self._governed.get(asset, Governance())

    def endorsements(self, change_id: str) -> Sequence[Endorsed]:
        """Who agreed with a change that needs two, one of each person, in order."""
        return tuple(self._endorsed.get(change_id, {}).values())

    def releases(self, asset: str) -> int:
        """The highest sequence of any release of `asset`; 0 before the first."""
        return self._released.get(asset, 0)

    def shadow(self, asset: str) -> Shadow:
        """What the log tells of an asset's setpoints."""
        return self._shadows.setdefault(asset, Shadow())

    # ---- outcomes

    def outcomes(self, asset: str) -> Sequence[Outcome]:
        """Forecast against measurement of the changes of `asset`, oldest first."""
        return tuple(self._outcomes.get(asset, ()))

    def told(self, asset: str) -> int:
        """How often `outcomes` of the asset changed."""
        return self._outcomes_told.get(asset, 0)

    def unmeasured(self) -> list[Change]:
        """Applied setpoints with a forecast, whose outcome is not known yet."""
        return [
            one
            for one in self._open.values()
            if one.state is State.APPLIED and one.proposed.change_id not in self._measured and _foretold(one)
        ]

    def measured(self, change: Change, uohm: float) -> Outcome | None:
        """Keep what was measured after `change`; once a change, the first measurement counts."""
        if not _foretold(change) or change.proposed.change_id in self._measured:
            return None
        return self._keep(change, uohm, rolled_back=False)

    def _missed(self, change: Change) -> None:
        if not _foretold(change):
            return
        kept = self._outcomes.get(change.proposed.asset, deque())
        for n, one in enumerate(kept):
            if one.change_id == change.proposed.change_id:
                kept[n] = replace(one, rolled_back=True)
                self._outcomes_told[change.proposed.asset] = self.told(change.proposed.asset) + 1
                return
        self._keep(change, None, rolled_back=True)

    def _keep(self, change: Change, uohm: float | None, *, rolled_back: bool) -> Outcome:
        assert change.do_this is not None
        self._measured.add(change.proposed.change_id)
        self._outcomes_told[change.proposed.asset] = self.told(change.proposed.asset) + 1
        one = Outcome(change.proposed.change_id, change.do_this, uohm, rolled_back)
        self._outcomes.setdefault(change.proposed.asset, deque(maxlen=_OUTCOMES_KEPT)).append(one)
        return one

    def news(self) -> list[AnyChange | AnyControl]:
        """What was folded since this was last asked, in order."""
        news = list(self._news)
        self._news.clear()
        return news


def _foretold(change: Change) -> bool:
    return change.do_this is not None and isinstance(change.proposed.action, SetParameter)
