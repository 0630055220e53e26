"""What the log of changes says: where each change stands, who may act, what was done to each station. Pure.

A fold over `changes` from its beginning. Repeats and events that do not follow change nothing, so it is the
same however often the log is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from twinloop.contracts.changes import (
    AnyChange,
    Approved,
    Failed,
    IllegalTransition,
    Issued,
    Proposed,
    State,
    advance,
)
from twinloop.contracts.controls import AnyControl, ControlEvent, Governance
from twinloop.line.standing import Record, Standing

ENVELOPE: Final = "envelope"
"""The guard whose refusal says that a release was none: its sequence number does not count."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change that is not ended. `told_by` is the event that brought it where it stands.

    `out_of_order`: releases of the asset with a higher sequence number came before its own. `stopped` says
    what has shed the mode since it was proposed: a later promotion does not bring it back.
    """

    proposed: Proposed
    state: State
    told_by: str
    approved: Approved | None = None
    issued: Issued | None = None
    out_of_order: bool = False
    stopped: str | None = None


class Ledger:
    """Of one partition of `changes`."""

    def __init__(self) -> None:
        self._open: dict[str, Change] = {}
        self._ended: set[str] = set()
        self._records: dict[str, Record] = {}
        self.illegal = 0
        """Control events that did not follow from what was in force."""

    def fold(self, event: AnyChange | AnyControl) -> bool:
        """Take an event of the log; whether it said anything new."""
        if isinstance(event, ControlEvent):
            return self._control(event, ahead=False)
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
        self._enter(replace(change, state=state, told_by=event.event_id), event)
        return True

    def say(self, event: AnyControl) -> None:
        """Take an event of our own that is on its way into the log: it is in force at once, and stays so
        until the log has it, whatever else is read before."""
        self._control(event, ahead=True)

    def due(self) -> Sequence[Change]:
        """Changes that wait for this service: those issued without a known outcome, then those released, in
        the order of their releases."""
        return [
            one
            for state in (State.ISSUED, State.APPROVED)
            for one in self._open.values()
            if one.state is state
        ]

    def change(self, change_id: str) -> Change | None:
        """Where a change stands that has not ended."""
        return self._open.get(change_id)

    def unknown(self, asset: str) -> bool:
        """Whether there is a command to `asset` of which nobody knows what became."""
        return any(one.state is State.ISSUED and one.proposed.asset == asset for one in self._open.values())

    def takes_back(self, asset: str) -> bool:
        """Whether a rollback of what was applied to `asset` is on its way."""
        applied = {one.change_id for one in self.standing(asset).applied.values()}
        return any(
            one.proposed.asset == asset and one.proposed.rollback_of in applied for one in self._open.values()
        )

    def assets(self) -> Iterable[str]:
        """Those that the log speaks of."""
        return list(self._records)

    def knows(self, asset: str) -> bool:
        """Whether the log speaks of `asset`."""
        return asset in self._records

    def governance(self, asset: str) -> Governance:
        """Who may act on `asset`."""
        return self._records[asset].governance if asset in self._records else Governance()

    def standing(self, asset: str) -> Standing:
        """What was done to `asset`, and who may act on it."""
        return self._records[asset].standing if asset in self._records else Standing()

    def _record(self, asset: str) -> Record:
        return self._records.setdefault(asset, Record())

    def _control(self, event: AnyControl, *, ahead: bool) -> bool:
        record = self._record(event.asset)
        before = record.governance
        told = record.say(event) if ahead else record.govern(event)
        if told is None:
            self.illegal += 1
            return False
        after = record.governance
        if after.since != before.since and after.actual.rank < before.actual.rank:
            for change_id, one in self._open.items():
                if one.proposed.asset == event.asset and one.state is not State.ISSUED:
                    self._open[change_id] = replace(one, stopped=one.stopped or after.why)
        return told

    def _enter(self, change: Change, event: AnyChange) -> None:
        """Bring a change where `event` leads it, and remember what that says of its station."""
        proposed, record = change.proposed, self._record(change.proposed.asset)
        if isinstance(event, Approved):
            late = event.envelope.sequence <= record.released
            record.released = max(record.released, event.envelope.sequence)
            change = replace(change, approved=event, out_of_order=late)
            del self._open[proposed.change_id]  # to the end: it is released after those before it
        elif isinstance(event, Issued):
            change = replace(change, issued=event)
            record.issued(proposed, event)
        elif change.state is State.APPLIED and change.issued is not None:
            record.applied(proposed, change.issued, event)
        refused = isinstance(event, Failed) and event.guard == ENVELOPE
        if change.approved is not None and change.state is not State.APPROVED and not refused:
            record.handled(change.approved.envelope.sequence)
        # What follows on `applied` is the controller's: nothing is left to do here.
        if change.state.final or change.state is State.APPLIED:
            self._open.pop(proposed.change_id, None)
            self._ended.add(proposed.change_id)
        else:
            self._open[proposed.change_id] = change
