"""What a GPU runs: the file of a version, TensorRT's options, and what is run before anybody asks.

TensorRT builds an engine from a graph, which takes from seconds to minutes, and keeps it in `engine_cache`
under the graph's name and the names in it: what the graph's weights are does not matter to it
(https://github.com/microsoft/onnxruntime/issues/6455). Two versions that were trained alike would be served
by the engine of one of them. So what Triton loads is a copy of the version's file whose graph is named after
the digest of that file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.serving import Serving, TensorRT

GPU_FILE = "gpu.onnx"
"""Of a version's folder: what Triton loads on a GPU."""


def accelerators(
    contract: ModelContract, most: int, serving: Serving, engine_cache: str | None
) -> Iterator[Any]:
    """TensorRT for requests of 1 to `most` windows; nothing where it is off. What it cannot take, and
    everything without it, onnxruntime's CUDA kernels do.

    Raises `ContractMismatch` for a recurrent model in half precision: what it counts and adds up in its
    memory would be lost.
    """
    if serving.tensorrt is TensorRT.OFF:
        return
    if contract.memory and serving.tensorrt is TensorRT.FP16:
        raise ContractMismatch(
            f"{contract.model} has a memory, which fp16 cannot keep: serve it with tensorrt = fp32 or off"
        )
    options = {
        "precision_mode": serving.tensorrt.upper(),
        "max_workspace_size_bytes": str(serving.workspace_bytes),
        "trt_profile_min_shapes": _profile(contract, 1),
        "trt_profile_opt_shapes": _profile(contract, min(serving.batch, most)),
        "trt_profile_max_shapes": _profile(contract, most),
    }
    if engine_cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": engine_cache,
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": engine_cache,
        }
    yield pb.ModelOptimizationPolicy.ExecutionAccelerators.Accelerator(name="tensorrt", parameters=options)


def warm_up(contract: ModelContract, most: int, serving: Serving) -> Iterator[Any]:
    """Requests of zeros that each instance answers before it is ready: of one window, of as many as there
    usually are, and of as many as there may be."""
    for windows in sorted({1, min(serving.batch, most), most}):
        yield pb.ModelWarmup(
            name=f"{windows} windows",
            batch_size=windows,
            inputs={
                name: pb.ModelWarmup.Input(data_type=pb.TYPE_FP32, dims=dims, zero_data=True)
                for name, dims in _inputs(contract).items()
            },
        )


def _inputs(contract: ModelContract) -> dict[str, tuple[int, ...]]:
    """The dimensions of each input, without the batch."""
    inputs: dict[str, tuple[int, ...]] = {"windows": (contract.window, len(contract.signals))}
    return {"memory": (contract.memory,), **inputs} if contract.memory else inputs


def _profile(contract: ModelContract, windows: int) -> str:
    return ",".join(
        f"{name}:{'x'.join(map(str, (windows, *dims)))}" for name, dims in _inputs(contract).items()
    )
