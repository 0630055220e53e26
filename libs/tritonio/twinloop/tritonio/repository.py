"""The model repository on disk, as Triton reads it.

    <root>/<model>/config.pbtxt                rendered; names every version in the folder
    <root>/<model>/<version>/model.onnx        the model
    <root>/<model>/<version>/contract.json     its `ModelContract`
    <root>/<model>/<version>/model.py          CPU only: runs model.onnx in the Python backend

A version is written aside and renamed, and `config.pbtxt`, which alone makes Triton load it, is replaced
after that: whenever a process dies, what Triton can load is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from pathlib import Path

import msgspec

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.config import render
from twinloop.tritonio.errors import ContractMismatch, VersionTaken
from twinloop.tritonio.onnx_file import problems


class Platform(StrEnum):
    """What runs the models: the Python backend with onnxruntime, or onnxruntime with TensorRT on a GPU."""

    CPU = "cpu"
    GPU = "gpu"


CPU = Platform.CPU
GPU = Platform.GPU


def digest(onnx: bytes) -> str:
    """What a contract's `digest` must be: the SHA-256 of the ONNX file, in hex."""
    return hashlib.sha256(onnx).hexdigest()


def publish(root: Path, contract: ModelContract, onnx: bytes, *, platform: Platform = CPU) -> Path:
    """Put a model version into the repository and return its folder; Triton serves it once told to load.

    Publishing the same again changes nothing. Raises `ContractMismatch` when `onnx` is not what the contract
    says or cannot lie beside the model's other versions, and `VersionTaken` when the version holds something
    else.
    """
    wrong = problems(contract, onnx)
    if contract.digest != digest(onnx):
        wrong.append(f"the digest of the file is {digest(onnx)}, not {contract.digest}")
    if wrong:
        raise ContractMismatch(f"{contract.model} version {contract.version}: {'; '.join(wrong)}")
    root.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        return _publish(root, contract, onnx, platform)


def contracts(root: Path, model: str) -> tuple[ModelContract, ...]:
    """The contract of every version of `model` in the repository, ascending."""
    files = (root / model).glob("[0-9]*/contract.json")
    found = [msgspec.json.decode(one.read_bytes(), type=ModelContract) for one in files]
    return tuple(sorted(found, key=lambda one: one.version))


def _publish(root: Path, contract: ModelContract, onnx: bytes, platform: Platform) -> Path:
    home = root / contract.model / str(contract.version)
    beside = [one for one in contracts(root, contract.model) if one.version != contract.version]
    config = render([*beside, contract], gpu=platform is Platform.GPU)
    if home.exists():
        if msgspec.json.decode((home / "contract.json").read_bytes(), type=ModelContract) != contract:
            raise VersionTaken(f"{contract.model} version {contract.version} has been published already")
    else:
        aside = root / f".incoming-{contract.model}-{contract.version}"
        shutil.rmtree(aside, ignore_errors=True)  # of a publisher that died
        aside.mkdir()
        _write(aside / "model.onnx", onnx)
        _write(aside / "contract.json", msgspec.json.format(msgspec.json.encode(contract)))
        if platform is Platform.CPU:
            _write(aside / "model.py", resources.files(__package__).joinpath("backend.py").read_bytes())
        home.parent.mkdir(exist_ok=True)
        aside.rename(home)
    new = root / f".incoming-{contract.model}.pbtxt"
    _write(new, config.encode())
    new.replace(home.parent / "config.pbtxt")
    return home


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One publisher at a time: each rewrites the list of versions."""
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
