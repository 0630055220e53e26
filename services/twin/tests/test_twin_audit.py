"""The audit store as the twin uses it: the same promises from the real one and from the tests' own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.twins import ASSET, FakeAudit
from support.waiting import until

from twinloop.audit.errors import AuditAway
from twinloop.audit.log import audit_log
from twinloop.audit.port import Audit
from twinloop.audit.store import verify_file
from twinloop.runtime.clock import SystemClock


@dataclass
class Case:
    """A store, how it goes away and comes back, and how many entries it has."""

    audit: Audit
    go: Callable[[], object]
    come: Callable[[], object]
    entries: Callable[[], int]


@pytest.fixture(params=["fake", "real"])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    if request.param == "fake":
        fake = FakeAudit()
        yield Case(
            fake,
            lambda: setattr(fake, "away", "pulled out"),
            lambda: setattr(fake, "away", None),
            lambda: len(fake.entries),
        )
        return
    home, elsewhere = tmp_path / "audit", tmp_path / "elsewhere"
    home.mkdir()

    def entries() -> int:
        file = home / "twin.jsonl"
        assert verify_file(file) == []
        return sum(b'"resumed"' not in one for one in file.read_bytes().splitlines())

    async with audit_log(home, "twin", SystemClock()) as real:
        yield Case(real, lambda: home.rename(elsewhere), lambda: elsewhere.rename(home), entries)


async def write(case: Case) -> None:
    await case.audit.append(
        asset=ASSET, who="person:olaf", what="approved", old="a", new="b", reason="x", change_id="c"
    )


async def test_what_is_written_is_there(case: Case) -> None:
    assert case.audit.problem() is None
    for _ in range(3):
        await write(case)
    assert case.entries() == 3


async def test_a_store_that_is_away_takes_nothing_says_so_and_takes_again_when_it_is_back(case: Case) -> None:
    await write(case)
    case.go()
    with pytest.raises(AuditAway):
        await write(case)
    assert case.audit.problem()
    case.come()
    await until(lambda: case.audit.problem() is None)
    await write(case)
    assert case.entries() == 2
