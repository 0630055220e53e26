"""The model repository: what is published is whole, and leaves whole, whoever dies meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from msgspec.structs import replace
from support.artefacts import model_of

from twinloop.tritonio.errors import ContractMismatch, VersionTaken
from twinloop.tritonio.onnx_file import digest
from twinloop.tritonio.repository import (
    contracts,
    enlist,
    listed,
    models,
    next_version,
    publish,
    retire,
    retired,
    retired_models,
    sweep,
    unreadable,
    withdraw,
)
from twinloop.tritonio.serving import CPU, GPU, Target


def test_what_is_not_what_its_contract_says_is_not_published(tmp_path: Path) -> None:
    contract, file = model_of("one", 1, 1.0)
    for wrong, why in (
        (replace(contract, window=5), "input windows has shape"),
        (replace(contract, features=("a", "b", "c")), "output features has shape"),
        (replace(contract, digest="0"), "the digest of the file is"),
        (replace(contract, model="../one"), "no name and version"),
    ):
        with pytest.raises(ContractMismatch, match=why):
            publish(tmp_path, wrong, file)
    assert contracts(tmp_path, "one") == ()
    with pytest.raises(ContractMismatch, match="the inputs are"):
        publish(tmp_path, replace(contract, memory=2), file)
    assert publish(tmp_path, contract, file) == tmp_path / "one" / "1"
    assert contracts(tmp_path, "one") == (contract,)
    assert not list(tmp_path.glob(".incoming*"))
    with pytest.raises(ContractMismatch, match="cannot lie beside versions without one"):
        publish(tmp_path, *model_of("one", 2, 1.0, recurrent=True))
    assert contracts(tmp_path, "one") == (contract,)


def test_a_number_is_not_given_again_while_its_folder_is_there(tmp_path: Path) -> None:
    publish(tmp_path, *model_of("one", 1, 1.0))
    (tmp_path / "one" / "7").mkdir()
    assert next_version(tmp_path, "one") == 8


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b'{"model": "one"}'])
def test_a_contract_that_cannot_be_read_is_told_and_its_model_is_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    for number in (1, 2):
        publish(tmp_path, *model_of("one", number, float(number)))
    path = tmp_path / "one" / "2" / "contract.json"
    path.write_bytes(content)
    assert unreadable(tmp_path) == (path,)
    assert [one.version for one in contracts(tmp_path, "one")] == [1]
    before = (tmp_path / "one" / "config.pbtxt").read_bytes()
    for change in (
        lambda: publish(tmp_path, *model_of("one", 3, 3.0)),
        lambda: retire(tmp_path, "one", 1),
        lambda: withdraw(tmp_path, "one", 1),
        lambda: enlist(tmp_path, "one", 3),
    ):
        with pytest.raises(ContractMismatch, match="cannot be read: mend it, or remove its folder"):
            change()
    assert (tmp_path / "one" / "config.pbtxt").read_bytes() == before
    shutil.rmtree(path.parent)
    publish(tmp_path, *model_of("one", 3, 3.0))
    assert listed(tmp_path, "one") == (1, 3)


def test_a_version_leaves_the_repository_whole_and_its_number_is_never_given_again(tmp_path: Path) -> None:
    first, second = (model_of("one", n, float(n)) for n in (1, 2))
    publish(tmp_path, *first, beside={"card.json": b"{}"})
    publish(tmp_path, *second)
    assert (models(tmp_path), listed(tmp_path, "one"), next_version(tmp_path, "one")) == (("one",), (1, 2), 3)
    retire(tmp_path, "one", 2)
    retire(tmp_path, "one", 2)
    assert (listed(tmp_path, "one"), contracts(tmp_path, "one")) == ((1,), (first[0],))
    assert retired(tmp_path, "one") == (2,)
    assert archived(tmp_path / ".retired-one-2.tar", "one/2/model.onnx") == second[1]
    assert next_version(tmp_path, "one") == 3
    with pytest.raises(VersionTaken, match="was retired"):
        publish(tmp_path, *second)
    retire(tmp_path, "one", 1)
    assert archived(tmp_path / ".retired-one-1.tar", "one/1/card.json") == b"{}"
    assert (models(tmp_path), listed(tmp_path, "one"), next_version(tmp_path, "one")) == ((), (), 3)
    assert not [one for one in tmp_path.iterdir() if one.is_dir()], "Triton would take it for a model"
    assert retired_models(tmp_path) == ("one",)


def archived(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(name)
        assert member is not None
        return member.read()


def test_a_version_that_is_withdrawn_leaves_nothing(tmp_path: Path) -> None:
    first, second = (model_of("one", n, float(n)) for n in (1, 2))
    publish(tmp_path, *first)
    publish(tmp_path, *second)
    withdraw(tmp_path, "one", 2)
    assert (listed(tmp_path, "one"), next_version(tmp_path, "one")) == ((1,), 2)
    publish(tmp_path, *model_of("one", 2, 9.0))
    withdraw(tmp_path, "one", 2)
    withdraw(tmp_path, "one", 1)
    assert [one.name for one in tmp_path.iterdir()] == [".lock"]


def test_versions_are_listed_for_the_platform_that_is_asked_for(tmp_path: Path) -> None:
    for platform, backend in ((CPU, "python"), (GPU, "onnxruntime")):
        root, target = tmp_path / platform, Target(platform)
        for n in (1, 2, 3):
            publish(root, *model_of("one", n, float(n)), target=target)
        (root / "one" / "config.pbtxt").unlink()
        for n in (1, 2, 3):
            enlist(root, "one", n, target)
        assert listed(root, "one") == (1, 2, 3)
        retire(root, "one", 2, target)
        assert listed(root, "one") == (1, 3)
        assert f'backend: "{backend}"' in (root / "one" / "config.pbtxt").read_text()


@pytest.mark.parametrize("step", range(6))
def test_whoever_dies_while_a_version_leaves_leaves_it_whole(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the list is replaced nothing has happened. After that the version is not listed, and whole,
    until its archive is; and the next one finishes it."""
    for n in (1, 2):
        publish(tmp_path, *model_of("one", n, float(n)))
    left = step

    def mortal(act: Callable[..., object]) -> Callable[..., object]:
        def done(*given: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return act(*given, **named)

        return done

    for owner, name in ((Path, "replace"), (Path, "rename"), (shutil, "rmtree"), (os, "fsync")):
        monkeypatch.setattr(owner, name, mortal(getattr(owner, name)))
    with contextlib.suppress(KeyboardInterrupt):
        retire(tmp_path, "one", 2)
    monkeypatch.undo()
    there = (tmp_path / "one/2/model.onnx").exists()
    assert there or retired(tmp_path, "one") == (2,)
    assert (2 in listed(tmp_path, "one")) == (step < 2)
    assert next_version(tmp_path, "one") == 3
    retire(tmp_path, "one", 2)
    sweep(tmp_path)
    assert (listed(tmp_path, "one"), retired(tmp_path, "one")) == ((1,), (2,))
    assert archived(tmp_path / ".retired-one-2.tar", "one/2/model.onnx") == model_of("one", 2, 2.0)[1]
    assert sorted(one.name for one in tmp_path.iterdir()) == [".lock", ".retired-one-2.tar", "one"]


def test_what_was_left_aside_is_swept_away(tmp_path: Path) -> None:
    publish(tmp_path, *model_of("one", 1, 1.0))
    (tmp_path / ".incoming-one-2").mkdir()
    (tmp_path / ".incoming-one-2/model.onnx").write_bytes(b"half")
    (tmp_path / ".incoming-one.pbtxt").write_bytes(b"half")
    sweep(tmp_path)
    assert sorted(one.name for one in tmp_path.iterdir()) == [".lock", "one"]


def test_weights_outside_of_the_file_are_refused(tmp_path: Path) -> None:
    """The digest would say nothing of them, and the path could be any."""
    contract, file = model_of("one", 1, 1.0)
    made = onnx.load_from_string(file)
    weight = made.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../secret")
    file = made.SerializeToString()
    with pytest.raises(ContractMismatch, match=r"outside of the file|not a valid ONNX file"):
        publish(tmp_path, replace(contract, digest=digest(file)), file)
