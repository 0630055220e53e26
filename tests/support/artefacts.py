"""Small models as training leaves them: an ONNX file, its contract and card, and golden windows."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from twinloop.contracts.models import QUANTILES, Measured, ModelCard, ModelContract, Trained
from twinloop.tritonio.artefact import Artefact, Golden
from twinloop.tritonio.onnx_file import digest
from twinloop.tritonio.server import Floats, Inference

WINDOW = 4
SIGNALS = ("level", "noise")
SIGNAL_SET = "level.v1"
MADE = datetime(2026, 1, 1, tzinfo=UTC)


def model_of(
    name: str, version: int, factor: float, *, recurrent: bool = False, window: int = WINDOW, hop: int = 1
) -> tuple[ModelContract, bytes]:
    """Features: the mean of each signal; deviations: `factor` times these; score: their sum.

    A recurrent one remembers the sum of an asset's features, and its score is the sum of that."""
    wide = len(SIGNALS)
    summed = [helper.make_node("ReduceSum", ["deviations", "last"], ["score"], keepdims=0)]
    inputs = [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["N", window, wide])]
    outputs = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", wide]),
        helper.make_tensor_value_info("deviations", TensorProto.FLOAT, ["N", wide]),
    ]
    if recurrent:
        summed = [
            helper.make_node("Add", ["memory", "features"], ["next_memory"]),
            helper.make_node("ReduceSum", ["next_memory", "last"], ["score"], keepdims=0),
        ]
        inputs.append(helper.make_tensor_value_info("memory", TensorProto.FLOAT, ["N", wide]))
        outputs.append(helper.make_tensor_value_info("next_memory", TensorProto.FLOAT, ["N", wide]))
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Mul", ["features", "factor"], ["deviations"]),
            *summed,
        ],
        name,
        inputs,
        outputs,
        [
            numpy_helper.from_array(np.array(factor, np.float32), "factor"),
            numpy_helper.from_array(np.array([1], np.int64), "last"),
        ],
    )
    return contract_of(name, version, file_of(graph), recurrent=recurrent, window=window, hop=hop)


def file_of(graph: object) -> bytes:
    """A graph as a file that every Triton reads."""
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    return bytes(made.SerializeToString(deterministic=True))


def contract_of(
    name: str, version: int, file: bytes, *, recurrent: bool = False, window: int = WINDOW, hop: int = 1
) -> tuple[ModelContract, bytes]:
    """The contract of such a file, and the file."""
    contract = ModelContract(
        model=name,
        version=version,
        signal_set=SIGNAL_SET,
        signals=SIGNALS,
        features=tuple(f"{one}.mean" for one in SIGNALS),
        window=window,
        hop=hop,
        threshold=1.0,
        digest=digest(file),
        memory=len(SIGNALS) if recurrent else 0,
    )
    return contract, file


def answer_of(factor: float, windows: Floats, memory: Floats | None = None) -> Inference:
    """What `model_of` answers, computed by numpy."""
    features = windows.mean(axis=1)
    deviations = features * np.float32(factor)
    if memory is None:
        return Inference(deviations.sum(axis=1), features, deviations)
    remembered = memory + features
    return Inference(remembered.sum(axis=1), features, deviations, remembered)


def windows_of(count: int, window: int = WINDOW, seed: int = 1) -> Floats:
    draw = np.random.default_rng(seed)
    return draw.standard_normal((count, window, len(SIGNALS))).astype(np.float32)


def card_of(contract: ModelContract) -> ModelCard:
    return ModelCard(
        model=contract.model,
        digest=contract.digest,
        at=MADE,
        architecture="means",
        trained=Trained(source="a test", assets=("acme.weld1",), windows=400),
        settings={"factor": 1.0},
        seed=1,
        measured=(Measured(what="F1 on a test", value=0.9, low=0.85, high=0.95),),
        limits=("none that is known",),
        reference={"score": tuple(QUANTILES)},
    )


def artefact_of(
    name: str,
    factor: float,
    *,
    recurrent: bool = False,
    window: int = WINDOW,
    hop: int = 1,
    golden: int = 16,
    error: float = 0.0,
) -> Artefact:
    """What training leaves; with an `error`, its golden answers are off by that much."""
    contract, file = model_of(name, 1, factor, recurrent=recurrent, window=window, hop=hop)
    return artefact_with(contract, file, factor, golden=golden, error=error)


def artefact_with(
    contract: ModelContract, file: bytes, factor: float = 1.0, *, golden: int = 16, error: float = 0.0
) -> Artefact:
    """The same around any file."""
    windows = windows_of(golden, contract.window)
    memory = windows_of(golden, contract.window, seed=2).mean(axis=1) if contract.memory else None
    answer = answer_of(factor, windows, memory)
    off = Inference(answer.score, answer.features, answer.deviations + np.float32(error), answer.memory)
    unnumbered = ModelContract(**{**_fields(contract), "version": 0})
    return Artefact(unnumbered, card_of(contract), file, Golden(windows, off, memory))


def _fields(contract: ModelContract) -> dict[str, object]:
    return {name: getattr(contract, name) for name in contract.__struct_fields__}
