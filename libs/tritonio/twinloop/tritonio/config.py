"""`config.pbtxt`: what Triton is told of a model, from the contracts of its versions and what it may take.

It is built as Triton's own `ModelConfig` and printed from that, so that there is no field in it that Triton
does not know. All versions share one. Each version's own contract is a parameter (`contract.<version>`), so
that a client can compare it with the one it relies on. On a CPU, a dimension in which versions differ is left
open; onnxruntime's backend on a GPU takes none that differs from the file's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.gpu import GPU_FILE, accelerators, warm_up
from twinloop.tritonio.server import MAX_BATCH, largest_request
from twinloop.tritonio.serving import Platform, Serving, Target

ModelConfig = Any
"""`model_config_pb2.ModelConfig`, which has no types."""

_HEAD = "# Written by Twinloop, from the contracts of the versions and serving.toml: change that one.\n"
_HEURISTIC = "1"
_NICE = {1: 0, 2: 5, 3: 10}
"""How nice a process of each priority is: where they compete, each gets three times as much as the next."""


def parameter(version: int) -> str:
    """The name of the parameter that holds a version's contract."""
    return f"contract.{version}"


def render(contracts: Sequence[ModelContract], target: Target) -> str:
    """The configuration of one model with at least one version, as text. Raises what `configuration` does."""
    return _HEAD + text_format.MessageToString(configuration(contracts, target), as_utf8=True)


def parse(text: str) -> ModelConfig:
    """The configuration in a `config.pbtxt`. Raises `ContractMismatch`."""
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        raise ContractMismatch(f"this is no model configuration: {error}") from error


def configuration(contracts: Sequence[ModelContract], target: Target) -> ModelConfig:
    """The configuration of one model with at least one version.

    Raises `ContractMismatch` when versions cannot lie beside each other, or cannot be served as `target`
    wants it.
    """
    ordered = sorted(contracts, key=lambda one: one.version)
    one = ordered[0]
    gpu, serving = target.platform is Platform.GPU, target.table.of(one.model)
    _check(ordered, gpu=gpu)
    window = _common({one.window for one in ordered})
    signals = _common({len(one.signals) for one in ordered})
    wide = _common({len(one.features) for one in ordered})
    memory = _common({one.memory for one in ordered})
    config = pb.ModelConfig(
        name=one.model,
        backend="onnxruntime" if gpu else "python",
        max_batch_size=largest_request(one.window, len(one.signals)) if gpu else MAX_BATCH,
        input=[
            *([_tensor(pb.ModelInput, "memory", memory)] if memory else []),
            _tensor(pb.ModelInput, "windows", window, signals),
        ],
        # One number a window: Triton wants a dimension here, the model has none.
        output=[
            _tensor(pb.ModelOutput, "score", 1, reshape=pb.ModelTensorReshape(shape=[])),
            *([_tensor(pb.ModelOutput, "next_memory", memory)] if memory else []),
            _tensor(pb.ModelOutput, "features", wide),
            _tensor(pb.ModelOutput, "deviations", wide),
        ],
        version_policy=pb.ModelVersionPolicy(
            specific=pb.ModelVersionPolicy.Specific(versions=[one.version for one in ordered])
        ),
        instance_group=[
            pb.ModelInstanceGroup(
                kind=pb.ModelInstanceGroup.KIND_GPU if gpu else pb.ModelInstanceGroup.KIND_CPU,
                count=serving.instances,
            )
        ],
    )
    for each in ordered:
        _tell(config, parameter(each.version), msgspec.json.encode(each).decode())
    if gpu:
        _for_gpu(config, one, serving, target.table.engine_cache)
    elif nice := _NICE[serving.priority]:
        _tell(config, "nice", str(nice))
    return config


def _for_gpu(
    config: ModelConfig, contract: ModelContract, serving: Serving, engine_cache: str | None
) -> None:
    most = config.max_batch_size
    config.default_model_filename = GPU_FILE
    # With any queue policy Triton 2.51 lets requests wait for half a second now and then, and in the end for
    # ever: https://github.com/triton-inference-server/server/issues/8870
    config.dynamic_batching.preferred_batch_size.append(min(serving.batch, most))
    config.dynamic_batching.max_queue_delay_microseconds = round(serving.delay_s * 1e6)
    for accelerator in accelerators(contract, most, serving, engine_cache):
        config.optimization.execution_accelerators.gpu_execution_accelerator.append(accelerator)
    config.model_warmup.extend(warm_up(contract, most, serving))
    # The default tries every algorithm again for each new number of windows.
    _tell(config, "cudnn_conv_algo_search", _HEURISTIC)


def _check(contracts: Sequence[ModelContract], *, gpu: bool) -> None:
    model = contracts[0].model
    if len({one.memory > 0 for one in contracts}) > 1:  # an input, and Triton knows none that some have
        raise ContractMismatch(
            f"versions of {model} with a memory cannot lie beside versions without one:"
            " publish them as another model"
        )
    shapes = sorted({(one.window, len(one.signals), len(one.features), one.memory) for one in contracts})
    if gpu and len(shapes) > 1:
        raise ContractMismatch(
            f"versions of {model} with other shapes (window, signals, features, memory: {shapes}) cannot lie"
            " beside each other on a GPU: publish them as another model"
        )


def _tensor(kind: Any, name: str, *dims: int, **more: Any) -> Any:
    return kind(name=name, data_type=pb.TYPE_FP32, dims=dims, **more)


def _tell(config: ModelConfig, name: str, value: str) -> None:
    config.parameters[name].string_value = value


def _common(values: set[int]) -> int:
    """The dimension that all versions share, or -1, Triton's word for any."""
    return values.pop() if len(values) == 1 else -1
