"""The model of the runs: the mean of a window is its score. Exact in float32 for the values of `load`."""

from __future__ import annotations

from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from fault.load import SIGNAL_SET, SIGNALS
from fault.oracle import Rules
from twinloop.contracts.models import ModelContract
from twinloop.tritonio.onnx_file import digest

WINDOW, HOP = 8, 2
MODEL = "mean"
THRESHOLD = 0.75
COLUMNS = tuple(f"level{n}" for n in range(SIGNALS))


class Shape(NamedTuple):
    """What a version is given: windows, and which of the signals, in its order. Powers of two of each, so
    that means are exact in float32."""

    window: int = WINDOW
    hop: int = HOP
    signals: tuple[str, ...] = COLUMNS


def mean_model(
    name: str = MODEL,
    *,
    version: int = 1,
    signal_set: str = SIGNAL_SET,
    shape: Shape = Shape(),  # noqa: B008  # a value
    note: str = "",
) -> tuple[ModelContract, bytes]:
    """Its contract, and its ONNX file, another one for each `note`."""
    wide = len(shape.signals)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["score"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
        ],
        name,
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, [None, shape.window, wide])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, wide]),
            helper.make_tensor_value_info("deviations", TensorProto.FLOAT, [None, wide]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    model.doc_string = note
    content = onnx.ModelProto.SerializeToString(model)
    contract = ModelContract(
        model=name,
        version=version,
        signal_set=signal_set,
        signals=shape.signals,
        features=shape.signals,
        window=shape.window,
        hop=shape.hop,
        threshold=THRESHOLD,
        digest=digest(content),
        columns=COLUMNS,
    )
    return contract, content


def rules_of(contract: ModelContract, memory_records: int) -> Rules:
    """What the oracle is told of a version of it."""
    return Rules(
        contract.signal_set,
        SIGNALS,
        contract.window,
        contract.hop,
        contract.threshold,
        memory_records,
        takes=tuple(COLUMNS.index(one) for one in contract.signals),
        digest=contract.digest,
    )
