"""What the log says of one station: who may act, what was done, how far setpoints have travelled. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Final

from twinloop.contracts.changes import AnyChange, Applied, Hold, Issued, Parameter, Proposed, SetParameter
from twinloop.contracts.controls import (
    AnyControl,
    Governance,
    IllegalControl,
    ModeEntered,
    govern,
)

_HOUR: Final = timedelta(hours=1)
_REMEMBERED: Final = timedelta(days=1)
"""Longer than an hour, because a clock that jumped ahead may be put back."""


@dataclass(frozen=True, slots=True)
class Touched:
    """The last command to a station: when it was issued, and how many parts had been made when it was
    applied, or, if it was not, issued."""

    at: datetime
    part_counter: int
    hold: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A command that was issued: by how much it moved a setpoint, in its unit, whichever way. It counts
    whether or not the device acted: what is not known is not assumed to be nothing."""

    at: datetime
    parameter: Parameter
    by: float


@dataclass(frozen=True, slots=True)
class Last:
    """The last change that was applied to a parameter: what was held before, and what after."""

    change_id: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the log says of a station. `sequence` is the highest release that was handled; `model` the
    one that the mode in force was entered with, or the first that acted since."""

    governance: Governance = field(default_factory=Governance)
    touched: Touched | None = None
    sequence: int = 0
    moves: tuple[Move, ...] = ()
    applied: Mapping[Parameter, Last] = field(default_factory=dict)
    model: tuple[str, int] | None = None

    def travelled(self, parameter: Parameter, now: datetime) -> float:
        """The sum of the moves of the hour before `now`, in the parameter's unit. What is said to be in the
        future counts, too: a clock was put back."""
        return sum(one.by for one in self.moves if one.parameter is parameter and now - one.at < _HOUR)


class Record:
    """The same, while it is folded."""

    def __init__(self) -> None:
        self.released = 0
        """The highest sequence number of any release in the log, believed or not."""
        self._logged = Governance()
        self._seen: set[str] = set()
        self._ahead: dict[str, AnyControl] = {}
        self._touched: Touched | None = None
        self._sequence = 0
        self._moves: list[Move] = []
        self._applied: dict[Parameter, Last] = {}
        self._model: tuple[str, int] | None = None

    @property
    def governance(self) -> Governance:
        """What is in force: what the log says, and then what we have said that it does not have yet."""
        return reduce(_govern, self._ahead.values(), self._logged)

    @property
    def standing(self) -> Standing:
        """What is known now."""
        return Standing(
            self.governance,
            self._touched,
            self._sequence,
            tuple(self._moves),
            dict(self._applied),
            self._model,
        )

    def govern(self, event: AnyControl) -> bool | None:
        """Take an event of the log: whether it is new, `None` when it does not follow."""
        if event.event_id in self._seen:
            return False
        self._seen.add(event.event_id)
        self._ahead.pop(event.event_id, None)
        try:
            self._logged = govern(self._logged, event)
        except IllegalControl:
            return None
        if isinstance(event, ModeEntered):
            self._model = (event.model, event.model_version) if event.model else None
        return True

    def say(self, event: AnyControl) -> bool:
        """Take an event of our own, before the log has it."""
        if event.event_id in self._seen or event.event_id in self._ahead:
            return False
        self._ahead[event.event_id] = event
        return True

    def issued(self, proposed: Proposed, event: Issued) -> None:
        """A command was about to be sent."""
        action = proposed.action
        self._touched = Touched(event.at, event.part_counter, isinstance(action, Hold))
        if isinstance(action, SetParameter):
            newest = max([event.at, *(one.at for one in self._moves)])
            self._moves = [one for one in self._moves if newest - one.at < _REMEMBERED]
            self._moves.append(Move(event.at, action.parameter, abs(action.value - action.expected)))
        gate = isinstance(action, SetParameter) and action.parameter is Parameter.END_OF_LINE_LIMIT_UOHM
        if self._model is None and not gate:
            self._model = (proposed.model, proposed.model_version)

    def applied(self, proposed: Proposed, issued: Issued, event: AnyChange) -> None:
        """A command was read back."""
        assert isinstance(event, Applied)
        action = proposed.action
        self._touched = Touched(issued.at, event.part_counter, isinstance(action, Hold))
        if isinstance(action, SetParameter) and isinstance(event.actual, float | int):
            self._applied[action.parameter] = Last(proposed.change_id, action.expected, float(event.actual))

    def handled(self, sequence: int) -> None:
        """A release was answered, whatever the answer."""
        self._sequence = max(self._sequence, sequence)


def _govern(state: Governance, event: Any) -> Governance:
    with contextlib.suppress(IllegalControl):
        return govern(state, event)
    return state
