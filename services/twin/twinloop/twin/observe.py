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
_PLASMA, _TEMPERATURE, _REFLECTION, _DEPTH = range(4)
"""Columns of the signal set: `plasma`, `window_temperature_c`, `back_reflection`, `oct_depth_mm`, …"""
_SIGNALS = 6
_WAITING = 64
_LEAST_GOOD = 0.5
"""Of the samples of a signal; with fewer, their mean says nothing about the part."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """Means over a part."""

    at: datetime
    plasma: float
    window_temperature_c: float
    back_reflection: float
    depth_mm: float


@dataclass(slots=True)
class Observed:
    """One asset. Halves of a part wait for each other, in whichever order they come.

    `newest_at`: when the last part of which both halves are known was observed; `newest_setpoints`,
    `newest_sequence` and `newest_made_at` are those of the last joint.
    """

    parts: OrderedDict[int, Part] = field(default_factory=OrderedDict)
    newest_at: datetime | None = None
    newest_setpoints: Setpoints | None = None
    newest_sequence: int = -1
    newest_made_at: datetime | None = None
    resistance_uohm: float | None = None
    shown: OrderedDict[int, Shown] = field(default_factory=OrderedDict)
    made: OrderedDict[int, JointWelded] = field(default_factory=OrderedDict)


class Observations:
    """`kept` parts of each of `assets`; others are ignored."""

    def __init__(self, assets: dict[str, int]) -> None:
        self._kept = assets
        self._observed = {asset: Observed() for asset in assets}

    def of(self, asset: str) -> Observed:
        """What is known of `asset`. Raises `KeyError` for one that is not followed."""
        return self._observed[asset]

    def show(self, frame: Frame) -> None:
        """Take what the sensors showed. Samples marked as bad do not count."""
        one = self._observed.get(frame.asset)
        if one is None or frame.signal_set != SIGNAL_SET or frame.samples.shape[1] != _SIGNALS:
            return
        means = _means(frame)
        if means is None:
            return
        plasma, temperature, reflection, depth = means
        shown = Shown(utc(frame.observed_at_ns), plasma, temperature, reflection, depth)
        _wait(one.shown, frame.sequence, shown)
        self._join(frame.asset, one, frame.sequence)

    def made(self, joint: JointWelded) -> None:
        """Take what the genealogy says. What is late or told again changes nothing."""
        one = self._observed.get(joint.asset)
        if one is None:
            return
        if one.newest_made_at is not None and joint.sequence <= one.newest_sequence:
            if joint.sequence == one.newest_sequence or joint.observed_at <= one.newest_made_at:
                return
            _begin_anew(one, one.newest_made_at)
        one.newest_sequence = joint.sequence
        one.newest_made_at = joint.observed_at
        one.newest_setpoints = Setpoints(joint.power_w, joint.focus_mm)
        one.resistance_uohm = joint.resistance_uohm
        _wait(one.made, joint.sequence, joint)
        self._join(joint.asset, one, joint.sequence)

    def _join(self, asset: str, one: Observed, sequence: int) -> None:
        if sequence not in one.shown or sequence not in one.made:
            return
        shown, joint = one.shown.pop(sequence), one.made.pop(sequence)
        one.newest_at = joint.observed_at
        one.parts[sequence] = Part(
            sequence=sequence,
            depth_mm=shown.depth_mm,
            window_temperature_c=shown.window_temperature_c,
            back_reflection=shown.back_reflection,
            plasma=shown.plasma,
            setpoints=Setpoints(joint.power_w, joint.focus_mm),
        )
        while len(one.parts) > self._kept[asset]:
            one.parts.popitem(last=False)


def _means(frame: Frame) -> list[float] | None:
    """Of plasma, temperature, reflection and depth over the good samples; `None` when one has too few."""
    used = slice(_PLASMA, _DEPTH + 1)
    good = np.isfinite(frame.samples[:, used])
    if frame.bad is not None:
        good &= ~frame.bad[:, used]
    count = good.sum(axis=0)
    if (count < max(1.0, _LEAST_GOOD * len(frame.samples))).any():
        return None
    total = np.sum(frame.samples[:, used], axis=0, dtype=np.float64, where=good)
    means: list[float] = (total / count).tolist()
    return means


def _begin_anew(one: Observed, ended_at: datetime) -> None:
    """The part counter began anew: numbers up to `ended_at` mean nothing now."""
    one.parts.clear()
    one.made.clear()
    one.newest_at = None
    for sequence in [sequence for sequence, shown in one.shown.items() if shown.at <= ended_at]:
        del one.shown[sequence]


def _wait(halves: OrderedDict[int, T], sequence: int, half: T) -> None:
    halves[sequence] = half
    while len(halves) > _WAITING:
        halves.popitem(last=False)
