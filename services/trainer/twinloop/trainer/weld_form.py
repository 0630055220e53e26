"""The form of the process model: what the sensors show and what the joint measures, by parameters. Pure.

Semi-parametric: the structure is that of the machine, the curves are the data's.

- distance of the focus from the surface z = setpoint + error; profile f(z) = exp(-(b1 z + … + b4 z⁴))
- delivered energy E = τ · P/P0 · f(z), with τ the transmission of the window (1: clean)
- depth D(E), a quadratic spline
- window temperature T = T0 + H · (1 - τ) · P/P0: what a dirty window does not let through heats it
- back-reflection: log r = g · log τ + log(P/P0) + a polynomial of z of degree 4
- plasma p = p0 + p1 · E; what exceeds it comes from a gap between the sheets
- resistance: log R = a quadratic spline of the depth, held at the deepest and shallowest depth of the trials

All functions take one vector of parameters, [K], with arrays of any shape; or many, [M, K], with arrays
[..., 1]. The same arithmetic is written as a graph in `weld_onnx`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FORM = "weld.semi-parametric.1"
_POLYNOMIAL = 4


@dataclass(frozen=True, slots=True)
class Form:
    """What is chosen before the parameters are fitted: reference, knots and the ends of the data."""

    reference_power_w: float
    energy_knots: tuple[float, ...]
    depth_knots: tuple[float, ...]
    depth_mm: tuple[float, float]
    resistance_uohm: tuple[float, float]

    @property
    def blocks(self) -> dict[str, slice]:
        """Where each curve's parameters are."""
        sizes = {
            "focus": _POLYNOMIAL,
            "depth": 3 + len(self.energy_knots),
            "temperature": 2,
            "reflection": 2 + _POLYNOMIAL,
            "plasma": 2,
            "resistance": 3 + len(self.depth_knots),
        }
        ends = np.cumsum([0, *sizes.values()])
        return {
            name: slice(int(low), int(high))
            for name, low, high in zip(sizes, ends[:-1], ends[1:], strict=True)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Of the K parameters, in order."""
        return tuple(
            f"{block}.{n}" for block, where in self.blocks.items() for n in range(where.stop - where.start)
        )

    def of(self, parameters: Floats, block: str) -> Floats:
        """The parameters of one curve: the last axis."""
        return parameters[..., self.blocks[block]]


def spline_basis(x: Floats, centre: float, knots: tuple[float, ...]) -> list[Floats]:
    """1, x - centre, its square, and the squares above each knot."""
    away = x - centre
    return [np.ones_like(x), away, away**2, *(np.maximum(x - knot, 0) ** 2 for knot in knots)]


def _sum(basis: list[Floats], parameters: Floats) -> Floats:
    total: Floats = sum(
        (parameters[..., n] * one for n, one in enumerate(basis[1:], 1)), parameters[..., 0] * basis[0]
    )
    return total


def _polynomial(z: Floats, parameters: Floats) -> Floats:
    """Without a constant, by Horner's rule."""
    total: Floats = np.zeros_like(z)
    for n in reversed(range(_POLYNOMIAL)):
        total = (total + parameters[..., n]) * z
    return total


def energy(
    form: Form, parameters: Floats, power_w: Floats, distance_mm: Floats, transmission: Floats
) -> Floats:
    """Delivered energy, 1 at the reference power, focused and clean."""
    profile = np.exp(-_polynomial(distance_mm, form.of(parameters, "focus")))
    delivered: Floats = transmission * (power_w / form.reference_power_w) * profile
    return delivered


def depth_mm(form: Form, parameters: Floats, delivered: Floats) -> Floats:
    """Mean depth of the weld."""
    return _sum(spline_basis(delivered, 1.0, form.energy_knots), form.of(parameters, "depth"))


def window_temperature_c(form: Form, parameters: Floats, power_w: Floats, transmission: Floats) -> Floats:
    """Temperature of the protective window."""
    own = form.of(parameters, "temperature")
    warm: Floats = own[..., 0] + own[..., 1] * (1 - transmission) * (power_w / form.reference_power_w)
    return warm


def back_reflection(
    form: Form, parameters: Floats, power_w: Floats, distance_mm: Floats, transmission: Floats
) -> Floats:
    """Reflected light."""
    own = form.of(parameters, "reflection")
    shape = own[..., 0] + _polynomial(distance_mm, own[..., 2:])
    bright: Floats = np.exp(own[..., 1] * np.log(transmission) + shape) * (power_w / form.reference_power_w)
    return bright


def plasma(form: Form, parameters: Floats, delivered: Floats) -> Floats:
    """Light of the plasma over sheets that lie on each other."""
    own = form.of(parameters, "plasma")
    light: Floats = own[..., 0] + own[..., 1] * delivered
    return light


def log_resistance(form: Form, parameters: Floats, depth: Floats) -> Floats:
    """Natural logarithm of the resistance in micro-ohm of a joint of this depth."""
    held = np.clip(depth, *form.depth_mm)
    curve = _sum(
        spline_basis(held, form.depth_knots[-1], form.depth_knots), form.of(parameters, "resistance")
    )
    limited: Floats = np.clip(curve, *np.log(form.resistance_uohm))
    return limited


def resistance_uohm(form: Form, parameters: Floats, depth: Floats) -> Floats:
    """Resistance of a joint of this depth."""
    resistance: Floats = np.exp(log_resistance(form, parameters, depth))
    return resistance
