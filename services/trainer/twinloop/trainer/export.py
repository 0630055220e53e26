"""A fitted model as ONNX, in the form that `ModelContract` promises. Pure."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts.models import ModelContract
from twinloop.trainer.fit import Model
from twinloop.trainer.recipes import Recipe, Statistic
from twinloop.tritonio.onnx_file import digest

OPSET = 17
IR_VERSION = 9


def to_onnx(model: Model, recipe: Recipe) -> bytes:
    """`windows` float32 [N, window, signals] -> `score` [N], `features` [N, K], `deviations` [N, K]."""
    wide = len(recipe.features)
    nodes = [helper.make_node("ReduceMean", ["windows"], ["window_mean"], axes=[1], keepdims=1)]
    nodes += [node for statistic in model.statistics for node in _STATISTICS[statistic]()]
    nodes += [
        helper.make_node("Concat", list(model.statistics), ["features"], axis=1),
        helper.make_node("Sub", ["features", "centre"], ["off_centre"]),
        helper.make_node("Div", ["off_centre", "scale"], ["deviations"]),
        helper.make_node("MatMul", ["deviations", "weights"], ["whitened"]),
        helper.make_node("Mul", ["whitened", "whitened"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["score"], keepdims=0),
    ]
    constants = {
        "centre": model.centre.astype(np.float32),
        "scale": model.scale.astype(np.float32),
        "weights": model.weights.astype(np.float32),
        "last": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        recipe.signal_set,
        [_tensor("windows", recipe.spec.window, len(recipe.spec.signals))],
        [_tensor("score"), _tensor("features", wide), _tensor("deviations", wide)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="twinloop.trainer"
    )
    made.ir_version = IR_VERSION
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def contract_of(model: Model, recipe: Recipe, name: str, file: bytes) -> ModelContract:
    """What the ONNX `file` of `model` promises; staging gives it a version."""
    return ModelContract(
        model=name,
        version=0,
        signal_set=recipe.signal_set,
        signals=recipe.spec.signals,
        features=recipe.features,
        window=recipe.spec.window,
        hop=recipe.spec.hop,
        threshold=model.threshold,
        digest=digest(file),
    )


def _mean() -> list[onnx.NodeProto]:
    return [helper.make_node("ReduceMean", ["windows"], [Statistic.MEAN], axes=[1], keepdims=0)]


def _std() -> list[onnx.NodeProto]:
    """From centred values: of a sum of squares, float32 would keep nothing where the mean is large."""
    return [
        helper.make_node("Sub", ["windows", "window_mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["centred_squares"]),
        helper.make_node("ReduceMean", ["centred_squares"], ["variance"], axes=[1], keepdims=0),
        helper.make_node("Sqrt", ["variance"], [Statistic.STD]),
    ]


_STATISTICS = {Statistic.MEAN: _mean, Statistic.STD: _std}


def _tensor(name: str, *dims: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *dims])
