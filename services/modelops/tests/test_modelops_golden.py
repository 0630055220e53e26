"""Golden windows are run by a process of its own, which a bad model may hang, kill or fill."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.artefacts import SIGNALS, WINDOW, artefact_of, artefact_with, contract_of, file_of

from twinloop.modelops import golden, golden_process
from twinloop.modelops.errors import Refused, Step
from twinloop.modelops.golden import Bounds, enough, p99_s, run
from twinloop.tritonio.answers import differences
from twinloop.tritonio.artefact import Artefact, pack

GOOD = Bounds(20.0, 2 * 1024**3)


async def ran(made: Artefact, bounds: Bounds = GOOD) -> golden.Ran:
    return await run(made.contract, made.onnx, pack(made)["golden.npz"], bounds)


@pytest.mark.parametrize("recurrent", [False, True])
async def test_it_answers_as_the_trainer_did(recurrent: bool) -> None:
    made = artefact_of("level", 3.0, recurrent=recurrent)
    found = await ran(made)
    assert differences(made.contract, made.golden.answer, found.answer) == []
    assert enough(found.seconds, GOOD)
    assert not enough(found.seconds[:-1], GOOD)
    assert 0 < p99_s(found.seconds) < 5
    assert min(found.seconds) <= p99_s(found.seconds) <= max(found.seconds)


@pytest.mark.parametrize(("each_s", "requests"), [(0.001, 200), (0.02, 150), (0.06, 50), (1.0, 50)])
def test_a_slow_model_is_asked_less_often(each_s: float, requests: int) -> None:
    seconds: list[float] = []
    while not enough(seconds, Bounds(30.0)):
        seconds.append(each_s)
    assert len(seconds) == pytest.approx(requests, abs=1)


def test_two_requests_that_waited_for_the_machine_do_not_make_a_model_slow() -> None:
    assert p99_s([0.002] * 198 + [2.0] * 2) < 0.1
    assert p99_s([0.002] * 197 + [2.0] * 3) > 1.0


def model_that(*nodes: object, **weights: np.ndarray) -> Artefact:
    """A model whose score comes of `nodes`, which are given `features` and make `sum` [N, 1]."""
    wide = len(SIGNALS)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
            *nodes,
            helper.make_node("ReduceSum", ["sum", "last"], ["score"], keepdims=0),
        ],
        "odd",
        [helper.make_tensor_value_info("windows", TensorProto.FLOAT, ["N", WINDOW, wide])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", wide]),
            helper.make_tensor_value_info("deviations", TensorProto.FLOAT, ["N", wide]),
        ],
        [
            numpy_helper.from_array(value, name)
            for name, value in {"last": np.array([1], np.int64), **weights}.items()
        ],
    )
    return artefact_with(*contract_of("odd", 1, file_of(graph)))


def hanging() -> Artefact:
    """Counts to nine quintillions."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Sin", ["was"], ["is"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("was", TensorProto.FLOAT, ["N", len(SIGNALS)]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("is", TensorProto.FLOAT, ["N", len(SIGNALS)]),
        ],
    )
    return model_that(
        helper.make_node("Loop", ["often", "", "features"], ["sum"], body=body),
        often=np.array(2**63 - 1, np.int64),
    )


def filling() -> Artefact:
    """Makes a tensor of 1.5 GiB: more than it may, and less than there is."""
    return model_that(
        helper.make_node("ConstantOfShape", ["much"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["features", "zero"], ["sum"]),
        much=np.array([2**14, 3 * 2**13], np.int64),
    )


async def test_one_that_never_ends_is_ended() -> None:
    with pytest.raises(Refused, match=r"run: the golden windows took longer than 3 s"):
        await ran(hanging(), Bounds(3.0, 2 * 1024**3))


async def test_the_process_ends_also_when_nobody_waits_for_it(tmp_path: Path) -> None:
    """As when modelops was killed meanwhile."""
    made = hanging()
    (tmp_path / "model.onnx").write_bytes(made.onnx)
    (tmp_path / "golden.npz").write_bytes(pack(made)["golden.npz"])
    process = await asyncio.create_subprocess_exec(
        sys.executable, golden_process.__file__, str(tmp_path), "2", str(2 * 1024**3), "1", "1", "1"
    )
    assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGALRM


async def test_one_that_does_not_end_by_itself_is_ended_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Should its own alarm fail it."""
    script = tmp_path / "golden_process.py"
    script.write_text(
        "import os, time\nopen(os.sys.argv[1] + '/pid', 'w').write(str(os.getpid()))\ntime.sleep(60)"
    )
    monkeypatch.setattr(golden.resources, "files", lambda _: tmp_path)
    monkeypatch.setattr(golden, "_LATE_S", 0.5)
    with pytest.raises(Refused, match=r"took longer than 0\.5 s"):
        await ran(artefact_of("level", 1.0), Bounds(0.5, 2 * 1024**3))


async def test_one_that_wants_too_much_memory_gets_none() -> None:
    with pytest.raises(Refused, match=r"run: .* with 1024 MiB to use"):
        await ran(filling(), Bounds(20.0, 1024**3))


async def test_one_that_kills_its_process_kills_nobody_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "golden_process.py").write_text("import os\nos.kill(os.getpid(), 11)")
    monkeypatch.setattr(golden.resources, "files", lambda _: tmp_path)
    with pytest.raises(Refused, match=r"run: its process died \(SIGSEGV\)"):
        await ran(artefact_of("level", 1.0))


async def test_what_onnxruntime_cannot_run_is_told_in_its_words() -> None:
    # The shapes fit for the checker and not for each other.
    made = model_that(
        helper.make_node("MatMul", ["features", "weights"], ["sum"]), weights=np.zeros((5, 1), np.float32)
    )
    with pytest.raises(Refused, match=r"run: it cannot be run with 2048 MiB to use: .*MatMul"):
        await ran(made)


async def test_what_is_no_number_is_no_answer() -> None:
    made = model_that(helper.make_node("Log", ["features"], ["sum"]))
    with pytest.raises(Refused, match=r"compare: .*NaN or infinity") as caught:
        await ran(made)
    assert caught.value.step is Step.COMPARE


async def test_one_that_has_no_answer_to_zeros_is_refused_as_its_health_is_told_by_them() -> None:
    """Windows in units of their own size: a usual way to scale, and 0 / 0 where a signal stands still."""
    made = model_that(
        helper.make_node("Abs", ["features"], ["size"]),
        helper.make_node("Div", ["features", "size"], ["sum"]),
    )
    with pytest.raises(Refused, match=r"compare: .*NaN or infinity to a window of zeros"):
        await ran(made)


async def test_the_process_knows_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWINLOOP_TOKEN", "secret")
    said = tmp_path / "said"
    (tmp_path / "golden_process.py").write_text(
        f"import os\nopen({str(said)!r}, 'w').write(' '.join(os.environ))\nraise SystemExit(1)"
    )
    monkeypatch.setattr(golden.resources, "files", lambda _: tmp_path)
    with pytest.raises(Refused):
        await ran(artefact_of("level", 1.0))
    assert "PATH" in said.read_text()
    assert "TWINLOOP" not in said.read_text()


async def test_nothing_is_left_on_the_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden.tempfile, "tempdir", str(tmp_path))
    await ran(artefact_of("level", 1.0))
    with pytest.raises(Refused):
        await ran(model_that(helper.make_node("Log", ["features"], ["sum"])))
    assert list(tmp_path.iterdir()) == []
