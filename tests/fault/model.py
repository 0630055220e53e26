"""The model of the runs: the mean of a window is its score. Exact in float32 for the values of `load`."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from fault.load import SIGNAL_SET, SIGNALS
from twinloop.contracts.models import ModelContract
from twinloop.tritonio.onnx_file import digest

WINDOW, HOP = 8, 2
THRESHOLD = 0.75


def mean_model(
    name: str = "mean",
    *,
    version: int = 1,
    signal_set: str = SIGNAL_SET,
    window: int = WINDOW,
    hop: int = HOP,
    note: str = "",
) -> tuple[ModelContract, bytes]:
    """Its contract, and its ONNX file, another one for each `note`."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["score"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
        ],
        name,
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, [None, window, SIGNALS])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, SIGNALS]),
            helper.make_tensor_value_info("deviations", TensorProto.FLOAT, [None, SIGNALS]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    model.doc_string = note
    content = onnx.ModelProto.SerializeToString(model)
    signals = tuple(f"level{n}" for n in range(SIGNALS))
    contract = ModelContract(
        model=name,
        version=version,
        signal_set=signal_set,
        signals=signals,
        features=signals,
        window=window,
        hop=hop,
        threshold=THRESHOLD,
        digest=digest(content),
    )
    return contract, content
