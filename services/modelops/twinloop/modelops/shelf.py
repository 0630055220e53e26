"""The repository as modelops sees it: every version with its card, and whether it has passed staging.

A version that was staged here brings `card.json` and `golden.npz` into its folder, and gets `staged.json`
once it has passed every step. So what is half done can be told from the disk alone: a version with a card and
without that mark did not pass, and one that `config.pbtxt` does not name was on its way out, or in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from twinloop.contracts.models import EVERY_MODEL, ModelCard, ModelContract, ModelNamespace
from twinloop.contracts.times import Instant
from twinloop.tritonio import repository
from twinloop.tritonio.artefact import Artefact, BadArtefact, Golden, golden_of, pack
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.promise import unkept
from twinloop.tritonio.serving import DEFAULT, Target

T = TypeVar("T")

_CARD = "card.json"
_GOLDEN = "golden.npz"
_MARK = "staged.json"


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """That a version has passed, who brought it, and how long requests of one window took, and one of
    `full_windows`: `None` where there was no answer in time."""

    at: Instant
    by: str
    reason: str
    run_p99_s: float
    served_p99_s: float
    full_windows: int = 0
    full_s: float | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A version in the repository; `card` and `staged` are of those that came through staging."""

    contract: ModelContract
    listed: bool
    card: ModelCard | None = None
    staged: Staged | None = None

    @property
    def version(self) -> tuple[str, int]:
        """Its model and number."""
        return self.contract.model, self.contract.version

    @property
    def may_serve(self) -> bool:
        """Whether it has passed, and is not on its way out."""
        return self.listed and self.passed

    @property
    def passed(self) -> bool:
        """What has no card is older than staging."""
        return self.staged is not None or self.card is None


class Shelf:
    """The folder that Triton loads from."""

    def __init__(self, root: Path, target: Target = DEFAULT, names: ModelNamespace = EVERY_MODEL) -> None:
        """Of what is in `root`, only models of `names` are seen, and nothing else is touched."""
        self.root = root
        self._target = target
        self._names = names

    def models(self) -> tuple[str, ...]:
        """Those with a version."""
        return tuple(one for one in repository.models(self.root) if self._names.has(one))

    def known(self) -> frozenset[str]:
        """Those with a version that is there, or was retired."""
        found = (*self.models(), *repository.retired_models(self.root))
        return frozenset(one for one in found if self._names.has(one))

    def unreadable(self) -> tuple[Path, ...]:
        """Contracts of versions that nothing else can be told of."""
        return tuple(one for one in repository.unreadable(self.root) if self._names.has(one.parents[1].name))

    def own(self, artefact: Artefact) -> Artefact:
        """What is brought, by its name in the repository. Raises `ContractMismatch` where it has none."""
        model = self._names.full(artefact.contract.model)
        contract = msgspec.structs.replace(artefact.contract, model=model)
        if not self._names.has(model):
            raise ContractMismatch(
                f"{artefact.contract.model!r}: the name of a site's model has no dot in it"
            )
        if wrong := unkept(msgspec.structs.replace(contract, version=contract.version or 1)):
            raise ContractMismatch("; ".join(wrong))
        return replace(artefact, contract=contract, card=msgspec.structs.replace(artefact.card, model=model))

    def listed(self, model: str) -> tuple[int, ...]:
        """The versions that Triton is to serve."""
        return repository.listed(self.root, model)

    def versions(self, model: str | None = None) -> list[Held]:
        """All, or those of a model; by model and number."""
        return [
            self._held(one, listed)
            for name in (self.models() if model is None else (self._names.full(model),))
            for listed in [self.listed(name)]
            for one in repository.contracts(self.root, name)
        ]

    def find(self, model: str, version: int) -> Held | None:
        """One of them."""
        return next((one for one in self.versions(model) if one.contract.version == version), None)

    def card(self, model: str, version: int) -> ModelCard | None:
        """That of a version, if it is there and has one."""
        held = self.find(model, version)
        return None if held is None else held.card

    def same(self, contract: ModelContract) -> Held | None:
        """The version with this contract but for its number."""
        return next(
            (
                one
                for one in self.versions(contract.model)
                if msgspec.structs.replace(one.contract, version=contract.version) == contract
            ),
            None,
        )

    def golden(self, contract: ModelContract) -> Golden | None:
        """The golden windows of a version, if it has any that can be read."""
        path = self._folder(contract) / _GOLDEN
        with contextlib.suppress(OSError, BadArtefact):
            return golden_of(contract, path.read_bytes())
        return None

    def put(self, artefact: Artefact) -> ModelContract:
        """Publish under the next free number. Raises `ContractMismatch`, `VersionTaken`."""
        number = repository.next_version(self.root, artefact.contract.model)
        contract = msgspec.structs.replace(artefact.contract, version=number)
        files = pack(artefact)
        beside = {name: files[name] for name in (_CARD, _GOLDEN)}
        repository.publish(self.root, contract, artefact.onnx, target=self._target, beside=beside)
        return contract

    def mark(self, contract: ModelContract, staged: Staged) -> None:
        """It has passed."""
        aside = self._folder(contract) / f".{_MARK}"
        repository.write(aside, msgspec.json.format(msgspec.json.encode(staged)))
        aside.replace(self._folder(contract) / _MARK)

    def unlist(self, model: str, version: int) -> None:
        """Have Triton serve it no more."""
        repository.unlist(self.root, model, version, self._target)

    def enlist(self, model: str, version: int) -> None:
        """Have Triton serve it again."""
        repository.enlist(self.root, model, version, self._target)

    def clear(self, model: str, version: int) -> None:
        """Take its folder away, for good if it has not passed. Only when it was unlisted, and Triton has
        answered since: see `repository`."""
        if (held := self.find(model, version)) is not None:
            take_away = repository.retire if held.passed else repository.withdraw
            take_away(self.root, *held.version, self._target)

    def refresh(self, model: str) -> bool:
        """Bring its configuration up to date; whether it was not. Raises `ContractMismatch`."""
        return repository.refresh(self.root, model, self._target)

    def sweep(self) -> None:
        """Remove what somebody who died while he published has left aside."""
        repository.sweep(self.root)

    def _held(self, contract: ModelContract, listed: Collection[int]) -> Held:
        folder = self._folder(contract)
        return Held(
            contract,
            contract.version in listed,
            _read(folder / _CARD, ModelCard),
            _read(folder / _MARK, Staged),
        )

    def _folder(self, contract: ModelContract) -> Path:
        return self.root / contract.model / str(contract.version)


def _read(path: Path, kind: type[T]) -> T | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=kind)
    return None


@contextlib.contextmanager
def held(root: Path, names: ModelNamespace = EVERY_MODEL) -> Iterator[bool]:
    """Whether this process alone decides about models of `names` now; the kernel ends that when it dies."""
    root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root / f".{names.prefix}modelops.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
