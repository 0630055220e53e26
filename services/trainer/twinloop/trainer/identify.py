"""Identifies a process model from a commissioning trial, and holds it against parts it has not seen. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.processes import Coverage
from twinloop.trainer.errors import NotCalibrated
from twinloop.trainer.process_fit import Fitted, fit, fit_form
from twinloop.trainer.trials import TrialParts, check_excitation, select
from twinloop.trainer.weld_form import Floats, depth_mm, energy, resistance_uohm

FOLDS = 5
COVERED = (0.90, 0.99)
"""Allowed share of held-out parts inside their 95 % interval."""
_SAMPLES = 1024


def identify(parts: TrialParts) -> tuple[Fitted, Coverage]:
    """The model of all parts, and how its intervals did on parts that they were not fitted to.

    Raises `PoorTrials` and `NotCalibrated`.
    """
    check_excitation(parts)
    fitted = fit(parts)
    covered = cross_validate(parts, fitted)
    low, high = COVERED
    if not low <= covered.share <= high:
        raise NotCalibrated(
            f"of {covered.parts} held-out parts {covered.share:.1%} measured within their 95 % interval,"
            f" which is not between {low:.0%} and {high:.0%}"
        )
    return fitted, covered


def cross_validate(parts: TrialParts, whole: Fitted) -> Coverage:
    """Each fifth of the parts against the interval of a model that is fitted to the others.

    The form is that of `whole`, and its parameters are where each fit begins.
    """
    fold = np.arange(len(parts)) % FOLDS
    inside = 0
    for one in range(FOLDS):
        others, held = _subset(parts, fold != one), _subset(parts, fold == one)
        low, high = interval(fit_form(whole.form, others, whole.parameters), held)
        measured = held.joints.resistance_uohm
        inside += int(((low <= measured) & (measured <= high)).sum())
    return Coverage(parts=len(parts), inside=inside)


def interval(fitted: Fitted, parts: TrialParts) -> tuple[Floats, Floats]:
    """95 % intervals of the resistance, [N] each, from setpoints and glass alone."""
    form, joints = fitted.form, parts.joints
    generator = np.random.default_rng(1)
    scatter = np.exp(fitted.energy_sigma * generator.standard_normal(_SAMPLES))
    error = fitted.resistance_sigma_uohm * generator.standard_normal(_SAMPLES)
    inputs = [one[:, None] for one in (joints.power_w, joints.focus_mm, parts.transmission)]
    sampled = []
    for n, theta in enumerate(fitted.draws):
        mine = slice(n, None, len(fitted.draws))
        delivered = energy(form, theta, *inputs) * scatter[mine]
        sampled.append(resistance_uohm(form, theta, depth_mm(form, theta, delivered)) + error[mine])
    low, high = np.quantile(np.concatenate(sampled, axis=1), (0.025, 0.975), axis=1)
    return low, high


def _subset(parts: TrialParts, which: NDArray[np.bool_]) -> TrialParts:
    return TrialParts(select(parts.joints, which), parts.trial[which], parts.transmission[which])
