"""The model repository on disk, as Triton reads it.

    <root>/<model>/config.pbtxt                rendered; names the versions that Triton is to serve
    <root>/<model>/<version>/model.onnx        the model
    <root>/<model>/<version>/contract.json     its `ModelContract`
    <root>/<model>/<version>/model.py          CPU only: runs model.onnx in the Python backend
    <root>/<model>/<version>/gpu.onnx          GPU only: model.onnx under a name of its own (`gpu.py`)
    <root>/.retired-<model>-<version>.tar      what was taken out of service, whole

A version is written aside and renamed, and `config.pbtxt`, which alone makes Triton load it, is replaced
after that; on its way out it is the other way round. Whenever a process dies, what Triton can load is
complete, and a version that `config.pbtxt` does not name is one that came, or went, half of the way. The
number of a version is never given to another one, also when it is retired.

A Triton that has read that a version is listed and then does not find its files waits for them for ever, and
so does everything else that it is about to load. So a folder is taken away (`retire`, `withdraw`) only after
the version was unlisted (`unlist`) and Triton has answered since.

Triton takes every folder of <root> for a model, and may refuse to start over one that is none: what is not to
be served lies there as a file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import msgspec

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.config import configuration, parse, render
from twinloop.tritonio.errors import ContractMismatch, VersionTaken
from twinloop.tritonio.gpu import GPU_FILE
from twinloop.tritonio.onnx_file import digest, problems, renamed
from twinloop.tritonio.serving import DEFAULT, Platform, Target

_RETIRED = ".retired-"
_ASIDE = ".incoming-"
_CONFIG = "config.pbtxt"


def publish(
    root: Path,
    contract: ModelContract,
    onnx: bytes,
    *,
    target: Target = DEFAULT,
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
        return _publish(root, contract, onnx, target, beside or {})


def models(root: Path) -> tuple[str, ...]:
    """Every model with a version in the repository."""
    return tuple(sorted({one.parents[1].name for one in root.glob("[!.]*/[0-9]*/contract.json")}))


def retired_models(root: Path) -> tuple[str, ...]:
    """Every model with a version that was retired."""
    return tuple(sorted({model for model, _, _ in _archives(root)}))


def contracts(root: Path, model: str) -> tuple[ModelContract, ...]:
    """The contract of every version of `model` in the repository, ascending; see `unreadable`."""
    found = (_contract(one) for one in (root / model).glob("[0-9]*/contract.json"))
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.version))


def unreadable(root: Path) -> tuple[Path, ...]:
    """Contracts that cannot be read. Until a person has mended or removed their folders, nothing of these
    models is changed: Triton would lose a version that it serves."""
    files = root.glob("[!.]*/[0-9]*/contract.json")
    return tuple(sorted(one for one in files if _contract(one) is None))


def listed(root: Path, model: str) -> tuple[int, ...]:
    """The versions that Triton is to serve, ascending."""
    with contextlib.suppress(FileNotFoundError, ContractMismatch):
        config = parse((root / model / _CONFIG).read_text(errors="replace"))
        return tuple(sorted(config.version_policy.specific.versions))
    return ()


def retired(root: Path, model: str) -> tuple[int, ...]:
    """The versions of `model` that were retired, ascending."""
    return tuple(sorted(version for name, version, _ in _archives(root) if name == model))


def next_version(root: Path, model: str) -> int:
    """The lowest version above all that are there, whole or not, or were retired."""
    there = (int(one.name) for one in (root / model).glob("[0-9]*") if one.name.isdecimal())
    return max((*there, *retired(root, model), 0)) + 1


def retire(root: Path, model: str, version: int, target: Target = DEFAULT) -> None:
    """Take a version out and keep its folder as a file; Triton unloads it at the next load. Nothing happens
    when it is not there. Raises `ContractMismatch` when a contract of the model cannot be read, as all do
    that change what is listed."""
    with alone(root):
        _let_go(root, model, version, target, keep=True)


def withdraw(root: Path, model: str, version: int, target: Target = DEFAULT) -> None:
    """The same of a version that never served: nothing of it is kept, and its number is free again."""
    with alone(root):
        _let_go(root, model, version, target, keep=False)


def unlist(root: Path, model: str, version: int, target: Target = DEFAULT) -> None:
    """Have Triton serve the others of `model` that are listed; this one stays where it is."""
    with alone(root):
        _unlist(root, model, version, target)


def enlist(root: Path, model: str, version: int, target: Target = DEFAULT) -> None:
    """Have Triton serve a version that is in the repository, too."""
    with alone(root):
        if version in listed(root, model):
            return
        served = {one.version for one in _listed(root, model)} | {version}
        if named := [one for one in _all(root, model) if one.version in served]:
            _configure(root, model, named, target)


def refresh(root: Path, model: str, target: Target = DEFAULT) -> bool:
    """Bring the configuration of `model` up to date with `target`, and return whether it was not: Triton
    follows at the next load. Raises `ContractMismatch` when it cannot be served so; nothing changes then."""
    with alone(root):
        named = _listed(root, model)
        if not named or parse((root / model / _CONFIG).read_text()) == configuration(named, target):
            return False
        _configure(root, model, named, target)
        return True


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


def _contract(path: Path) -> ModelContract | None:
    """`None` where it cannot be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.json.decode(path.read_bytes(), type=ModelContract)
    return None


def _all(root: Path, model: str) -> tuple[ModelContract, ...]:
    """Those of all versions, which is what `config.pbtxt` is made of. Raises `ContractMismatch`."""
    if bad := [one for one in unreadable(root) if one.parents[1].name == model]:
        raise ContractMismatch(f"{bad[0]} cannot be read: mend it, or remove its folder")
    return contracts(root, model)


def _listed(root: Path, model: str) -> list[ModelContract]:
    """Those of the versions that are listed; all, where the list is none that we wrote."""
    found, served = _all(root, model), listed(root, model)
    if not served and (root / model / _CONFIG).exists():
        return list(found)
    return [one for one in found if one.version in served]


def _archives(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Model, version and file of what was retired."""
    for path in root.glob(f"{_RETIRED}*.tar"):
        model, _, version = path.name.removeprefix(_RETIRED).removesuffix(".tar").rpartition("-")
        if version.isdecimal():
            yield model, int(version), path


def _publish(
    root: Path, contract: ModelContract, onnx: bytes, target: Target, beside: Mapping[str, bytes]
) -> Path:
    model, version = contract.model, contract.version
    home = root / model / str(version)
    others = [one for one in _all(root, model) if one.version != version]
    render([*others, contract], target)  # whether they can lie beside each other
    if _archive(root, model, version).exists():
        raise VersionTaken(f"{model} version {version} was retired")
    if home.exists():
        if _contract(home / "contract.json") != contract:
            raise VersionTaken(f"{model} version {version} has been published already")
    else:
        aside = _aside(root, model, version)
        aside.mkdir()
        for name, content in beside.items():
            write(aside / name, content)
        write(aside / "model.onnx", onnx)
        write(aside / "contract.json", msgspec.json.format(msgspec.json.encode(contract)))
        write(aside / _runner(target.platform), _runner_of(contract, onnx, target.platform))
        home.parent.mkdir(exist_ok=True)
        aside.rename(home)
    served = [one for one in _listed(root, model) if one.version != version]
    _configure(root, model, [*served, contract], target)
    return home


def _let_go(root: Path, model: str, version: int, target: Target, *, keep: bool) -> None:
    folder = root / model
    home = folder / str(version)
    if not home.exists():
        return
    _unlist(root, model, version, target)
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
    if not contracts(root, model):
        (folder / _CONFIG).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody keeps something else there
            folder.rmdir()


def _archive(root: Path, model: str, version: int) -> Path:
    return root / f"{_RETIRED}{model}-{version}.tar"


def _unlist(root: Path, model: str, version: int, target: Target) -> None:
    served = _listed(root, model)
    others = [one for one in served if one.version != version]
    if others and len(others) < len(served):
        _configure(root, model, others, target)
    elif not others:
        (root / model / _CONFIG).unlink(missing_ok=True)


def _aside(root: Path, model: str, version: int) -> Path:
    """A name that nobody reads; what somebody who died has left there is removed."""
    aside = root / f"{_ASIDE}{model}-{version}"
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def _configure(root: Path, model: str, named: Sequence[ModelContract], target: Target) -> None:
    """Have Triton serve these versions, each of which brings what runs it there."""
    text = render(named, target)
    for one in named:
        home = root / model / str(one.version)
        if not (home / _runner(target.platform)).exists():  # it was published for another platform
            content = _runner_of(one, (home / "model.onnx").read_bytes(), target.platform)
            _replace(root, home / _runner(target.platform), content)
    _replace(root, root / model / _CONFIG, text.encode())


def _replace(root: Path, path: Path, content: bytes) -> None:
    aside = root / f"{_ASIDE}{'-'.join(path.relative_to(root).parts)}"
    write(aside, content)
    aside.replace(path)


def _runner(platform: Platform) -> str:
    """The name of the file that runs a version, beside its model."""
    return GPU_FILE if platform is Platform.GPU else "model.py"


def _runner_of(contract: ModelContract, onnx: bytes, platform: Platform) -> bytes:
    """What is in it."""
    if platform is Platform.GPU:
        return renamed(contract, onnx)
    return resources.files(__package__).joinpath("backend.py").read_bytes()
