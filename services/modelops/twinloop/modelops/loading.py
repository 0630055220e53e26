"""What Triton is to serve, and whether it does: the repository and the server, brought together."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.shelf import Held, Shelf
from twinloop.modelops.uses import Uses, Version
from twinloop.runtime.observability import logging
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed, TritonError, TritonUnavailable
from twinloop.tritonio.server import InferenceServer

log = logging.logger(__name__)

TWICE = 2
"""How often in a row something must be seen before anything is done about it that others could notice."""
HEALED_AFTER = (2, 4, 8, 16, 32)
"""Failed probes in a row after which a version is loaded anew: what does not help is not done for ever."""


@dataclass(slots=True)
class _Model:
    unlike: int = 0
    """How often in a row other versions of it were seen to be served than should be."""
    failed: dict[int, int] = field(default_factory=dict)
    """How often in a row each needed version did not answer its probe."""


class Keeper:
    """Looks, and loads again what is missing.

    Whoever changes a model's folder, or has it loaded, holds its `lock`; a load may take minutes. Meanwhile
    the versions of it that routes name are still asked whether they answer, and all other models are looked
    after.
    """

    def __init__(self, shelf: Shelf, server: InferenceServer, uses: Uses, metrics: Metrics) -> None:
        self._shelf = shelf
        self._server = server
        self._uses = uses
        self._metrics = metrics
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._models: dict[str, _Model] = {}
        self._away: str | None = "triton was not asked yet"
        self._sick: dict[Version, str] = {}
        self._odd: dict[str, str] = {}
        self._unreadable: tuple[Path, ...] = ()
        self._changed: set[str] = set()

    def lock(self, model: str) -> asyncio.Lock:
        """One at a time who changes it."""
        return self._locks[model]

    def problem(self) -> str | None:
        """Health check: what a route names and nobody can be asked, and what cannot be told."""
        if self._away is not None:
            return self._away
        unreadable = (f"{one} cannot be read: mend it, or remove its folder" for one in self._unreadable)
        return next(iter((*self._sick.values(), *self._odd.values(), *unreadable)), None)

    def sick(self, contract: ModelContract) -> str | None:
        """Why a version that a route names does not answer, if it has not for some time."""
        return self._sick.get((contract.model, contract.version))

    async def look(self, routes: Callable[[], Mapping[str, ModelRoute]], now_s: float) -> None:
        """Once over everything; raises nothing that Triton or a file is to blame for."""
        self._read()
        needed: dict[str, dict[int, ModelContract]] = {}
        for route in routes().values():
            for one in route.versions():
                needed.setdefault(one.model, {})[one.version] = one
        try:
            serving = await self._server.serving()
            # What nobody needs and nobody serves is left alone: it is loaded when somebody wants it.
            models = self._shelf.models()
            left = (one for one in models if _unfinished(self._present(one), needed.get(one, ())))
            known = {*needed, *(self._shelf.known() & serving.keys()), *left}
            for model in sorted(known):
                await self._look_after(model, needed.get(model, {}), set(serving.get(model, ())), now_s)
        except TritonError as error:
            self._away = str(error)
            return
        self._away = None
        self._forget(known, needed, now_s)
        self._metrics.sick.set(len(self._sick))

    async def refresh(self) -> None:
        """Bring the repository up to date with `serving.toml`. Triton follows at the next look."""
        for model in self._shelf.models():
            async with self.lock(model):
                try:
                    if self._shelf.refresh(model):
                        log.info("is to be served otherwise", model=model)
                        self._changed.add(model)
                except ContractMismatch as error:
                    log.error("cannot be served as it should be", model=model, problem=str(error))

    async def load(self, model: str) -> None:
        """Have Triton serve what the repository lists of a model. Raises `TritonError`."""
        if self._shelf.listed(model):
            await self._server.load(model)
        else:
            await self._server.unload(model)

    async def take_out(self, model: str, version: int) -> None:
        """Have a version served no more, and then put its folder away; its `lock` is held. It is gone for
        everybody once it is unlisted. Raises `TritonUnavailable` when Triton cannot be told now: what is left
        to do is done when it is back."""
        self._shelf.unlist(model, version)
        if await self._server.versions(model) or not self._shelf.listed(model):
            await self._tried(model)
        self._shelf.clear(model, version)

    async def wanted(self, held: Held) -> None:
        """Have a version served that somebody is about to give a route, if it can be."""
        if held.may_serve and held.contract.version not in await self._server.versions(held.contract.model):
            async with self.lock(held.contract.model):
                await self._tried(held.contract.model)

    def _read(self) -> None:
        found = self._shelf.unreadable()
        for one in set(found) - set(self._unreadable):
            log.error("a contract cannot be read; nothing of its model is changed", file=str(one))
        self._unreadable = found
        self._metrics.unreadable_versions.set(len(found))

    def _forget(
        self, known: Collection[str], needed: Mapping[str, Mapping[int, ModelContract]], now_s: float
    ) -> None:
        """What nobody needs and nobody serves any more."""
        for model in self._models.keys() - known:
            del self._models[model]
            self._odd.pop(model, None)
            self._uses.take(model, {}, now_s)
        for model, version in list(self._sick):
            if version not in needed.get(model, {}):
                del self._sick[model, version]

    async def _look_after(
        self, model: str, needed: Mapping[int, ModelContract], served: set[int], now_s: float
    ) -> None:
        """One model. What is odd about it alone is told, and keeps nobody from looking at the others."""
        lock = self.lock(model)
        try:
            if lock.locked():  # somebody loads it: whom it serves is still of interest
                await self._ask_all(model, needed, served)
            else:
                async with lock:
                    await self._look_at(model, needed, served)
            self._uses.take(model, await self._server.usage(model), now_s)
        except TritonUnavailable:
            raise
        except TritonError as error:
            if self._odd.get(model) != (told := f"{model}: {error}"):
                log.error("cannot be looked after", model=model, problem=str(error))
            self._odd[model] = told
        else:
            self._odd.pop(model, None)

    async def _look_at(self, model: str, needed: Mapping[int, ModelContract], served: set[int]) -> None:
        state = self._models.setdefault(model, _Model())
        present = self._present(model)
        if unlisted := [n for n in needed if n in present and not present[n].listed]:
            log.error("a route names what is not listed; it is now", model=model, versions=unlisted)
            for version in unlisted:
                self._shelf.enlist(model, version)
        due = set(self._shelf.listed(model))
        unlike = served != due if needed else bool(served - due)
        state.unlike = state.unlike + 1 if unlike else 0
        if (due & set(needed)) - served or state.unlike >= TWICE or model in self._changed:
            state.unlike = 0
            log.warning("loading", model=model, due=sorted(due), served=sorted(served))
            await self._tried(model)
            self._changed.discard(model)
            served = set(await self._server.versions(model))
        await self._ask_all(model, needed, served, heal=True)
        if _unfinished(present, needed):
            self._shelf.sweep()  # who publishes now is done before anything is taken for half done
            for version in _unfinished(self._present(model), needed):
                log.warning(
                    "did not pass, or was on its way out: it is taken out", model=model, version=version
                )
                await self.take_out(model, version)

    def _present(self, model: str) -> dict[int, Held]:
        return {one.contract.version: one for one in self._shelf.versions(model)}

    async def _ask_all(
        self, model: str, needed: Mapping[int, ModelContract], served: set[int], *, heal: bool = False
    ) -> None:
        present = self._present(model)
        for version, contract in needed.items():
            await self._ask(contract, version in served, version in present, heal=heal)

    async def _tried(self, model: str) -> None:
        try:
            await self.load(model)
        except TritonUnavailable:
            raise
        except TritonError as error:
            log.error("cannot be loaded", model=model, problem=str(error))
            self._metrics.loads.labels("failed").inc()
        else:
            self._metrics.loads.labels("loaded").inc()

    async def _ask(self, contract: ModelContract, served: bool, present: bool, *, heal: bool) -> None:
        version, state = contract.version, self._models.setdefault(contract.model, _Model())
        name = f"{contract.model} version {version}"
        if not served:
            state.failed.pop(version, None)
            self._sick[contract.model, version] = (
                f"{name} cannot be loaded: Triton's log says why"
                if present
                else f"{name} is gone from the disk"
            )
            return
        try:
            await self._server.probe(contract)
        except (InferenceFailed, TritonUnavailable) as error:
            if isinstance(error, TritonUnavailable) and not await self._server.ready():
                raise
            state.failed[version] = state.failed.get(version, 0) + 1
            if state.failed[version] >= TWICE:
                self._sick[contract.model, version] = f"{name}: {error}"
            if heal and state.failed[version] in HEALED_AFTER:
                await self._heal(contract)
        except TritonError as error:
            self._sick[contract.model, version] = f"{name}: {error}"
        else:
            state.failed.pop(version, None)
            self._sick.pop((contract.model, version), None)

    async def _heal(self, contract: ModelContract) -> None:
        """A version whose process died is only helped by being unloaded: Triton takes it for well. The others
        go on meanwhile."""
        log.error(
            "a model does not answer; it is loaded anew", model=contract.model, version=contract.version
        )
        self._metrics.loads.labels("healed").inc()
        self._shelf.unlist(contract.model, contract.version)
        try:
            await self._tried(contract.model)
        finally:
            self._shelf.enlist(contract.model, contract.version)
        await self._tried(contract.model)


def _unfinished(present: Mapping[int, Held], needed: Collection[int]) -> list[int]:
    """The versions that did not pass and such as were unlisted, but for those that are `needed`: what
    somebody has begun who holds the lock of the model, or was cut off."""
    return [n for n, one in present.items() if not one.may_serve and n not in needed]
