"""The process model as ONNX, in the form that `twinloop.contracts.processes` promises, and its card. Pure.

The graph is `weld_form` in other words: once for the fitted parameters, once for the draws from their
distribution, which need an axis more. All of it in float64: rounding must not decide about a forecast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts.processes import INPUTS, OUTPUTS, Coverage, ProcessCard
from twinloop.trainer.export import IR_VERSION, OPSET
from twinloop.trainer.process_fit import Fitted
from twinloop.trainer.trials import TrialParts
from twinloop.trainer.weld_form import FORM, Floats
from twinloop.tritonio.onnx_file import digest


class _Graph:
    """Nodes under construction. Operands are names or constants; each method returns the result's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: float | Floats | Sequence[float]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float64), name))
        return name

    def add(self, kind: str, *operands: str | float | Floats, **attributes: object) -> str:
        names = [one if isinstance(one, str) else self.constant(one) for one in operands]
        result = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [result], **attributes))
        return result

    def name(self, value: str, name: str) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def index(self, value: str, kind: str, axis: int) -> str:
        """`Unsqueeze` or `Squeeze` along `axis`, or a `ReduceMean`."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array([axis], np.int64), name))
        result = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [value, name], [result]))
        return result


def to_onnx(fitted: Fitted) -> bytes:
    """The file: bit by bit the same for the same model."""
    graph = _Graph()
    form, theta = fitted.form, fitted.parameters
    power = graph.add("Div", "power_w", form.reference_power_w)
    distance = graph.add("Add", "focus_mm", "focus_error_mm")
    delivered = _energy(graph, fitted, theta, power, distance, "transmission")
    depth = _depth(graph, fitted, theta, delivered)
    temperature, reflection, glow = (form.of(theta, one) for one in ("temperature", "reflection", "plasma"))
    dark = graph.add("Mul", graph.add("Sub", 1.0, "transmission"), power)
    warm = graph.add("Add", graph.add("Mul", dark, temperature[1]), temperature[0])
    shape = graph.add("Add", _polynomial(graph, distance, reflection[2:]), reflection[0])
    passed = graph.add("Mul", graph.add("Log", "transmission"), reflection[1])
    bright = graph.add("Mul", graph.add("Exp", graph.add("Add", passed, shape)), power)
    plasma = graph.add("Add", graph.add("Mul", delivered, glow[1]), glow[0])
    resistance = _resistance(graph, fitted, theta, depth)

    above, below = (
        _resistance(
            graph,
            fitted,
            theta,
            _depth(graph, fitted, theta, graph.add("Mul", delivered, math.exp(side * fitted.energy_sigma))),
        )
        for side in (1, -1)
    )
    half = graph.add("Mul", graph.add("Sub", above, below), 0.5)
    columns = [graph.index(one, "Unsqueeze", 1) for one in (power, distance, "transmission")]
    draws = _resistance(
        graph,
        fitted,
        fitted.draws,
        _depth(graph, fitted, fitted.draws, _energy(graph, fitted, fitted.draws, *columns)),
    )
    off = graph.add("Sub", draws, graph.index(resistance, "Unsqueeze", 1))
    unknown = graph.add("ReduceMean", graph.add("Mul", off, off), axes=[1], keepdims=0)
    variance = graph.add("Add", graph.add("Mul", half, half), unknown)
    variance = graph.add("Add", variance, fitted.resistance_sigma_uohm**2)

    results = (delivered, depth, warm, bright, plasma, resistance, variance, draws)
    for value, name in zip(results, OUTPUTS, strict=True):
        graph.name(value, name)
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "process",
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N"]) for name in INPUTS],
            [
                helper.make_tensor_value_info(
                    name, TensorProto.DOUBLE, ["N", len(fitted.draws)] if name == OUTPUTS[-1] else ["N"]
                )
                for name in OUTPUTS
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="twinloop.trainer",
    )
    made.ir_version = IR_VERSION
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def card_of(
    fitted: Fitted, coverage: Coverage, parts: TrialParts, process: str, version: int, asset: str, file: bytes
) -> ProcessCard:
    """The card of the ONNX `file` as this version of `process`."""
    return ProcessCard(
        process=process,
        version=version,
        asset=asset,
        form=FORM,
        reference_power_w=fitted.form.reference_power_w,
        parameters=dict(zip(fitted.form.names, fitted.parameters.tolist(), strict=True)),
        covariance=tuple(tuple(row) for row in fitted.covariance.tolist()),
        validity=fitted.validity,
        energy_sigma=fitted.energy_sigma,
        resistance_sigma_uohm=fitted.resistance_sigma_uohm,
        spreads=fitted.spreads,
        parts=len(parts),
        trials=len(np.unique(parts.trial)),
        coverage=coverage,
        data=parts.joints.data,
        digest=digest(file),
    )


def _energy(
    graph: _Graph, fitted: Fitted, theta: Floats, power: str, distance: str, transmission: str
) -> str:
    exponent = _polynomial(graph, distance, fitted.form.of(theta, "focus"))
    profile = graph.add("Exp", graph.add("Neg", exponent))
    return graph.add("Mul", graph.add("Mul", transmission, power), profile)


def _depth(graph: _Graph, fitted: Fitted, theta: Floats, delivered: str) -> str:
    return _spline(graph, delivered, 1.0, fitted.form.energy_knots, fitted.form.of(theta, "depth"))


def _resistance(graph: _Graph, fitted: Fitted, theta: Floats, depth: str) -> str:
    form = fitted.form
    held = graph.add("Clip", depth, *(graph.constant(one) for one in form.depth_mm))
    curve = _spline(graph, held, form.depth_knots[-1], form.depth_knots, form.of(theta, "resistance"))
    return graph.add(
        "Exp", graph.add("Clip", curve, *(graph.constant(math.log(one)) for one in form.resistance_uohm))
    )


def _spline(graph: _Graph, x: str, centre: float, knots: tuple[float, ...], parameters: Floats) -> str:
    away = graph.add("Sub", x, centre)
    basis = [away, graph.add("Mul", away, away)]
    for knot in knots:
        beyond = graph.add("Max", graph.add("Sub", x, knot), 0.0)
        basis.append(graph.add("Mul", beyond, beyond))
    total: str | Floats = parameters[..., 0]
    for n, one in enumerate(basis, 1):
        total = graph.add("Add", total, graph.add("Mul", one, parameters[..., n]))
    return str(total)


def _polynomial(graph: _Graph, z: str, parameters: Floats) -> str:
    order = parameters.shape[-1]
    total = graph.add("Mul", z, parameters[..., order - 1])
    for n in reversed(range(order - 1)):
        total = graph.add("Mul", graph.add("Add", total, parameters[..., n]), z)
    return total
