"""ΔR of cell groups (`twinloop.features.cells`) as an ONNX graph, as `ModelContract` promises it. Pure.

Nothing is fitted: the graph is the least-squares line. ONNX has no median, so `TopK` sorts the groups and the
middle is taken out of them: as differences from the first group, which float32 holds exactly. A frame's last
column is the odometer, which is passed on: whoever judges a snippet needs to know how far the vehicle has
been driven.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts.models import ModelContract
from twinloop.features.cells import LEAST_SCATTER_V, LEAST_SXX_A2, NOISE_V, SNIPPET
from twinloop.tritonio.onnx_file import digest

SIGNAL_SET = "vehicle.cells.v1"
CURRENT = "Vehicle.Powertrain.TractionBattery.CurrentCurrent"
CELL_VOLTAGES = "Vehicle.Powertrain.TractionBattery.CellVoltage.CellVoltages"
DISTANCE = "Vehicle.TraveledDistance"
THRESHOLD = 0.0
"""Every snippet is above it, and so is passed on with its features: only who has the baselines can judge."""
OPSET = 17
IR_VERSION = 9


def signals(groups: int) -> tuple[str, ...]:
    """Columns of a window: the current, every group's voltage (an element of a VSS array), the distance."""
    return (CURRENT, *(f"{CELL_VOLTAGES}[{group}]" for group in range(groups)), DISTANCE)


def features(groups: int) -> tuple[str, ...]:
    """Columns of the answer: every group's ΔR, then every group's standard error, the scatter around every
    group's line as a multiple of a healthy sensor's, and the distance."""
    return (
        *(f"delta_r_uohm.{group}" for group in range(groups)),
        *(f"standard_error_uohm.{group}" for group in range(groups)),
        *(f"noise.{group}" for group in range(groups)),
        "distance_km",
    )


def to_onnx(groups: int) -> bytes:
    """`windows` float32 [N, 60, 2 + groups] -> `score` [N], `features` and `deviations` [N, 3 · groups + 1].

    `deviations` are `features`, with every ΔR in standard errors. `score` is the largest of these: never
    below 0, as the median group's ΔR is about 0. Every answer is finite.
    """
    node, wide = helper.make_node, len(features(groups))
    middle = [groups // 2] if groups % 2 else [groups // 2 - 1, groups // 2]
    nodes = [
        node("Slice", ["windows", "zero", "one", "two"], ["current"]),
        node("Slice", ["windows", "one", "end", "two"], ["voltages"]),
        node("Slice", ["voltages", "zero", "one", "two"], ["first"]),
        node("Sub", ["voltages", "first"], ["relative"]),
        node("TopK", ["relative", "all"], ["sorted", "order"], axis=2),
        node("Gather", ["sorted", "middle"], ["middles"], axis=2),
        node("ReduceMean", ["middles"], ["median"], axes=[2], keepdims=1),
        node("Sub", ["relative", "median"], ["away"]),
        node("ReduceMean", ["away"], ["away_mean"], axes=[1], keepdims=1),
        node("Sub", ["away", "away_mean"], ["v"]),
        node("ReduceMean", ["current"], ["current_mean"], axes=[1], keepdims=1),
        node("Sub", ["current", "current_mean"], ["i"]),
        node("Mul", ["i", "i"], ["ii"]),
        node("ReduceSum", ["ii", "one"], ["moved"], keepdims=1),
        node("Max", ["moved", "least_sxx"], ["sxx3"]),
        node("Mul", ["i", "v"], ["iv"]),
        node("ReduceSum", ["iv", "one"], ["sxy3"], keepdims=1),
        node("Div", ["sxy3", "sxx3"], ["slope3"]),
        node("Mul", ["i", "slope3"], ["fitted"]),
        node("Sub", ["v", "fitted"], ["rest"]),
        node("Mul", ["rest", "rest"], ["squares"]),
        node("ReduceSum", ["squares", "one"], ["sse"], keepdims=0),
        node("Div", ["sse", "freedom"], ["variance"]),
        node("Sqrt", ["variance"], ["scattered"]),
        node("Max", ["scattered", "least_scatter"], ["scatter"]),
        node("Squeeze", ["sxx3", "one"], ["sxx"]),
        node("Sqrt", ["sxx"], ["root"]),
        node("Squeeze", ["slope3", "one"], ["slope"]),
        node("Mul", ["slope", "minus_micro"], ["delta"]),
        node("Div", ["scatter", "root"], ["se_ohm"]),
        node("Mul", ["se_ohm", "micro"], ["se"]),
        node("Div", ["delta", "se"], ["ratio"]),
        node("Div", ["scatter", "healthy"], ["noise"]),
        node("Slice", ["windows", "last_second", "end_second", "one"], ["last"]),
        node("Slice", ["last", "end", "end_distance", "two"], ["distance3"]),
        node("Squeeze", ["distance3", "one"], ["distance"]),
        node("Concat", ["delta", "se", "noise", "distance"], ["features"], axis=1),
        node("Concat", ["ratio", "se", "noise", "distance"], ["deviations"], axis=1),
        node("ReduceMax", ["ratio"], ["score"], axes=[1], keepdims=0),
    ]
    integers = {
        "zero": [0],
        "one": [1],
        "two": [2],
        "end": [1 + groups],
        "end_distance": [2 + groups],
        "last_second": [SNIPPET - 1],
        "end_second": [SNIPPET],
        "all": [groups],
        "middle": middle,
    }
    floats = {
        "freedom": SNIPPET - 2.0,
        "micro": 1e6,
        "minus_micro": -1e6,
        "healthy": NOISE_V,
        "least_sxx": LEAST_SXX_A2,
        "least_scatter": LEAST_SCATTER_V,
    }
    graph = helper.make_graph(
        nodes,
        SIGNAL_SET,
        [_tensor("windows", SNIPPET, 2 + groups)],
        [_tensor("score"), _tensor("features", wide), _tensor("deviations", wide)],
        [
            *(numpy_helper.from_array(np.array(value, np.int64), name) for name, value in integers.items()),
            *(numpy_helper.from_array(np.array(value, np.float32), name) for name, value in floats.items()),
        ],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="twinloop.trainer"
    )
    made.ir_version = IR_VERSION
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def contract_of(groups: int, file: bytes, name: str = "cells") -> ModelContract:
    """What the ONNX `file` promises; staging gives it a version. Snippets do not overlap."""
    return ModelContract(
        model=name,
        version=0,
        signal_set=SIGNAL_SET,
        signals=signals(groups),
        features=features(groups),
        window=SNIPPET,
        hop=SNIPPET,
        threshold=THRESHOLD,
        digest=digest(file),
    )


def _tensor(name: str, *dims: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *dims])
