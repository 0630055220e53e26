"""What is written into `config.pbtxt` is what the contracts and `serving.toml` say, and Triton's own format.

`golden/` holds whole files. When they are to change: `python libs/tritonio/tests/test_tritonio_config.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as pb

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.config import configuration, parameter, parse, render
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.server import MAX_BATCH, REQUEST_BYTES
from twinloop.tritonio.serving import CPU, GPU, Platform, Serving, ServingTable, Target, TensorRT

GOLDEN = Path(__file__).parent / "golden"


def contract(version: int = 1, **fields: Any) -> ModelContract:
    """A contract that differs from others of these in `fields` only."""
    given: dict[str, Any] = {
        "model": "weld",
        "version": version,
        "signal_set": "weld.v1",
        "signals": ("plasma", "temperature", "back_reflection"),
        "features": ("plasma.mean", "temperature.mean"),
        "window": 100,
        "hop": 10,
        "threshold": 1.5,
        "digest": f"{version:064x}",
        "memory": 0,
    }
    return ModelContract(**(given | fields))


TABLE = ServingTable(
    engine_cache="/engines",
    default=Serving(instances=2),
    models={"cells": Serving(priority=3, batch=16, delay_s=0.002)},
)
RENDERED = {
    "cpu.pbtxt": ([contract(1), contract(2, window=200)], Target()),
    "cpu-recurrent.pbtxt": ([contract(7, model="cells", memory=5)], Target(CPU, TABLE)),
    "gpu.pbtxt": ([contract(1), contract(2)], Target(GPU)),
    "gpu-recurrent.pbtxt": ([contract(7, model="cells", memory=5)], Target(GPU, TABLE)),
}

words = st.text(min_size=1, max_size=8)
names = st.lists(words, min_size=1, max_size=4).map(tuple)
servings = st.builds(
    Serving,
    instances=st.integers(1, 64),
    priority=st.integers(1, 3),
    tensorrt=st.sampled_from([TensorRT.FP32, TensorRT.OFF]),
    workspace_bytes=st.integers(2**20, 2**40),
    batch=st.integers(1, MAX_BATCH),
    delay_s=st.integers(0, 1000).map(lambda ms: ms / 1000),
)


@st.composite
def models(draw: st.DrawFn, platform: Platform) -> list[ModelContract]:
    """Versions of a model that may lie beside each other."""
    recurrent = draw(st.booleans())
    numbers = draw(st.lists(st.integers(1, 10_000), min_size=1, max_size=4, unique=True))

    def shape() -> dict[str, Any]:
        return {
            "signals": draw(names),
            "features": draw(names),
            "window": draw(st.integers(1, 5000)),
            "memory": draw(st.integers(1, 5000)) if recurrent else 0,
        }

    same = shape()
    return [
        contract(
            number,
            **(same if platform is GPU else shape()),
            signal_set=draw(words),
            threshold=draw(st.floats(allow_nan=False, allow_infinity=False)),
        )
        for number in numbers
    ]


@given(st.data(), st.sampled_from(list(Platform)), servings)
def test_what_is_written_is_read_back_by_tritons_own_format(
    data: st.DataObject, platform: Platform, serving: Serving
) -> None:
    given_ = data.draw(models(platform))
    target = Target(platform, ServingTable(models={"weld": serving}))
    config = parse(render(given_, target))
    assert config == configuration(given_, target)
    assert list(config.version_policy.specific.versions) == sorted(one.version for one in given_)
    for one in given_:
        kept = config.parameters[parameter(one.version)].string_value
        assert msgspec.json.decode(kept, type=ModelContract) == one
    tensors = {one.name: list(one.dims) for one in (*config.input, *config.output)}
    for one in given_:
        wide = [len(one.features)]
        due = {
            "windows": [one.window, len(one.signals)],
            "score": [1],
            "features": wide,
            "deviations": wide,
        }
        if one.memory:
            due["memory"] = due["next_memory"] = [one.memory]
        assert tensors.keys() == due.keys()
        for name, dims in due.items():
            for told, wanted in zip(tensors[name], dims, strict=True):
                assert told in (wanted, -1)
                assert told == wanted or len(given_) > 1
    (group,) = config.instance_group
    assert group.count == serving.instances
    assert config.HasField("dynamic_batching") == (platform is GPU)
    assert not config.dynamic_batching.HasField("default_queue_policy"), "Triton would stall"


@given(models(GPU), servings)
def test_tensorrt_is_told_of_every_request_that_may_come(
    given_: list[ModelContract], serving: Serving
) -> None:
    one = given_[0]
    config = configuration(given_, Target(GPU, ServingTable(default=serving)))
    most = config.max_batch_size
    window_bytes = 4 * one.window * len(one.signals)
    assert most == min(MAX_BATCH, max(1, REQUEST_BYTES // window_bytes))
    assert list(config.dynamic_batching.preferred_batch_size) == [min(serving.batch, most)]
    warm = {one.batch_size: one.inputs for one in config.model_warmup}
    assert set(warm) == {1, min(serving.batch, most), most}
    inputs = {one.name: list(one.dims) for one in config.input}
    for sample in warm.values():
        assert {name: list(tensor.dims) for name, tensor in sample.items()} == inputs
        assert {(tensor.data_type, tensor.zero_data) for tensor in sample.values()} == {(pb.TYPE_FP32, True)}
    if serving.tensorrt is TensorRT.OFF:
        assert not config.HasField("optimization")
        return
    (tensorrt,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    for bound, windows in (("min", 1), ("opt", min(serving.batch, most)), ("max", most)):
        shapes = dict(one.split(":") for one in tensorrt.parameters[f"trt_profile_{bound}_shapes"].split(","))
        assert shapes == {
            name: "x".join(str(size) for size in (windows, *dims)) for name, dims in inputs.items()
        }


def test_a_gpu_is_told_field_by_field() -> None:
    config = configuration([contract(2), contract(1)], Target(GPU, TABLE))
    assert (config.name, config.backend, config.default_model_filename) == ("weld", "onnxruntime", "gpu.onnx")
    assert config.max_batch_size == MAX_BATCH
    assert [(one.kind, one.count) for one in config.instance_group] == [(pb.ModelInstanceGroup.KIND_GPU, 2)]
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [64]
    assert batching.max_queue_delay_microseconds == 500
    (tensorrt,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert tensorrt.name == "tensorrt"
    assert dict(tensorrt.parameters) == {
        "precision_mode": "FP32",
        "max_workspace_size_bytes": str(2**30),
        "trt_profile_min_shapes": "windows:1x100x3",
        "trt_profile_opt_shapes": "windows:64x100x3",
        "trt_profile_max_shapes": "windows:1024x100x3",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/engines",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/engines",
    }
    assert config.parameters["cudnn_conv_algo_search"].string_value == "1"
    assert [one.batch_size for one in config.model_warmup] == [1, 64, 1024]
    half = Target(GPU, ServingTable(default=Serving(tensorrt=TensorRT.FP16)))
    (tensorrt,) = configuration(
        [contract()], half
    ).optimization.execution_accelerators.gpu_execution_accelerator
    assert tensorrt.parameters["precision_mode"] == "FP16"
    assert "trt_engine_cache_enable" not in tensorrt.parameters


def test_a_memory_goes_in_and_comes_out() -> None:
    for platform in Platform:
        config = configuration([contract(memory=5)], Target(platform))
        assert [(one.name, list(one.dims)) for one in config.input] == [
            ("memory", [5]),
            ("windows", [100, 3]),
        ]
        assert ("next_memory", [5]) in [(one.name, list(one.dims)) for one in config.output]


def test_a_priority_is_how_nice_a_process_is() -> None:
    told = {}
    for priority in (1, 2, 3):
        table = ServingTable(default=Serving(priority=priority))
        config = configuration([contract()], Target(CPU, table))
        told[priority] = config.parameters["nice"].string_value if "nice" in config.parameters else "0"
    assert told == {1: "0", 2: "5", 3: "10"}


@pytest.mark.parametrize(
    ("versions", "target", "why"),
    [
        ([contract(1), contract(2, memory=3)], Target(), "cannot lie beside versions without one"),
        ([contract(1), contract(2, window=50)], Target(GPU), "cannot lie beside each other on a GPU"),
        ([contract(1), contract(2, features=("a",))], Target(GPU), "publish them as another model"),
        (
            [contract(1, memory=3)],
            Target(GPU, ServingTable(models={"weld": Serving(tensorrt=TensorRT.FP16)})),
            "has a memory, which fp16 cannot keep",
        ),
    ],
)
def test_what_triton_could_not_serve_is_not_written(
    versions: list[ModelContract], target: Target, why: str
) -> None:
    with pytest.raises(ContractMismatch, match=why):
        render(versions, target)


def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(ContractMismatch, match='no field named "no_such_field"'):
        parse(render([contract()], Target()) + "no_such_field: 3\n")


@pytest.mark.parametrize("name", RENDERED)
def test_whole_files_are_as_they_were(name: str) -> None:
    assert render(*RENDERED[name]) == (GOLDEN / name).read_text()


if __name__ == "__main__":
    for name, what in RENDERED.items():
        (GOLDEN / name).write_text(render(*what))
