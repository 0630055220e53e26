"""How much of one Triton each model takes: what `serving.toml` says, on the real server.

It has one core here, so that models compete; and who is served is counted, not timed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper, numpy_helper
from support.artefacts import SIGNALS, WINDOW, contract_of, file_of, windows_of
from support.stubs import stubs
from tritonclient.grpc import model_config_pb2 as pb

from twinloop.contracts.models import ModelContract
from twinloop.local.stack import Stack
from twinloop.tritonio.client import TritonClient
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.config import configuration
from twinloop.tritonio.errors import ModelUnavailable, TritonError
from twinloop.tritonio.repository import publish
from twinloop.tritonio.serving import GPU, Serving, ServingTable, Target, TensorRT

LAYERS, WIDE = 10, 512
BATCH = 64


def busy(model: str, *, recurrent: bool = False) -> tuple[ModelContract, bytes]:
    """A model that computes for some ten milliseconds: the means, through layers that come to nothing."""
    wide = len(SIGNALS)
    draw = np.random.default_rng(1)
    node, tensor = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
        node("MatMul", ["features", "first"], ["layer0"]),
    ]
    for n in range(LAYERS):
        nodes += [
            node("MatMul", [f"layer{n}", "next"], [f"sum{n}"]),
            node("Tanh", [f"sum{n}"], [f"layer{n + 1}"]),
        ]
    nodes += [
        node("ReduceSum", [f"layer{LAYERS}", "one"], ["score"], keepdims=0),
        node("Identity", ["features"], ["deviations"]),
    ]
    inputs = [tensor("windows", TensorProto.FLOAT, ["N", WINDOW, wide])]
    outputs = [tensor("score", TensorProto.FLOAT, ["N"])]
    outputs += [tensor(name, TensorProto.FLOAT, ["N", wide]) for name in ("features", "deviations")]
    if recurrent:
        nodes.append(node("Add", ["memory", "features"], ["next_memory"]))
        inputs.append(tensor("memory", TensorProto.FLOAT, ["N", wide]))
        outputs.append(tensor("next_memory", TensorProto.FLOAT, ["N", wide]))
    weights = [
        numpy_helper.from_array((draw.standard_normal((wide, WIDE)) / 10).astype(np.float32), "first"),
        numpy_helper.from_array((draw.standard_normal((WIDE, WIDE)) / 30).astype(np.float32), "next"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    file = file_of(helper.make_graph(nodes, "busy", inputs, outputs, weights))
    return contract_of(model, 1, file, recurrent=recurrent)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A Triton of one core."""
    cores = os.sched_getaffinity(0)
    stack = Stack(tmp_path_factory.mktemp("narrow"), parts=("triton",))
    with asyncio.Runner() as runner:
        os.sched_setaffinity(0, {min(cores)})  # children inherit it
        try:
            runner.run(stack.__aenter__())
        finally:
            os.sched_setaffinity(0, cores)
        try:
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


@pytest.fixture
async def server(narrow: Stack) -> AsyncIterator[TritonClient]:
    async with triton_client(narrow.endpoints.triton, deadline_s=60) as client:
        yield client
        for model in await client.serving():
            await client.unload(model)


def put(stack: Stack, model: str, serving: Serving) -> ModelContract:
    """Publish a busy model that may take so much."""
    contract, file = busy(model)
    target = Target(table=ServingTable(models={model: serving}))
    publish(stack.endpoints.model_repository, contract, file, target=target)
    return contract


async def served(
    server: TritonClient, asked: Sequence[tuple[ModelContract, int]], total: int = 300
) -> list[int]:
    """How many requests of each are answered, of `total`, while so many of each are always under way."""
    counts = dict.fromkeys((contract.model for contract, _ in asked), 0)

    async def ask(contract: ModelContract) -> None:
        while sum(counts.values()) < total:
            await server.infer(contract, windows_of(BATCH))
            counts[contract.model] += 1

    await asyncio.gather(*(ask(contract) for contract, times in asked for _ in range(times)))
    return list(counts.values())


async def test_where_models_compete_the_one_of_higher_priority_is_served_more(
    narrow: Stack, server: TritonClient
) -> None:
    """The third priority gets a tenth of the core, by the kernel's weights."""
    high, equal, low = (
        put(narrow, name, Serving(priority=priority))
        for name, priority in (("high", 1), ("equal", 1), ("low", 3))
    )
    for one in (high, equal, low):
        await server.load(one.model)
        await server.probe(one)
    (first,), (third,) = stubs("high"), stubs("low")
    assert third.nice() - first.nice() == 10
    one, other = await served(server, [(high, 2), (equal, 2)])
    assert 0.5 < one / other < 2
    one, other = await served(server, [(high, 2), (low, 2)])
    assert one > 3 * other
    assert other > 0, "and the other one is not forgotten"


async def test_so_many_requests_are_run_at_once_as_there_are_instances(
    narrow: Stack, server: TritonClient
) -> None:
    contract = put(narrow, "twofold", Serving(instances=2))
    await server.load(contract.model)
    await server.probe(contract)
    assert len(stubs("twofold")) == 2


async def test_a_flood_of_one_model_leaves_the_others_their_share(
    narrow: Stack, server: TritonClient
) -> None:
    """A version has one process of one thread: of the core it gets as much as any other."""
    greedy, modest = put(narrow, "greedy", Serving()), put(narrow, "modest", Serving())
    for one in (greedy, modest):
        await server.load(one.model)
        await server.probe(one)
    many, few = await served(server, [(greedy, 16), (modest, 1)])
    assert few > many / 8


GPU_TABLE = ServingTable(engine_cache="/engines", default=Serving(instances=2, batch=16))


@pytest.mark.parametrize("recurrent", [False, True])
async def test_this_triton_takes_all_of_a_configuration_for_a_gpu_but_the_gpu(
    narrow: Stack, server: TritonClient, recurrent: bool
) -> None:
    """Its batching and warm-up run, in the Python backend; a warm-up that does not fit is noticed."""
    contract, file = busy(f"warm-{recurrent}", recurrent=recurrent)
    home = publish(narrow.endpoints.model_repository, contract, file)
    config = configuration([contract], Target(GPU, GPU_TABLE))
    config.backend, config.default_model_filename = "python", ""
    config.instance_group[0].kind = pb.ModelInstanceGroup.KIND_CPU
    config.ClearField("optimization")
    path = home.parent / "config.pbtxt"
    path.write_text(text_format.MessageToString(config))
    await server.load(contract.model)
    memory = np.ones((5, contract.memory), np.float32) if recurrent else None
    answer = await server.infer(contract, windows_of(5), memory=memory)
    assert np.allclose(answer.features, windows_of(5).mean(axis=1), atol=1e-5)
    await server.unload(contract.model)
    config.model_warmup[-1].inputs["windows"].dims[0] += 1
    path.write_text(text_format.MessageToString(config))
    with pytest.raises(ModelUnavailable, match="unexpected shape for input 'windows'"):
        await server.load(contract.model)


async def test_this_triton_reads_a_configuration_for_a_gpu_and_misses_the_backend(
    narrow: Stack, server: TritonClient
) -> None:
    root = narrow.endpoints.model_repository
    problems = {}
    for name, serving in (
        ("with", Serving()),
        ("without", Serving(tensorrt=TensorRT.OFF)),
        ("spoilt", Serving()),
    ):
        contract, file = busy(name)
        home = publish(root, contract, file, target=Target(GPU, ServingTable(default=serving)))
        if name == "spoilt":
            config: Path = home.parent / "config.pbtxt"
            config.write_text(config.read_text() + "no_such_field: 3\n")
        with pytest.raises(TritonError) as raised:
            await server.load(name)
        problems[name] = str(raised.value)
    assert "onnxruntime" in problems["with"]
    assert "onnxruntime" in problems["without"]
    assert "onnxruntime" not in problems["spoilt"], "it did not come so far"
