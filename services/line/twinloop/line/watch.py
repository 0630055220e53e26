"""The heartbeat between this service and a station: what a beat finds, and what to do next. Pure.

    read the device -> look(watched, reading, wish) -> finding, what to do -> take, beat or release -> heard

Both sides watch each other. The device that hears no heartbeat takes its local setpoints; this service, when
the device's own beat stands still or its heartbeats are not taken, sheds the mode. An operator at the machine
always wins: a turned key, or a setpoint that moved without a command of ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from twinloop.contracts.changes import Parameter
from twinloop.line.plc import BY_OPERATOR, Device

MISSED: Final = 3
"""So many beats in a row, either way, and the other side counts as gone."""
_SAME: Final = 1e-6


class Do(StrEnum):
    """What a beat is for."""

    TAKE = "take"
    """Take control."""
    BEAT = "beat"
    """Keep it."""
    RELEASE = "release"
    """Give it back."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is in force at the station now.

    `owned`: this member reads the asset's log, so it is its business. `acts`: commands may come. `manual`:
    an operator has it in hand already. `killed`: the kill switch is set. `quiet`: no command of ours was
    under way since the reading before. `early`: the reading comes before its time, and a device that has not
    beaten since the one before is none the worse for it.
    """

    owned: bool
    acts: bool
    manual: bool = False
    killed: bool = False
    quiet: bool = True
    early: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered from beat to beat.

    `holds`: this process has control. `beat`: the device's own as last read, or `None` where there is nothing
    to compare with. `still`: readings in a row without a sign of life of the device; `unheard`: heartbeats of
    ours in a row that it did not take. `known`: the setpoints it last held.
    """

    holds: bool = False
    beat: int | None = None
    still: int = 0
    unheard: int = 0
    known: Mapping[Parameter, float] | None = None

    @property
    def problem(self) -> str | None:
        """Why nobody may rely on the connection, or `None`."""
        if not self.holds:
            return "this service has no control of the station"
        if self.still >= MISSED:
            return f"no sign of life of the device at {self.still} beats in a row"
        if self.unheard >= MISSED:
            return f"the device did not take {self.unheard} heartbeats in a row"
        return None


@dataclass(frozen=True, slots=True)
class Lost:
    """The watchdog: one side does not hear the other."""

    reason: str


@dataclass(frozen=True, slots=True)
class Overriding:
    """An operator has the machine in hand."""

    parameter: Parameter
    value: float
    expected: float
    reason: str


Finding = Lost | Overriding


def look(watched: Watched, device: Device | None, wish: Wish) -> tuple[Watched, Finding | None, Do]:
    """What this beat's reading says; `device` is `None` when it could not be read."""
    if device is None:
        still = watched.still + 1
        # Once it is lost it begins anew: when it is back, it has as long as ever to show that it lives.
        watched = replace(watched, still=still, beat=None if still >= MISSED else watched.beat)
        return watched, _lost(watched, wish), Do.NOTHING
    alive = watched.beat is None or device.beat > watched.beat
    still = 0 if alive else watched.still + (not wish.early)
    watched = replace(watched, beat=device.beat, still=still)
    finding = _found(watched, device, wish)
    if wish.quiet:
        watched = replace(watched, known=device.setpoints)
    if finding is not None:
        release = Do.RELEASE if device.remote and watched.holds else Do.NOTHING
        return replace(watched, holds=False), finding, release
    if not (wish.acts and wish.owned) or wish.killed:
        ours = watched.holds or wish.owned or wish.killed
        release = Do.RELEASE if device.remote and ours else Do.NOTHING
        return replace(watched, holds=False, unheard=0), None, release
    if device.remote and watched.holds:
        return watched, None, Do.BEAT
    if device.maintenance_lock or device.local_reason == BY_OPERATOR:
        return watched, None, Do.NOTHING  # it would refuse
    return watched, None, Do.TAKE


def heard(watched: Watched, what: Do, *, taken: bool) -> Watched:
    """What the device's answer to `what` says; `taken` is false for a refusal and for none."""
    match what:
        case Do.TAKE:
            return replace(watched, holds=taken, unheard=0 if taken else watched.unheard + 1)
        case Do.BEAT:
            return replace(watched, unheard=0 if taken else watched.unheard + 1)
        case _:
            return watched


def settled(watched: Watched, device: Device) -> Watched:
    """After a command of ours: `device` is what was read when its outcome was told."""
    return replace(watched, known=device.setpoints)


def _found(watched: Watched, device: Device, wish: Wish) -> Finding | None:
    if not wish.owned:
        return None
    moved = _moved(watched, device) if wish.quiet and watched.holds else None
    if device.local_reason == BY_OPERATOR:
        if wish.manual:
            return None
        value = device.power_w
        return moved or Overriding(Parameter.LASER_POWER_W, value, value, "the key at the panel is turned")
    if watched.holds and not device.remote:
        why = device.local_reason or "no reason given"
        if moved is not None and device.local_reason not in ("watchdog", "startup"):
            return moved
        return Lost(f"the device is Local ({why}), and this service did not give control back")
    return moved or _lost(watched, wish)


def _lost(watched: Watched, wish: Wish) -> Lost | None:
    """Only where something is to be shed: what does not act needs no watchdog."""
    if not (wish.owned and wish.acts):
        return None
    if watched.still >= MISSED:
        return Lost(f"no sign of life of the device at {watched.still} beats in a row")
    if watched.unheard >= MISSED:
        return Lost(f"the device did not take {watched.unheard} heartbeats in a row")
    return None


def _moved(watched: Watched, device: Device) -> Overriding | None:
    """A setpoint that is not where it was left."""
    if watched.known is None:
        return None
    for parameter, before in watched.known.items():
        value = device.value(parameter)
        if not math.isclose(value, before, rel_tol=_SAME, abs_tol=_SAME):
            reason = "it was set at the machine: no command of ours did"
            return Overriding(parameter, value, before, reason)
    return None
