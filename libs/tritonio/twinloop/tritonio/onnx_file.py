"""Whether an ONNX file is what its contract says, before Triton ever sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.promise import unkept

MAX_OPSET = 17
MAX_IR = 9
"""What the onnxruntime of every Triton that we serve on can read."""

_UNREADABLE = (DecodeError, onnx.checker.ValidationError, ValueError, RecursionError)
_FLOAT = onnx.TensorProto.FLOAT
_EXTERNAL = onnx.TensorProto.EXTERNAL


def digest(file: bytes) -> str:
    """What a contract's `digest` must be: the SHA-256 of the ONNX file, in hex."""
    return hashlib.sha256(file).hexdigest()


def problems(contract: ModelContract, file: bytes) -> list[str]:
    """Every difference, as a sentence's part each; empty when the file keeps the contract."""
    if wrong := unkept(contract):
        return wrong
    try:
        return _differences(contract, onnx.load_from_string(file))
    except _UNREADABLE as error:
        return [f"not a valid ONNX file ({(str(error).strip() or type(error).__name__).splitlines()[0]})"]


def _differences(contract: ModelContract, model: onnx.ModelProto) -> list[str]:
    found = _newer(model)  # said first: what a newer opset allows may be invalid in the checker's eyes
    if not found:
        onnx.checker.check_model(model)
    if outside := sorted({str(one.name) for one in _weights(model.graph) if one.data_location == _EXTERNAL}):
        found.append(f"weights lie outside of the file ({', '.join(outside[:3])})")
    wide = len(contract.features)
    inputs = {"windows": [contract.window, len(contract.signals)]}
    outputs: dict[str, list[int]] = {"score": [], "features": [wide], "deviations": [wide]}
    if contract.memory:
        inputs["memory"] = outputs["next_memory"] = [contract.memory]
    found += _tensors("input", model.graph.input, inputs)
    found += _tensors("output", model.graph.output, outputs)
    return found


def _newer(model: onnx.ModelProto) -> list[str]:
    found = []
    opset = max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)
    if opset > MAX_OPSET:
        found.append(f"opset {opset} is newer than {MAX_OPSET}")
    if model.ir_version > MAX_IR:
        found.append(f"IR version {model.ir_version} is newer than {MAX_IR}")
    return found


def _weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that is in a graph, and in the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _weights(inner)


def _tensors(kind: str, given: list[onnx.ValueInfoProto], due: dict[str, list[int]]) -> list[str]:
    """What differs from `due`: names, and dimensions after the batch dimension."""
    found = []
    present = {str(one.name): one.type.tensor_type for one in given}  # one that is no text is bytes
    if set(present) != set(due):
        found.append(f"the {kind}s are {sorted(present)}, not {sorted(due)}")
    for name in sorted(set(present) & set(due)):
        tensor = present[name]
        dims = [one.dim_value if one.HasField("dim_value") else -1 for one in tensor.shape.dim]
        if tensor.elem_type != _FLOAT:
            found.append(f"{kind} {name} is not float32")
        if dims != [-1, *due[name]]:
            found.append(f"{kind} {name} has shape {dims}, not {[-1, *due[name]]}")
    return found


def renamed(contract: ModelContract, file: bytes) -> bytes:
    """The ONNX `file` under a name that no other has; it computes the same."""
    model = onnx.load_from_string(file)
    model.graph.name = f"{contract.model}-{contract.digest[:16]}"
    return bytes(model.SerializeToString(deterministic=True))
