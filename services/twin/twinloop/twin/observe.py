"""The last parts of each asset: what the sensors showed, joined with what the genealogy says."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import numpy as np

from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.times import utc
from twinloop.twin.estimate import Part
from twinloop.twin.process import Setpoints

SIGNAL_SET = "weld.v1"
_TEMPERATURE, _REFLECTION, _DEPTH = 1, 2, 3
"""Columns of the signal set: `plasma`, `window_temperature_c`, `back_reflection`, `oct_depth_mm`, …"""
_SIGNALS = 6
_WAITING = 64

T = TypeVar("T")


@dataclass(slots=True)
class Observed:
    """One asset. Halves of a part wait for each other, in whichever order they come."""

    parts: OrderedDict[int, Part] = field(default_factory=OrderedDict)
    newest_at: datetime | None = None
    newest_setpoints: Setpoints | None = None
    newest_sequence: int = -1
    resistance_uohm: float | None = None
    shown: OrderedDict[int, tuple[float, float, float]] = field(default_factory=OrderedDict)
    made: OrderedDict[int, Setpoints] = field(default_factory=OrderedDict)


class Observations:
    """`kept` parts of each of `assets`; others are ignored."""

    def __init__(self, assets: dict[str, int]) -> None:
        self._kept = assets
        self._observed = {asset: Observed() for asset in assets}

    def of(self, asset: str) -> Observed:
        """What is known of `asset`. Raises `KeyError` for one that is not followed."""
        return self._observed[asset]

    def show(self, frame: Frame) -> None:
        """Take what the sensors showed."""
        one = self._observed.get(frame.asset)
        if one is None or frame.signal_set != SIGNAL_SET or frame.samples.shape[1] != _SIGNALS:
            return
        means = np.asarray(np.nanmean(frame.samples, axis=0, dtype=np.float64))
        shown = (float(means[_DEPTH]), float(means[_TEMPERATURE]), float(means[_REFLECTION]))
        if not np.isfinite(shown).all():
            return
        observed_at = utc(frame.observed_at_ns)
        one.newest_at = observed_at if one.newest_at is None else max(one.newest_at, observed_at)
        _wait(one.shown, frame.sequence, shown)
        self._join(frame.asset, one, frame.sequence)

    def made(self, joint: JointWelded) -> None:
        """Take what the genealogy says."""
        one = self._observed.get(joint.asset)
        if one is None:
            return
        setpoints = Setpoints(joint.power_w, joint.focus_mm)
        if joint.sequence > one.newest_sequence:
            one.newest_sequence = joint.sequence
            one.newest_setpoints = setpoints
            one.resistance_uohm = joint.resistance_uohm
        _wait(one.made, joint.sequence, setpoints)
        self._join(joint.asset, one, joint.sequence)

    def _join(self, asset: str, one: Observed, sequence: int) -> None:
        if sequence not in one.shown or sequence not in one.made:
            return
        depth, temperature, reflection = one.shown.pop(sequence)
        one.parts[sequence] = Part(sequence, depth, temperature, reflection, one.made.pop(sequence))
        while len(one.parts) > self._kept[asset]:
            one.parts.popitem(last=False)


def _wait(halves: OrderedDict[int, T], sequence: int, half: T) -> None:
    halves[sequence] = half
    while len(halves) > _WAITING:
        halves.popitem(last=False)
