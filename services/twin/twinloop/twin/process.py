"""The twin's own model of a laser weld: what the sensors show and what the joint measures, from its state.

An engineering model fitted around the nominal point, not the physics of a keyhole:

- depth d = d0 · E^n with the delivered energy E = τ · P/P0 · exp(−(z/zf)²), a power law as weld trials are
  usually summarised (n from a trial series of power against depth);
- window temperature T = T0 + H · (1 − τ) · P/P0: what a dirty window does not let through heats it;
- back-reflection r = τ² · P/P0 · exp(−((z − zr)/wr)²) / exp(−(zr/wr)²), 1 for a healthy weld;
- plasma p = p0 · (1 + sp · (E − 1)), a straight line; what exceeds it comes from a gap between the sheets;
- resistance R = Rb + c / (d − s) for the contact below the top sheet of thickness s, never above an open
  joint, and + k · (d − dd)² where the weld is deeper than dd.

τ is the window's transmission (1: clean) and z = error + focus setpoint the distance of the focus from the
surface in mm. The figures are illustrative and not validated against a real process. All functions take
arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.twin.assets import WeldModel

Array = NDArray[np.float64]
_LEAST_PENETRATION_MM = 1e-3


@dataclass(frozen=True, slots=True)
class Setpoints:
    """What is set on the machine."""

    power_w: float
    focus_mm: float


def _energy(model: WeldModel, transmission: Array, error_mm: Array, at: Setpoints) -> Array:
    """Delivered energy, relative to a healthy weld at nominal power."""
    distance = (error_mm + at.focus_mm) / model.focus_width_mm
    energy: Array = transmission * (at.power_w / model.nominal_power_w) * np.exp(-(distance**2))
    return energy


def depth_mm(model: WeldModel, transmission: Array, error_mm: Array, at: Setpoints) -> Array:
    """Mean depth of the weld."""
    depth: Array = model.nominal_depth_mm * _energy(model, transmission, error_mm, at) ** model.depth_exponent
    return depth


def plasma(model: WeldModel, transmission: Array, error_mm: Array, at: Setpoints) -> Array:
    """Light of the plasma over sheets that lie on each other."""
    excess = _energy(model, transmission, error_mm, at) - 1
    return model.nominal_plasma * (1 + model.plasma_slope * excess)


def window_temperature_c(model: WeldModel, transmission: Array, at: Setpoints) -> Array:
    """Temperature of the protective window."""
    return model.ambient_c + model.heating_c * (1 - transmission) * (at.power_w / model.nominal_power_w)


def back_reflection(model: WeldModel, transmission: Array, error_mm: Array, at: Setpoints) -> Array:
    """Reflected light, relative to that of a healthy weld at nominal power."""
    width, focus = model.reflection_width_mm, model.reflection_focus_mm
    distance = (error_mm + at.focus_mm - focus) / width
    healthy = np.exp(-((focus / width) ** 2))
    brightness = transmission**2 * (at.power_w / model.nominal_power_w)
    reflected: Array = brightness * np.exp(-(distance**2)) / healthy
    return reflected


def resistance_uohm(model: WeldModel, depth: Array) -> Array:
    """Resistance of a joint of this depth."""
    penetration = np.maximum(depth - model.sheet_mm, _LEAST_PENETRATION_MM)
    contact = model.bulk_uohm + model.contact_uohm_mm / penetration
    deep = model.deep_uohm_mm2 * np.maximum(depth - model.deep_mm, 0) ** 2
    total: Array = np.minimum(contact, model.open_uohm) + deep
    return total
