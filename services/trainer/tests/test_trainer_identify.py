"""Process models are identified from trials: the known process is found, poor trials are refused.

The process here is this file's own: other formulas than the model's form, and other than the plant's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
from support.process_models import ASSET, PROCESS, commissioning, identified, welded

from twinloop.contracts.processes import INPUTS, OUTPUTS, ProcessCard
from twinloop.trainer.errors import NotCalibrated, PoorTrials, TrialsNotFound
from twinloop.trainer.identify import COVERED, cross_validate, identify, interval
from twinloop.trainer.process_fit import fit
from twinloop.trainer.shelf import cards, put
from twinloop.trainer.trials import Plan, Trial, TrialParts, of_plan, select
from twinloop.trainer.weld_form import (
    back_reflection,
    depth_mm,
    energy,
    plasma,
    resistance_uohm,
    window_temperature_c,
)
from twinloop.trainer.weld_onnx import to_onnx


def true_energy(trial: Trial) -> float:
    return float(trial.transmission * trial.power_w / 1000 * np.exp(-((trial.focus_mm / 1.7) ** 2)))


def true_depth(delivered: float) -> float:
    return 0.5 * delivered**1.4


def true_resistance(depth: float) -> float:
    return float(32 + 2.2 / max(depth - 0.25, 0.01) + 1500 * max(depth - 0.66, 0) ** 2)


def other_process(
    trial: Trial, generator: np.random.Generator, more_noise: float = 1.0
) -> tuple[float, float, float, float, float]:
    """A weld of a power law, a Gaussian focus and a hyperbola."""
    scatter = generator.standard_normal(5)
    depth = true_depth(true_energy(trial) * np.exp(0.01 * more_noise * scatter[0]))
    warm = 25 + 50 * (1 - trial.transmission) * trial.power_w / 1000 + 0.4 * scatter[1]
    shape = np.exp(-(((trial.focus_mm - 0.3) / 1.5) ** 2) + (0.3 / 1.5) ** 2)
    bright = trial.transmission**2 * trial.power_w / 1000 * shape * np.exp(0.01 * scatter[2])
    glow = 0.3 + 0.6 * true_energy(trial) + 0.01 * scatter[3]
    return depth, warm, bright, glow, true_resistance(depth) + 1.5 * scatter[4]


def without(plan: Plan, *, power: bool = False, focus: bool = False, glass: bool = False) -> Plan:
    """The plan without its excitation of something."""
    trials = [
        one
        for one in plan.trials
        if not (power and one.transmission == 1 and one.focus_mm == 0 and one.power_w != 1000)
        and not (power and one.transmission == 1 and one.focus_mm != 0 and one.power_w != 1000)
        and not (focus and one.focus_mm != 0)
        and not (glass and one.transmission != 1)
    ]
    return Plan(trials=tuple(trials))


def test_a_known_process_is_found_within_the_intervals() -> None:
    fitted = fit(welded(commissioning(), 3, other_process))
    deviation = np.sqrt(np.diag(fitted.covariance))
    where = fitted.form.blocks
    # Parameters that mean the same whatever the form is.
    for name, n, known in (("temperature", 0, 25.0), ("reflection", 1, 2.0)):
        k = where[name].start + n
        assert abs(fitted.parameters[k] - known) < 4 * deviation[k]
    heating = 50 * fitted.form.reference_power_w / 1000
    k = where["temperature"].start + 1
    assert abs(fitted.parameters[k] - heating) < 4 * deviation[k]
    assert fitted.energy_sigma == pytest.approx(0.01, rel=0.2)
    assert fitted.resistance_sigma_uohm == pytest.approx(1.5, rel=0.2)
    # Curves: depth and resistance over the setpoints that were not welded.
    for watts, focus, glass in ((975, 0.15, 1.0), (1075, -0.4, 1.0), (1225, 0.2, 0.85), (1325, 0.0, 1.0)):
        one = Trial(power_w=watts, focus_mm=focus, welds=1, transmission=glass)
        delivered = energy(fitted.form, fitted.parameters, *(np.array([x]) for x in (watts, focus, glass)))
        depth = depth_mm(fitted.form, fitted.parameters, delivered)
        assert depth[0] == pytest.approx(true_depth(true_energy(one)), abs=0.004)
        found = resistance_uohm(fitted.form, fitted.parameters, depth)[0]
        assert found == pytest.approx(true_resistance(true_depth(true_energy(one))), abs=2.0)


@pytest.mark.parametrize("seed", range(4))
def test_intervals_hold_what_they_promise(seed: int) -> None:
    """On the parts that were held out, and on those of another trial."""
    parts = welded(commissioning(), seed, other_process)
    fitted = fit(parts)
    assert COVERED[0] <= cross_validate(parts, fitted).share <= COVERED[1]
    fresh = welded(commissioning(), 100 + seed, other_process)
    low, high = interval(fitted, fresh)
    measured = fresh.joints.resistance_uohm
    assert 0.91 <= ((low <= measured) & (measured <= high)).mean() <= 0.985


def test_the_plant_is_identified_too() -> None:
    fitted, coverage, _ = identified()
    assert COVERED[0] <= coverage.share <= COVERED[1]
    # What the plant adds to each part is known of it: absorptivity 1 %, measurement 2 µΩ.
    assert fitted.energy_sigma == pytest.approx(0.01, rel=0.25)
    assert fitted.resistance_sigma_uohm == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ({"power": True}, r"power was varied over 1000 W .* weld trials at 850, 950, 1050, 1150, 1250 W"),
        ({"focus": True}, r"focus was varied .* -0.8, -0.4, 0.4 and 0.8 mm"),
        ({"glass": True}, r"0 test glasses.* 0.9 and 0.75 of the light"),
    ],
)
def test_trials_without_excitation_are_refused_with_what_to_weld(
    left_out: dict[str, bool], said: str
) -> None:
    parts = welded(without(commissioning(), **left_out), 1, other_process)
    with pytest.raises(PoorTrials, match=said):
        identify(parts)


def test_too_few_parts_are_refused() -> None:
    few = Plan(trials=tuple(msgspec.structs.replace(one, welds=2) for one in commissioning().trials))
    with pytest.raises(PoorTrials, match="too few"):
        identify(welded(few, 1, other_process))


def test_a_model_whose_intervals_are_too_narrow_is_refused() -> None:
    """Every fourth part has a resistance that nothing in its trial explains."""
    parts = welded(commissioning(), 1, other_process)
    measured = parts.joints.resistance_uohm.copy()
    measured[::4] += 60
    odd = TrialParts(replace(parts.joints, resistance_uohm=measured), parts.trial, parts.transmission)
    with pytest.raises(NotCalibrated, match="held-out parts"):
        identify(odd)


def test_a_few_spoilt_parts_move_nothing() -> None:
    parts = welded(commissioning(), 1, other_process)
    measured = parts.joints.resistance_uohm.copy()
    measured[::60] = 900
    odd = TrialParts(replace(parts.joints, resistance_uohm=measured), parts.trial, parts.transmission)
    clean, spoilt = fit(parts), fit(odd)
    depth = np.linspace(0.4, 0.6, 20)
    moved = resistance_uohm(spoilt.form, spoilt.parameters, depth) - resistance_uohm(
        clean.form, clean.parameters, depth
    )
    assert np.abs(moved).max() < 1.5


def test_the_file_says_what_was_fitted() -> None:
    fitted, _, _ = identified()
    generator = np.random.default_rng(0)
    low = (850.0, -0.6, 0.75, -0.6)
    high = (1350.0, 0.6, 1.0, 0.6)
    feed = {name: generator.uniform(a, b, 500) for name, a, b in zip(INPUTS, low, high, strict=True)}
    session = onnxruntime.InferenceSession(to_onnx(fitted), providers=["CPUExecutionProvider"])
    told = dict(zip(OUTPUTS, session.run(list(OUTPUTS), feed), strict=True))
    power, glass = feed["power_w"], feed["transmission"]
    distance = feed["focus_mm"] + feed["focus_error_mm"]
    form, theta = fitted.form, fitted.parameters
    delivered = energy(form, theta, power, distance, glass)
    depth = depth_mm(form, theta, delivered)
    many = energy(form, fitted.draws, power[:, None], distance[:, None], glass[:, None])
    expected = {
        "energy": delivered,
        "depth_mm": depth,
        "window_temperature_c": window_temperature_c(form, theta, power, glass),
        "back_reflection": back_reflection(form, theta, power, distance, glass),
        "plasma": plasma(form, theta, delivered),
        "resistance_uohm": resistance_uohm(form, theta, depth),
        "resistance_draws_uohm": resistance_uohm(form, fitted.draws, depth_mm(form, fitted.draws, many)),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(told[name], values, rtol=1e-9, err_msg=name)
    assert (told["resistance_variance"] >= fitted.resistance_sigma_uohm**2).all()


def test_the_same_parts_keep_their_version_and_others_get_the_next(tmp_path: Path) -> None:
    fitted, coverage, parts = identified()
    first = put(tmp_path, PROCESS, ASSET, fitted, coverage, parts)
    assert put(tmp_path, PROCESS, ASSET, fit(parts), coverage, parts) == first
    other = welded(commissioning(), 9)
    second = put(tmp_path, PROCESS, ASSET, fit(other), coverage, other)
    assert [first.version, second.version] == [1, 2]
    assert cards(tmp_path, PROCESS) == (first, second)
    saved = (tmp_path / PROCESS / "2" / "card.json").read_bytes()
    assert msgspec.json.decode(saved, type=ProcessCard) == second
    assert not list(tmp_path.glob(".incoming*"))


def test_the_newest_parts_that_were_welded_as_planned_are_found_although_some_are_lost() -> None:
    plan = commissioning()
    joints = welded(plan, 1).joints
    lost = np.delete(np.arange(len(joints)), [5, 17, 200])
    twice = np.concatenate([joints.sequence[lost], 1000 + joints.sequence[lost]])
    both = replace(select(joints, np.concatenate([lost, lost])), sequence=twice)
    found = of_plan(both, plan)
    assert (found.joints.sequence[0], len(found)) == (1001, plan.welds - 3)
    assert found.transmission[-1] == plan.trials[-1].transmission


def test_parts_that_were_not_welded_as_planned_are_not_the_trials() -> None:
    joints = welded(commissioning(), 1).joints
    power = joints.power_w.copy()
    power[40] = 1010.0  # somebody closed the loop
    with pytest.raises(TrialsNotFound, match="the loop open"):
        of_plan(replace(joints, power_w=power), commissioning())
