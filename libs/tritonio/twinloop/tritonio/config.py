"""`config.pbtxt`: what Triton is told of a model, rendered from the contracts of its versions.

All versions share one configuration. A dimension in which they differ is left open, and each version's own
contract is a parameter (`contract.<version>`), so that a client can compare it with the one it relies on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.server import MAX_BATCH


def parameter(version: int) -> str:
    """The name of the parameter that holds a version's contract."""
    return f"contract.{version}"


def render(contracts: Sequence[ModelContract], *, gpu: bool) -> str:
    """The configuration of one model with at least one version.

    Raises `ContractMismatch` unless all of them have a memory, or none has: it is an input, and Triton knows
    none that only some versions take.
    """
    recurrent = {one.memory > 0 for one in contracts}
    if len(recurrent) > 1:
        raise ContractMismatch(
            f"versions of {contracts[0].model} with a memory cannot lie beside versions without one:"
            " publish them as another model"
        )
    window = _common({one.window for one in contracts})
    signals = _common({len(one.signals) for one in contracts})
    wide = _common({len(one.features) for one in contracts})
    memory = _common({one.memory for one in contracts})
    versions = ", ".join(map(str, sorted(one.version for one in contracts)))
    parts = [
        f"name: {_text(contracts[0].model)}",
        'backend: "onnxruntime"' if gpu else 'backend: "python"',
        f"max_batch_size: {MAX_BATCH}",
        "input [",
        *([f'  {{ name: "memory" data_type: TYPE_FP32 dims: [ {memory} ] }},'] if memory else []),
        f'  {{ name: "windows" data_type: TYPE_FP32 dims: [ {window}, {signals} ] }}',
        "]",
        # One number a window: Triton wants a dimension here, the model has none.
        "output [",
        '  { name: "score" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } },',
        *([f'  {{ name: "next_memory" data_type: TYPE_FP32 dims: [ {memory} ] }},'] if memory else []),
        f'  {{ name: "features" data_type: TYPE_FP32 dims: [ {wide} ] }},',
        f'  {{ name: "deviations" data_type: TYPE_FP32 dims: [ {wide} ] }}',
        "]",
        f"version_policy {{ specific {{ versions: [ {versions} ] }} }}",
        *(_GPU if gpu else _CPU),
        *(
            _parameter(parameter(one.version), msgspec.json.encode(one).decode())
            for one in sorted(contracts, key=lambda one: one.version)
        ),
    ]
    return "\n".join(parts) + "\n"


_CPU = ("instance_group [ { kind: KIND_CPU count: 1 } ]",)
_GPU = (
    'default_model_filename: "model.onnx"',
    "instance_group [ { kind: KIND_GPU count: 1 } ]",
    "dynamic_batching { max_queue_delay_microseconds: 500 }",
    "optimization { execution_accelerators { gpu_execution_accelerator: [ {",
    '  name: "tensorrt"',
    '  parameters { key: "precision_mode" value: "FP32" }',
    '  parameters { key: "trt_engine_cache_enable" value: "true" }',
    "} ] } }",
)


def _parameter(key: str, value: str) -> str:
    return f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"


def _common(values: set[int]) -> int:
    """The dimension that all versions share, or -1, Triton's word for any."""
    return values.pop() if len(values) == 1 else -1


def _text(value: str) -> str:
    """A string of the protobuf text format; JSON's escapes are among its own."""
    return json.dumps(value, ensure_ascii=False)
