"""Artefacts with something wrong with each of them, and where that must be found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.waiting import until

from fault.load import SIGNALS
from fault.model import MODEL, THRESHOLD, WINDOW, mean_model
from fault.rows import hold
from fault.workshop import Workshop, around
from twinloop.tritonio.artefact import pack
from twinloop.tritonio.onnx_file import digest


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with the files of a sound artefact, and what the answer must name."""

    spoil: Callable[[dict[str, bytes]], dict[str, bytes]]
    step: str
    word: str


def changed(**fields: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Another contract around the same file."""

    def spoil(files: dict[str, bytes]) -> dict[str, bytes]:
        contract = {**msgspec.json.decode(files["contract.json"]), **fields}
        return {**files, "contract.json": msgspec.json.encode(contract)}

    return spoil


def truncated(files: dict[str, bytes]) -> dict[str, bytes]:
    """Half of a file."""
    return {**files, "model.onnx": files["model.onnx"][: len(files["model.onnx"]) // 2]}


def other_file(made: Callable[[], onnx.ModelProto]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Another file, with its own digest in contract and card."""

    def spoil(_: dict[str, bytes]) -> dict[str, bytes]:
        content = made().SerializeToString()
        contract, _file = mean_model(MODEL, version=0)
        return dict(pack(around(msgspec.structs.replace(contract, digest=digest(content)), content)))

    return spoil


def graph(*nodes: onnx.NodeProto, opset: int = 17, **constants: np.ndarray) -> onnx.ModelProto:
    """A model whose score is made by `nodes` of `mean`, the mean of each window."""
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
            *nodes,
        ],
        MODEL,
        [tensor("windows", TensorProto.FLOAT, [None, WINDOW, SIGNALS])],
        [
            tensor("score", TensorProto.FLOAT, [None]),
            tensor("features", TensorProto.FLOAT, [None, SIGNALS]),
            tensor("deviations", TensorProto.FLOAT, [None, SIGNALS]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def nan() -> onnx.ModelProto:
    """Answers NaN."""
    return graph(
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["score"]),
    )


def newer() -> onnx.ModelProto:
    """Of an opset that no Triton of ours reads."""
    model = graph(helper.make_node("Identity", ["mean"], ["score"]))
    model.opset_import[0].version = 22
    return model


def slow() -> onnx.ModelProto:
    """Multiplies large matrices for every window."""
    big = np.eye(1500, dtype=np.float32)
    steps = [
        helper.make_node("MatMul", ["big" if n == 0 else f"power{n - 1}", "big"], [f"power{n}"])
        for n in range(40)
    ]
    return graph(
        helper.make_node("ReduceMean", ["mean"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "nothing"], ["none"]),
        helper.make_node("Add", ["big_", "none"], ["big"]),
        *steps,
        helper.make_node("ReduceMean", ["power39"], ["one"], keepdims=0),
        helper.make_node("Mul", ["one", "nothing"], ["less"]),
        helper.make_node("Add", ["mean", "less"], ["score"]),
        big_=big,
        nothing=np.array(0, np.float32),
    )


def raising() -> onnx.ModelProto:
    """Takes an element that is not there."""
    return graph(
        helper.make_node("Gather", ["few", "ninth"], ["none"]),
        helper.make_node("Add", ["mean", "none"], ["score"]),
        few=np.zeros(3, np.float32),
        ninth=np.array(9, np.int64),
    )


BAD: Mapping[str, Bad] = {
    "wrong shape": Bad(changed(window=WINDOW + 1), "check", "windows has shape"),
    "NaN output": Bad(other_file(nan), "compare", "NaN"),
    "wrong opset": Bad(other_file(newer), "check", "opset 22 is newer"),
    "truncated file": Bad(truncated, "check", "model.onnx"),
    "digest mismatch": Bad(changed(digest="0" * 64), "check", "digest"),
    "too slow": Bad(other_file(slow), "run", "took longer than"),
    "raising": Bad(other_file(raising), "run", "cannot be run"),
}


async def alarming(shop: Workshop) -> int:
    """A version that is sound and alarms all the time is tried, and stopped by itself."""
    contract, content = mean_model(MODEL, version=0, note="alarming")
    answer = await shop.send(
        pack(around(msgspec.structs.replace(contract, threshold=THRESHOLD / 50), content))
    )
    hold(answer.status_code == 200, f"the alarming version: {answer.text}")
    version = answer.json()["version"]
    await shop.act("shadow", version=version)

    async def stopped() -> bool:
        return (await shop.routes())[-1].trial is None

    await until(stopped, 60, "nobody stopped a version that alarms all the time")
    newest = (await shop.routes())[-1]
    hold(newest.by == "modelops" and "too many" in newest.reason, f"{newest.by}: {newest.reason}")
    return int(newest.reason.split(" alarms in ")[1].split()[0])
