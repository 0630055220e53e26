"""The plan of a commissioning trial, and the parts of it in a recording. Pure.

A plan is a list of trials; each welds a few parts at setpoints that a person sets at the machine while the
loop is open, some of them under a test glass of known transmission instead of a clean window. The genealogy
does not know of the glass, so the plan must be told; what it does know is held against the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.processes import Used
from twinloop.trainer.errors import BadRecording, PoorTrials, TrialsNotFound

Floats = NDArray[np.float64]

_ENOUGH = 0.9
"""Of the plan's parts; a few may have been lost on the way."""
_SAME_W, _SAME_MM = 0.5, 0.005
_LEAST_PARTS = 120
_LEAST_POWERS, _LEAST_SPAN = 5, 0.2
_LEAST_DISTANCES, _LEAST_GLASSES = 5, 2


class Trial(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`welds` parts at these setpoints; `transmission` is that of the glass, 1 for a clean window."""

    power_w: Annotated[float, msgspec.Meta(gt=0)]
    focus_mm: float
    welds: Annotated[int, msgspec.Meta(ge=1)]
    transmission: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A file of trials, in the order in which they were welded. What else the file says is not the plan's."""

    trials: Annotated[tuple[Trial, ...], msgspec.Meta(min_length=1)]

    @property
    def welds(self) -> int:
        """Of all trials."""
        return sum(one.welds for one in self.trials)


@dataclass(frozen=True, slots=True, eq=False)
class Joints:
    """Parts of one asset, by rising part counter. Arrays of [N]: signals are means over a part."""

    sequence: NDArray[np.int64]
    power_w: Floats
    focus_mm: Floats
    depth_mm: Floats
    window_temperature_c: Floats
    back_reflection: Floats
    plasma: Floats
    resistance_uohm: Floats
    data: tuple[Used, ...] = ()

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, slots=True, eq=False)
class TrialParts:
    """The parts of a plan: `trial` [N] is the index in the plan, `transmission` [N] that of its glass."""

    joints: Joints
    trial: NDArray[np.int64]
    transmission: Floats

    def __len__(self) -> int:
        return len(self.trial)


def read_plan(path: Path) -> Plan:
    """The plan in a TOML file. Raises `BadRecording`."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError) as error:
        raise BadRecording(f"{path} is no plan of trials: {error}") from error


def select(joints: Joints, which: Any) -> Joints:
    """Some of the parts, by a mask or by indices."""
    columns = {name: getattr(joints, name)[which] for name in Joints.__dataclass_fields__ if name != "data"}
    return Joints(**columns, data=joints.data)


def of_plan(joints: Joints, plan: Plan) -> TrialParts:
    """The newest parts that were welded as planned, in this order. Raises `TrialsNotFound`."""
    trial = np.repeat(np.arange(len(plan.trials)), [one.welds for one in plan.trials])
    power, focus, glass = (
        np.array([getattr(one, name) for one in plan.trials])[trial]
        for name in ("power_w", "focus_mm", "transmission")
    )
    best = 0
    for start in joints.sequence[::-1]:
        low, high = np.searchsorted(joints.sequence, (start, start + plan.welds))
        index = joints.sequence[low:high] - start
        same = (np.abs(joints.power_w[low:high] - power[index]) < _SAME_W) & (
            np.abs(joints.focus_mm[low:high] - focus[index]) < _SAME_MM
        )
        best = max(best, int(same.sum()))
        if same.all() and same.sum() >= _ENOUGH * plan.welds:
            chosen = select(joints, np.arange(low, high))
            return TrialParts(chosen, trial[index], glass[index])
    raise TrialsNotFound(
        f"no {plan.welds} parts in a row were welded as the plan says: of {len(joints)} parts that are"
        f" recorded, at most {best} fit it; weld the trials with the loop open"
    )


def check_excitation(parts: TrialParts) -> None:
    """Raises `PoorTrials` with what to weld, when the parts cannot tell the parameters apart."""
    joints, clean = parts.joints, parts.transmission == 1
    middle = float(np.median(joints.power_w))
    powers = np.unique(joints.power_w[clean].round(1))
    if len(powers) < _LEAST_POWERS or np.ptp(powers) < _LEAST_SPAN * middle:
        wanted = ", ".join(f"{middle * share:.0f}" for share in (0.85, 0.95, 1.05, 1.15, 1.25))
        raise PoorTrials(
            f"power was varied over {_told(powers)} W under a clean window, too little to learn what it does;"
            f" weld trials at {wanted} W or wider, 10 parts or more each"
        )
    distances = np.unique(joints.focus_mm[clean].round(3))
    if len(distances) < _LEAST_DISTANCES or not distances[0] < 0 < distances[-1]:
        raise PoorTrials(
            f"focus was varied over {_told(distances)} mm, too little to learn what it does; weld trials at"
            " -0.8, -0.4, 0.4 and 0.8 mm or further out, 10 parts or more each"
        )
    glasses = np.unique(parts.transmission[~clean])
    if len(glasses) < _LEAST_GLASSES:
        raise PoorTrials(
            f"parts were welded under {len(glasses)} test glasses, too few to learn what a dirty window does;"
            " weld trials under glasses that let 0.9 and 0.75 of the light through, at two powers each"
        )
    if len(parts) < _LEAST_PARTS:
        raise PoorTrials(
            f"{len(parts)} parts are too few: weld the trials with {_LEAST_PARTS} or more in all"
        )


def _told(values: Floats) -> str:
    return ", ".join(f"{one:g}" for one in values)
