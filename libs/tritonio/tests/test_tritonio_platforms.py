"""What lies in the repository for a CPU and for a GPU, and how a model comes from one to the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support.artefacts import model_of, windows_of

from twinloop.tritonio.config import parse
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.onnx_file import renamed
from twinloop.tritonio.onnx_server import OnnxModel
from twinloop.tritonio.repository import enlist, listed, publish, refresh, retire
from twinloop.tritonio.serving import CPU, GPU, Serving, ServingTable, Target


def files(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


@pytest.mark.parametrize("recurrent", [False, True])
def test_two_versions_that_were_trained_alike_have_graphs_of_different_names(recurrent: bool) -> None:
    """TensorRT would take the engine of one for the other: it looks at names, not at weights."""
    graphs = []
    for version, factor in ((1, 2.0), (2, 3.0)):
        contract, file = model_of("level", version, factor, recurrent=recurrent)
        copy = renamed(contract, file)
        graphs.append(onnx.load_from_string(copy).graph)
        given = windows_of(7)
        due, answer = OnnxModel(contract, file).infer(given), OnnxModel(contract, copy).infer(given)
        assert np.array_equal(due.score, answer.score)
        assert np.array_equal(due.deviations, answer.deviations)
        assert renamed(contract, file) == copy, "the engine is found again"
    one, other = graphs
    assert one.name != other.name
    assert [node.output for node in one.node] == [node.output for node in other.node], "nothing else differs"


def test_a_version_brings_what_runs_it(tmp_path: Path) -> None:
    contract, file = model_of("level", 1, 1.0)
    home = publish(tmp_path / "cpu", contract, file)
    assert files(home) == {"model.onnx", "contract.json", "model.py"}
    home = publish(tmp_path / "gpu", contract, file, target=Target(GPU))
    assert files(home) == {"model.onnx", "contract.json", "gpu.onnx"}
    assert (home / "model.onnx").read_bytes() == file
    assert (home / "gpu.onnx").read_bytes() == renamed(contract, file)


def test_a_repository_for_a_cpu_becomes_one_for_a_gpu(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        publish(tmp_path, *model_of("level", n, float(n)))
    retire(tmp_path, "level", 3)
    assert not refresh(tmp_path, "level"), "nothing has changed"
    assert refresh(tmp_path, "level", Target(GPU))
    config = parse((tmp_path / "level/config.pbtxt").read_text())
    assert (config.backend, config.default_model_filename) == ("onnxruntime", "gpu.onnx")
    for n in (1, 2):
        assert "gpu.onnx" in files(tmp_path / "level" / str(n))
    assert listed(tmp_path, "level") == (1, 2)
    assert not refresh(tmp_path, "level", Target(GPU))
    publish(tmp_path, *model_of("level", 4, 4.0), target=Target(CPU))
    assert parse((tmp_path / "level/config.pbtxt").read_text()).backend == "python"
    assert "model.py" in files(tmp_path / "level/1")
    assert not list(tmp_path.glob(".incoming*"))


def test_what_a_model_may_take_follows_the_table(tmp_path: Path) -> None:
    publish(tmp_path, *model_of("level", 1, 1.0))
    target = Target(CPU, ServingTable(default=Serving(instances=3)))
    assert refresh(tmp_path, "level", target)
    (group,) = parse((tmp_path / "level/config.pbtxt").read_text()).instance_group
    assert group.count == 3
    assert not refresh(tmp_path, "level", target)
    assert not refresh(tmp_path, "unknown", target)


def test_what_cannot_be_served_so_stays_as_it_is(tmp_path: Path) -> None:
    publish(tmp_path, *model_of("level", 1, 1.0))
    publish(tmp_path, *model_of("level", 2, 1.0, window=9))
    before = (tmp_path / "level/config.pbtxt").read_text()
    with pytest.raises(ContractMismatch, match="on a GPU"):
        refresh(tmp_path, "level", Target(GPU))
    assert (tmp_path / "level/config.pbtxt").read_text() == before
    contract, file = model_of("level", 3, 1.0)
    with pytest.raises(ContractMismatch, match="on a GPU"):
        publish(tmp_path, contract, file, target=Target(GPU))
    assert files(tmp_path / "level") == {"1", "2", "config.pbtxt"}


def test_which_versions_are_served_is_read_from_whatever_form_the_file_has(tmp_path: Path) -> None:
    publish(tmp_path, *model_of("level", 1, 1.0))
    path = tmp_path / "level/config.pbtxt"
    path.write_text('name: "level" version_policy: { specific: { versions: [3,1], versions: 2 } }  # by hand')
    assert listed(tmp_path, "level") == (1, 2, 3)
    path.write_text('version_policy { latest { num_versions: 2 } } backend: "python"')
    assert listed(tmp_path, "level") == ()
    path.write_text("half a fi")
    assert listed(tmp_path, "level") == ()
    enlist(tmp_path, "level", 1)
    assert listed(tmp_path, "level") == (1,)
