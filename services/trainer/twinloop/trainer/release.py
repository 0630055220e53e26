"""Puts a fitted model into service: publish, load, check, and only then announce.

A model that does not answer as it was fitted is never announced: what serves goes on serving.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.codec import message
from twinloop.contracts.ids import event_id
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import MODELS
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka import Publisher
from twinloop.trainer.errors import NotAsFitted
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import Answer, Model, answer
from twinloop.trainer.recipes import Recipe
from twinloop.tritonio.answers import Tolerance, differences
from twinloop.tritonio.errors import VersionTaken
from twinloop.tritonio.repository import contracts, next_version, publish
from twinloop.tritonio.server import Inference, InferenceServer
from twinloop.tritonio.serving import DEFAULT, Target

SOURCE = "trainer"
GOLDEN = 64
"""Windows whose answer must be the same from what was fitted and from what is served."""


@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """A fitted model that is to serve `scope`.

    `golden` float32 [N, window, signals], N >= 1: windows to check it by.
    """

    name: str
    scope: str
    recipe: Recipe
    model: Model
    golden: NDArray[np.float32]


def put(root: Path, release: Release, target: Target = DEFAULT) -> ModelContract:
    """Publish into the repository at `root` as its next free version; a model that is there keeps its own."""
    file = to_onnx(release.model, release.recipe)

    def promised(version: int) -> ModelContract:
        return contract_of(release.model, release.recipe, release.name, version, file)

    return put_file(root, release.name, file, promised, target)


def put_file(
    root: Path, name: str, file: bytes, promised: Callable[[int], ModelContract], target: Target = DEFAULT
) -> ModelContract:
    """The same of an ONNX `file`; `promised` is its contract as a version."""
    while True:
        contract = promised(next_version(root, name))
        for one in contracts(root, name):
            if one == promised(one.version):
                return one
        try:
            publish(root, contract, file, target=target)
        except VersionTaken:
            continue  # by another trainer, since we looked
        return contract


async def load(server: InferenceServer, contract: ModelContract, release: Release) -> None:
    """Load and check what `put` has published. Raises `NotAsFitted` and what the server raises."""
    golden = release.golden[:: max(1, len(release.golden) // GOLDEN)][:GOLDEN]
    await check(server, contract, golden, answer(release.model, golden))


async def check(
    server: InferenceServer,
    contract: ModelContract,
    golden: NDArray[np.float32],
    fitted: Answer,
    tolerance: Tolerance | None = None,
) -> None:
    """Load what is published as `contract`, and see that it answers `golden` by `fitted`."""
    if contract.version not in await server.versions(contract.model):
        await server.load(contract.model)
    await server.check(contract)
    await server.probe(contract)
    compare(contract, fitted, await server.infer(contract, golden), tolerance)


def compare(
    contract: ModelContract, fitted: Answer, served: Inference, tolerance: Tolerance | None = None
) -> None:
    """Raises `NotAsFitted` unless both say the same, up to what float32 loses or `tolerance` allows."""
    if wrong := differences(contract, fitted, served, tolerance):
        raise NotAsFitted(
            f"{contract.model} version {contract.version} answers otherwise than it was fitted:"
            f" {', '.join(wrong)}"
        )


async def announce(publisher: Publisher, served: dict[str, ModelContract], clock: Clock) -> None:
    """Tell every detector who is served by what; `served` by scope."""
    now = clock.now()
    routes = [
        ModelRoute(
            event_id=event_id("model_route", scope, one.model, one.version, one.digest, now.isoformat()),
            scope=scope,
            at=now,
            contract=one,
        )
        for scope, one in served.items()
    ]
    await publisher.publish([message(MODELS, route, source=SOURCE) for route in routes])
