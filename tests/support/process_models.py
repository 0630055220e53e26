"""Process models for tests: what a commissioning trial at the simulated plant identifies, in a folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twinloop.contracts.processes import Coverage, ProcessCard, Used
from twinloop.local.places import find_places
from twinloop.simulator import process as plant
from twinloop.trainer.identify import identify
from twinloop.trainer.process_fit import Fitted
from twinloop.trainer.shelf import put
from twinloop.trainer.trials import Joints, Plan, Trial, TrialParts, read_plan
from twinloop.trainer.weld_onnx import card_of, to_onnx
from twinloop.twin.process import ProcessModel

PROCESS = "cu-al-tab"
ASSET = "acme.berlin.packs.line1.weld1"

Weld = Callable[[Trial, np.random.Generator], tuple[float, float, float, float, float]]
"""Depth, window temperature, back-reflection and plasma, and the resistance, of a part of a trial."""


def commissioning() -> Plan:
    """The plan that the local stack welds."""
    return read_plan(find_places().config / "commissioning.toml")


def of_the_plant(trial: Trial, generator: np.random.Generator) -> tuple[float, float, float, float, float]:
    """What the simulated plant makes of a trial."""
    weld = plant.weld(
        plant.Setpoints(trial.power_w, trial.focus_mm),
        plant.Conditions(window_transmission=trial.transmission),
        plant.draw_noise(generator),
    )
    means = weld.signals.mean(axis=0)
    return (*(float(means[one]) for one in (3, 1, 2, 0)), weld.measured_uohm)  # type: ignore[return-value]


def welded(plan: Plan, seed: int, weld: Weld = of_the_plant) -> TrialParts:
    """The parts of `plan`, as if they had been recorded."""
    generator = np.random.default_rng(seed)
    trials = np.repeat(np.arange(len(plan.trials)), [one.welds for one in plan.trials])
    rows = np.array([weld(plan.trials[one], generator) for one in trials]).T
    power, focus, glass = (
        np.array([getattr(one, name) for one in plan.trials], np.float64)[trials]
        for name in ("power_w", "focus_mm", "transmission")
    )
    depth, temperature, reflection, plasma, resistance = rows
    used = Used(
        topic="genealogy", partition=0, first_offset=0, last_offset=len(trials) - 1, records=len(trials)
    )
    joints = Joints(
        sequence=np.arange(1, len(trials) + 1),
        power_w=power,
        focus_mm=focus,
        depth_mm=depth,
        window_temperature_c=temperature,
        back_reflection=reflection,
        plasma=plasma,
        resistance_uohm=resistance,
        data=(used,),
    )
    return TrialParts(joints, trials, glass)


@functools.cache
def identified(seed: int = 1) -> tuple[Fitted, Coverage, TrialParts]:
    """The model of a commissioning trial at the simulated plant."""
    parts = welded(commissioning(), seed)
    return (*identify(parts), parts)


@functools.cache
def process_model(seed: int = 1) -> ProcessModel:
    """The same as the twin loads it."""
    fitted, coverage, parts = identified(seed)
    file = to_onnx(fitted)
    return ProcessModel(card_of(fitted, coverage, parts, PROCESS, 1, ASSET, file), file)


def write_process_model(folder: Path, process: str = PROCESS) -> ProcessCard:
    """A folder for `TWINLOOP_TWIN_MODELS`, with one model in it."""
    return put(folder, process, ASSET, *identified())
