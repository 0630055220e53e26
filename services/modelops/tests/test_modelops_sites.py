"""Sites that share a Triton: each sees, changes and is served by its own models alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import ConsumerRecord
from support.artefacts import SIGNAL_SET, artefact_of
from support.modelops import Ops

from twinloop.contracts.codec import message
from twinloop.contracts.models import ModelNamespace, ModelRoute
from twinloop.contracts.packing import packed
from twinloop.contracts.topics import MODELS
from twinloop.modelops import desk
from twinloop.modelops.routes import RouteTable
from twinloop.modelops.shelf import held
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.tritonio.artefact import pack

DANA = {"Authorization": "Bearer dana"}


class Site:
    """One site's modelops, asked as a data scientist."""

    def __init__(self, ops: Ops, client: httpx.AsyncClient) -> None:
        self.ops = ops
        self._client = client

    async def act(self, verb: str, **body: Any) -> httpx.Response:
        return await self._client.post(f"/models/{verb}", headers=DANA, json={"reason": "because", **body})

    async def stage(self, model: str, factor: float = 1.0) -> httpx.Response:
        sent = packed(pack(artefact_of(model, factor)))
        return await self._client.post("/models/stage", params={"reason": "new"}, headers=DANA, content=sent)

    async def listed(self) -> list[str]:
        answer = await self._client.get("/models", headers=DANA)
        return [one["version"] for one in answer.json()["versions"]]


@asynccontextmanager
async def site(folder: Path, prefix: str) -> AsyncIterator[Site]:
    ops = Ops(folder, names=ModelNamespace(prefix))
    transport = httpx.ASGITransport(ops.api)
    async with httpx.AsyncClient(transport=transport, base_url="http://modelops") as client:
        yield Site(ops, client)


@pytest.fixture
async def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Site, Site]]:
    """Two on one repository, each with a version of `level` that serves; its own calls it so."""
    monkeypatch.setattr(desk, "_LOOK_S", 0.001)
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(site(tmp_path, prefix)) for prefix in ("acme.", "bolt.")]
        for one in both:
            assert (await one.stage("level")).status_code == 200
            done = await one.act("promote", version="level:1")
            assert done.status_code == 200, done.text
        yield both[0], both[1]


async def test_each_sees_its_own_under_its_own_names(sites: tuple[Site, Site]) -> None:
    acme, bolt = sites
    assert acme.ops.root == bolt.ops.root
    assert (await acme.listed(), await bolt.listed()) == (["acme.level:1"], ["bolt.level:1"])
    assert sorted(one.name for one in acme.ops.root.glob("[!.]*")) == ["acme.level", "bolt.level"]
    assert acme.ops.routes.routes[SIGNAL_SET].contract.model == "acme.level"


@pytest.mark.parametrize("verb", ["shadow", "canary", "promote", "retire"])
async def test_anothers_version_is_none(sites: tuple[Site, Site], verb: str) -> None:
    acme, bolt = sites
    assert (await bolt.stage("level", 2.0)).status_code == 200
    more = {"share": 0.1} if verb == "canary" else {}
    for version in ("bolt.level:2", "level:2"):
        answer = await acme.act(verb, version=version, **more)
        assert answer.status_code == 404, answer.text
    assert await bolt.listed() == ["bolt.level:1", "bolt.level:2"]


async def test_anothers_model_is_not_replaced(sites: tuple[Site, Site]) -> None:
    acme, bolt = sites
    before = {one: one.read_bytes() for one in (bolt.ops.root / "bolt.level").rglob("*") if one.is_file()}
    answer = await acme.stage("bolt.level", 3.0)
    assert answer.status_code == 422
    assert "has no dot in it" in answer.text
    # What is its own name, said in full, is taken as it is.
    assert (await acme.stage("acme.level", 3.0)).json()["version"] == "acme.level:2"
    after = {one: one.read_bytes() for one in (bolt.ops.root / "bolt.level").rglob("*") if one.is_file()}
    assert after == before


async def test_tidying_leaves_others_alone(sites: tuple[Site, Site]) -> None:
    """To acme, bolt's versions are not half done: they are not there."""
    acme, bolt = sites
    assert (await bolt.stage("level", 2.0)).status_code == 200
    (bolt.ops.root / "bolt.level" / "2" / "staged.json").unlink()
    await acme.ops.look()
    assert await bolt.listed() == ["bolt.level:1", "bolt.level:2"]
    await bolt.ops.look()
    assert await bolt.listed() == ["bolt.level:1"]


def test_each_decides_about_its_own_at_the_same_time(tmp_path: Path) -> None:
    acme, bolt = ModelNamespace("acme."), ModelNamespace("bolt.")
    with held(tmp_path, acme) as first, held(tmp_path, bolt) as second, held(tmp_path, acme) as third:
        assert (first, second, third) == (True, True, False)


async def test_a_route_to_anothers_model_is_not_followed(sites: tuple[Site, Site]) -> None:
    acme, bolt = sites
    table = RouteTable(None, MemoryPublisher(), ModelNamespace("acme."))
    mine, others = acme.ops.routes.routes[SIGNAL_SET], bolt.ops.routes.routes[SIGNAL_SET]
    for route, known in ((others, {}), (mine, {SIGNAL_SET: mine}), (others, {SIGNAL_SET: mine})):
        table._apply(_record(route))
        assert table.known == known


def _record(route: ModelRoute) -> ConsumerRecord:
    sent = message(MODELS, route, source="modelops")
    return ConsumerRecord(
        topic="models",
        partition=0,
        offset=0,
        timestamp=0,
        timestamp_type=0,
        key=sent.key,
        value=sent.value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=(),
    )


@pytest.mark.parametrize(
    ("prefix", "model", "full", "has"),
    [
        ("", "level", "level", True),
        ("", "acme.level", "acme.level", True),
        ("acme.", "level", "acme.level", False),
        ("acme.", "acme.level", "acme.level", True),
        ("acme.", "bolt.level", "acme.bolt.level", False),
        ("acme.", "acme.eu.level", "acme.acme.eu.level", False),
        ("acme.eu.", "acme.level", "acme.eu.acme.level", False),
    ],
)
def test_names(prefix: str, model: str, full: str, has: bool) -> None:
    names = ModelNamespace(prefix)
    assert (names.full(model), names.has(model)) == (full, has)
    assert not prefix or not names.has("acme.acme.eu.level")
