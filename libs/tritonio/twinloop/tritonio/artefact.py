"""What training makes and staging takes: a folder that says all that is known of a model.

model.onnx      the model
contract.json   its `ModelContract`; version 0: staging assigns one
card.json       its `ModelCard`
golden.npz      windows, and what the trainer's own computation answers to them
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from twinloop.contracts.models import ARTEFACT_FILES, ModelCard, ModelContract
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed
from twinloop.tritonio.onnx_file import digest, problems
from twinloop.tritonio.promise import unkept, unusable
from twinloop.tritonio.server import Floats, Inference, check_answer, check_memory, check_windows

T = TypeVar("T")

FILES = ARTEFACT_FILES
MAX_GOLDEN_BYTES = 256 * 1024 * 1024
"""Of the golden windows and answers, when they are unpacked."""


class BadArtefact(Exception):
    """Raised when a folder does not hold a whole, consistent model.

    Operator action: the text names the file and what is wrong with it; train or export the model again.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Windows to check what is served by: `windows` float32 [N, window, signals], with N >= 1; `memory`
    float32 [N, M] for each, of a recurrent model; and the `answer` to them."""

    windows: Floats
    answer: Inference
    memory: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A model that was trained."""

    contract: ModelContract
    card: ModelCard
    onnx: bytes
    golden: Golden


def write(folder: Path, artefact: Artefact) -> None:
    """Write `folder`, which must not be there: aside, and renamed when it is complete."""
    aside = folder.with_name(f".incoming-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)  # of a job that died
    aside.mkdir(parents=True)
    for name, content in pack(artefact).items():
        with (aside / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    aside.rename(folder)


def pack(artefact: Artefact) -> dict[str, bytes]:
    """The contents of `FILES`, by name."""
    golden = artefact.golden
    arrays: dict[str, Floats] = {
        "windows": golden.windows,
        "score": golden.answer.score,
        "features": golden.answer.features,
        "deviations": golden.answer.deviations,
    }
    if golden.memory is not None and golden.answer.memory is not None:
        arrays |= {"memory": golden.memory, "next_memory": golden.answer.memory}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]  # its own keyword is no array's name
    return {
        "model.onnx": artefact.onnx,
        "contract.json": msgspec.json.format(msgspec.json.encode(artefact.contract)),
        "card.json": msgspec.json.format(msgspec.json.encode(artefact.card)),
        "golden.npz": packed.getvalue(),
    }


def read(folder: Path) -> Artefact:
    """The model in `folder`, checked as far as can be without running it. Raises `BadArtefact`."""
    files = {name: _bytes(folder / name) for name in FILES}
    return unpack(files)


def unpack(files: Mapping[str, bytes]) -> Artefact:
    """The same of the contents of `FILES`, by name."""
    contract = _json(files, "contract.json", ModelContract)
    card = _json(files, "card.json", ModelCard)
    numbered = contract if contract.version else msgspec.structs.replace(contract, version=1)
    onnx = files["model.onnx"]
    if wrong := unkept(numbered):
        raise BadArtefact(f"contract.json: {'; '.join(wrong)}")
    if wrong := problems(numbered, onnx):
        raise BadArtefact(f"model.onnx: {'; '.join(wrong)}")
    if contract.digest != digest(onnx):
        raise BadArtefact(f"model.onnx: its digest is {digest(onnx)}, not the contract's {contract.digest}")
    if (card.model, card.digest) != (contract.model, contract.digest):
        raise BadArtefact(f"card.json: it is of {card.model} with the digest {card.digest}")
    if wrong := unusable(card, contract):
        raise BadArtefact(f"card.json: {'; '.join(wrong)}")
    return Artefact(contract, card, onnx, golden_of(contract, files["golden.npz"]))


def golden_of(contract: ModelContract, packed: bytes) -> Golden:
    """The golden windows in a `golden.npz`. Raises `BadArtefact`."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as parts:
            size = sum(one.file_size for one in parts.infolist())
        if size > MAX_GOLDEN_BYTES:
            raise BadArtefact(f"golden.npz: it holds {size} bytes, and {MAX_GOLDEN_BYTES} is the most")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        memory = held.get("memory")
        golden = Golden(
            held["windows"],
            Inference(held["score"], held["features"], held["deviations"], held.get("next_memory")),
            memory,
        )
        check_windows(contract, golden.windows)
        check_memory(contract, memory, len(golden.windows))
        check_answer(contract, golden.answer, len(golden.windows))
    except KeyError as error:
        raise BadArtefact(f"golden.npz: there is no {error.args[0]} in it") from error
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        MemoryError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
        ContractMismatch,
        InferenceFailed,
    ) as error:
        raise BadArtefact(f"golden.npz: {error or type(error).__name__}") from error
    if not len(golden.windows):
        raise BadArtefact("golden.npz: there is no window in it")
    if not np.isfinite(golden.windows).all():
        raise BadArtefact("golden.npz: windows hold what is no number")
    return golden


def _json(files: Mapping[str, bytes], name: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(files[name], type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadArtefact(f"{name}: {error or type(error).__name__}") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadArtefact(f"{path}: {error.strerror}; an artefact holds {', '.join(FILES)}") from error
