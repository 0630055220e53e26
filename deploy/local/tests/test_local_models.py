"""What a data scientist of the demo does with an artefact, at modelops itself, over memory and a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from support.artefacts import SIGNAL_SET, artefact_of
from support.modelops import Ops

from twinloop.local.demo.models import DATA_SCIENTIST, into_service
from twinloop.local.demo.operator import People
from twinloop.local.demo.play import PlayError
from twinloop.tritonio.artefact import write


@pytest.fixture
def ops(tmp_path: Path) -> Ops:
    return Ops(tmp_path)


@pytest.fixture
async def people(ops: Ops, tmp_path: Path) -> AsyncIterator[People]:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / f"{DATA_SCIENTIST}.token").write_text(f"{DATA_SCIENTIST}\n")
    async with People("http://modelops", tmp_path / "tokens", 60, httpx.ASGITransport(ops.api)) as people:
        yield people


async def test_an_artefact_is_staged_and_promoted_by_a_person_with_a_reason(
    ops: Ops, people: People, tmp_path: Path
) -> None:
    write(tmp_path / "made", artefact_of("level", 1.0))
    told = await into_service(people, tmp_path / "made", "fitted on healthy welds")
    assert told.startswith(f"level:1 staged and promoted by dana, serves {SIGNAL_SET} (")
    route = ops.routes.routes[SIGNAL_SET]
    assert (route.contract.version, route.by) == (1, "person:dana")
    assert route.reason == "fitted on healthy welds"
    assert ops.shelf.card("level", 1) is not None

    await into_service(people, tmp_path / "made", "for one station", "acme.weld1")
    assert ops.routes.routes["acme.weld1"].contract == route.contract
    assert ops.routes.routes[SIGNAL_SET] == route


async def test_what_serves_already_goes_on(ops: Ops, people: People, tmp_path: Path) -> None:
    write(tmp_path / "made", artefact_of("level", 1.0))
    for _ in range(2):
        await into_service(people, tmp_path / "made", "fitted on healthy welds")
    assert len(ops.routes.published) == 1


async def test_what_modelops_refuses_is_said_in_its_words(ops: Ops, people: People, tmp_path: Path) -> None:
    write(tmp_path / "made", artefact_of("level", 1.0, error=0.5))
    with pytest.raises(PlayError, match=r"made is not served: /models/stage: 422 .*compare: "):
        await into_service(people, tmp_path / "made", "fitted on healthy welds")
    assert ops.routes.routes == {}
