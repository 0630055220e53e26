"""The model repository on disk, as Triton reads it.

    <root>/<model>/config.pbtxt                rendered; names the versions that Triton is to serve
    <root>/<model>/<version>/model.onnx        the model
    <root>/<model>/<version>/contract.json     its `ModelContract`
    <root>/<model>/<version>/model.py          CPU only: runs model.onnx in the Python backend
    <root>/.retired-<model>-<version>.tar      what was taken out of service, whole

A version is written aside and renamed, and `config.pbtxt`, which alone makes Triton load it, is replaced
after that; on its way out it is the other way round. Whenever a process dies, what Triton can load is
complete, and a version that `config.pbtxt` does not name is one that came, or went, half of the way. The
number of a version is never given to another one, also when it is retired.

Triton takes every folder of <root> for a model, and may refuse to start over one that is none: what is not to
be served lies there as a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from importlib import resources
from pathlib import Path

import msgspec

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.config import render
from twinloop.tritonio.errors import ContractMismatch, VersionTaken
from twinloop.tritonio.onnx_file import problems

_RETIRED = ".retired-"
_ASIDE = ".incoming-"
_CONFIG = "config.pbtxt"


class Platform(StrEnum):
    """What runs the models: the Python backend with onnxruntime, or onnxruntime with TensorRT on a GPU."""

    CPU = "cpu"
    GPU = "gpu"


CPU = Platform.CPU
GPU = Platform.GPU


def digest(onnx: bytes) -> str:
    """What a contract's `digest` must be: the SHA-256 of the ONNX file, in hex."""
    return hashlib.sha256(onnx).hexdigest()


def publish(
    root: Path,
    contract: ModelContract,
    onnx: bytes,
    *,
    platform: Platform = CPU,
    beside: Mapping[str, bytes] | None = None,
) -> Path:
    """Put a model version into the repository and return its folder; Triton serves it once told to load.
    `beside` are more files of the folder, by name.

    Publishing the same again changes nothing. Raises `ContractMismatch` when `onnx` is not what the contract
    says or cannot lie beside the model's other versions, and `VersionTaken` when the version holds something
    else, or was retired.
    """
    wrong = problems(contract, onnx)
    if contract.digest != digest(onnx):
        wrong.append(f"the digest of the file is {digest(onnx)}, not {contract.digest}")
    if wrong:
        raise ContractMismatch(f"{contract.model} version {contract.version}: {'; '.join(wrong)}")
    with alone(root):
        return _publish(root, contract, onnx, platform, beside or {})


def models(root: Path) -> tuple[str, ...]:
    """Every model with a version in the repository."""
    return tuple(sorted({one.parents[1].name for one in root.glob("[!.]*/[0-9]*/contract.json")}))


def retired_models(root: Path) -> tuple[str, ...]:
    """Every model with a version that was retired."""
    return tuple(sorted({model for model, _, _ in _archives(root)}))


def contracts(root: Path, model: str) -> tuple[ModelContract, ...]:
    """The contract of every version of `model` in the repository, ascending."""
    files = (root / model).glob("[0-9]*/contract.json")
    found = [msgspec.json.decode(one.read_bytes(), type=ModelContract) for one in files]
    return tuple(sorted(found, key=lambda one: one.version))


def listed(root: Path, model: str) -> tuple[int, ...]:
    """The versions that Triton is to serve, ascending."""
    try:
        text = (root / model / _CONFIG).read_text()
    except FileNotFoundError:
        return ()
    named = re.search(r"specific \{ versions: \[ ([0-9, ]*) \] \}", text)
    return tuple(sorted(map(int, named.group(1).split(",")))) if named else ()


def retired(root: Path, model: str) -> tuple[int, ...]:
    """The versions of `model` that were retired, ascending."""
    return tuple(sorted(version for name, version, _ in _archives(root) if name == model))


def next_version(root: Path, model: str) -> int:
    """The lowest version above all that are there or were retired."""
    return max((*(one.version for one in contracts(root, model)), *retired(root, model), 0)) + 1


def retire(root: Path, model: str, version: int) -> None:
    """Take a version out and keep its folder as a file; Triton unloads it at the next load. Nothing happens
    when it is not there."""
    with alone(root):
        _let_go(root, model, version, keep=True)


def withdraw(root: Path, model: str, version: int) -> None:
    """The same of a version that never served: nothing of it is kept, and its number is free again."""
    with alone(root):
        _let_go(root, model, version, keep=False)


def unlist(root: Path, model: str, version: int) -> None:
    """Have Triton serve the other versions of `model` only; this one stays where it is."""
    with alone(root):
        _list_others(root, model, version)


def relist(root: Path, model: str) -> None:
    """Have Triton serve every version of `model` that is in the repository."""
    with alone(root):
        found = contracts(root, model)
        if found and tuple(one.version for one in found) != listed(root, model):
            _configure(root, model, found, _platform(root / model))


def sweep(root: Path) -> None:
    """Remove what those who died while they published have left aside."""
    with alone(root):
        for one in root.glob(f"{_ASIDE}*"):
            shutil.rmtree(one) if one.is_dir() else one.unlink()


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """One at a time who changes the repository; not to be entered by whoever is in it."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, content: bytes) -> None:
    """A file that is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _archives(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Model, version and file of what was retired."""
    for path in root.glob(f"{_RETIRED}*.tar"):
        model, _, version = path.name.removeprefix(_RETIRED).removesuffix(".tar").rpartition("-")
        if version.isdecimal():
            yield model, int(version), path


def _publish(
    root: Path, contract: ModelContract, onnx: bytes, platform: Platform, beside: Mapping[str, bytes]
) -> Path:
    model, version = contract.model, contract.version
    home = root / model / str(version)
    others = [one for one in contracts(root, model) if one.version != version]
    render([*others, contract], gpu=platform is Platform.GPU)  # whether they can lie beside each other
    if _archive(root, model, version).exists():
        raise VersionTaken(f"{model} version {version} was retired")
    if home.exists():
        if msgspec.json.decode((home / "contract.json").read_bytes(), type=ModelContract) != contract:
            raise VersionTaken(f"{model} version {version} has been published already")
    else:
        aside = _aside(root, model, version)
        aside.mkdir()
        for name, content in beside.items():
            write(aside / name, content)
        write(aside / "model.onnx", onnx)
        write(aside / "contract.json", msgspec.json.format(msgspec.json.encode(contract)))
        if platform is Platform.CPU:
            write(aside / "model.py", resources.files(__package__).joinpath("backend.py").read_bytes())
        home.parent.mkdir(exist_ok=True)
        aside.rename(home)
    _configure(root, model, [*others, contract], platform)
    return home


def _let_go(root: Path, model: str, version: int, *, keep: bool) -> None:
    folder = root / model
    home = folder / str(version)
    if not home.exists():
        return
    others = _list_others(root, model, version)
    if keep:
        packed = root / f"{_ASIDE}{model}-{version}.tar"
        with packed.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(home, arcname=f"{model}/{version}")
            file.flush()
            os.fsync(file.fileno())
        packed.replace(_archive(root, model, version))
    aside = _aside(root, model, version)
    home.rename(aside)
    shutil.rmtree(aside)
    if not others:
        with contextlib.suppress(OSError):  # somebody keeps something else there
            folder.rmdir()


def _archive(root: Path, model: str, version: int) -> Path:
    return root / f"{_RETIRED}{model}-{version}.tar"


def _list_others(root: Path, model: str, version: int) -> list[ModelContract]:
    others = [one for one in contracts(root, model) if one.version != version]
    if others:
        _configure(root, model, others, _platform(root / model))
    else:
        (root / model / _CONFIG).unlink(missing_ok=True)
    return others


def _aside(root: Path, model: str, version: int) -> Path:
    """A name that nobody reads; what somebody who died has left there is removed."""
    aside = root / f"{_ASIDE}{model}-{version}"
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def _configure(root: Path, model: str, named: Sequence[ModelContract], platform: Platform) -> None:
    new = root / f"{_ASIDE}{model}.pbtxt"
    write(new, render(named, gpu=platform is Platform.GPU).encode())
    new.replace(root / model / _CONFIG)


def _platform(folder: Path) -> Platform:
    """What the versions in `folder` were published for: only for a CPU do they bring what runs them."""
    return Platform.CPU if next(folder.glob("[0-9]*/model.py"), None) is not None else Platform.GPU
