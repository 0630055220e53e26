"""What persons decide comes into force as a whole, written down first, one change at a time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from support.artefacts import SIGNAL_SET, artefact_of, windows_of
from support.modelops import Ops, verdict

from twinloop.audit.errors import AuditAway
from twinloop.contracts.models import ModelContract
from twinloop.modelops import desk
from twinloop.modelops.desk import in_words
from twinloop.modelops.errors import Conflict, NotKnown
from twinloop.modelops.plan import MODELOPS, Terms
from twinloop.tritonio.repository import retired

DANA = "person:dana"


@pytest.fixture
def ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ops:
    monkeypatch.setattr(desk, "_LOOK_S", 0.001)
    return Ops(tmp_path)


async def test_a_swap_is_one_record_and_is_written_down_before(ops: Ops) -> None:
    _, second = await ops.two()
    await ops.desk.shadow(None, ("level", 2), Terms(auto=True), DANA, "try it")
    await ops.desk.canary(SIGNAL_SET, None, 0.2, ["acme.weld1"], Terms(), DANA, "a bit")
    route = await ops.desk.promote(SIGNAL_SET, None, DANA, "it is better")
    assert [one.by for one in ops.routes.published] == [DANA] * 4
    assert route == ops.route
    assert route.contract == second
    assert ops.audit.log == [
        "audit promote model",
        "audit shadow model",
        "audit canary model",
        "audit promote model",
    ]
    entry = ops.audit.entries[-1]
    assert (entry["asset"], entry["who"], entry["reason"]) == (SIGNAL_SET, DANA, "it is better")
    assert entry["old"] == "level:1 serves, level:2 on trial for 20% of the assets, acme.weld1"
    assert entry["new"] == "level:2 serves, level:1 before" == in_words(route)


async def test_what_is_refused_changes_nothing(ops: Ops) -> None:
    await ops.two()
    published, entries = len(ops.routes.published), len(ops.audit.entries)
    with pytest.raises(Conflict):
        await ops.desk.rollback(SIGNAL_SET, DANA, "why not")
    with pytest.raises(NotKnown, match="there is no level:9: there is level:1, level:2"):
        await ops.desk.shadow(None, ("level", 9), Terms(), DANA, "try it")
    with pytest.raises(NotKnown, match="there is no other:1: stage it first"):
        await ops.desk.promote(None, ("other", 1), DANA, "try it")
    with pytest.raises(Conflict, match="no version is on trial: name the one"):
        await ops.desk.promote(None, None, DANA, "try it")
    assert (len(ops.routes.published), len(ops.audit.entries)) == (published, entries)


async def test_without_a_version_or_a_scope_the_only_trial_is_meant(ops: Ops) -> None:
    await ops.two()
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    route = await ops.desk.canary(None, None, 0.5, [], Terms(), DANA, "half")
    assert route.trial is not None
    assert (route.scope, route.trial.share) == (SIGNAL_SET, 0.5)
    route = await ops.desk.promote(None, None, DANA, "it is as good")
    assert (route.scope, route.contract.version) == (SIGNAL_SET, 2)


async def test_without_the_audit_store_nothing_changes(ops: Ops) -> None:
    await ops.two()
    await ops.look()
    await ops.look(11.0)
    ops.audit.away = "the disk is full"
    with pytest.raises(AuditAway):
        await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    with pytest.raises(AuditAway):
        await ops.desk.retire(("level", 2), DANA, "old")
    assert ops.route.trial is None
    assert ops.shelf.find("level", 2) is not None


async def test_nobody_gets_a_version_that_is_not_served(ops: Ops) -> None:
    """No request may fail because of a swap."""
    await ops.two()
    ops.server._loaded["level"].pop(2)
    ops.server.unloadable.add(("level", 2))
    for act in (
        ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it"),
        ops.desk.promote(None, ("level", 2), DANA, "try it"),
    ):
        with pytest.raises(Conflict, match="nobody would be served by level:2"):
            await act
    ops.server.unloadable.clear()
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    ops.server._loaded["level"].pop(2)
    with pytest.raises(Conflict, match="nobody would be served by level:2"):
        await ops.desk.promote(SIGNAL_SET, None, DANA, "now")
    assert ops.route.contract.version == 1
    await ops.desk.rollback(SIGNAL_SET, DANA, "back")  # which must work at any time


async def test_nobody_gets_a_version_that_has_not_passed(ops: Ops) -> None:
    await ops.two()
    ops.shelf.put(artefact_of("level", 3.0))
    await ops.server.load("level")
    with pytest.raises(Conflict, match="level:3 has not passed staging"):
        await ops.desk.promote(None, ("level", 3), DANA, "try it")


async def test_changes_at_once_follow_each_other(ops: Ops) -> None:
    await ops.two()
    found = await asyncio.gather(
        ops.desk.shadow(None, ("level", 2), Terms(), DANA, "a"),
        ops.desk.promote(SIGNAL_SET, None, DANA, "b"),
        ops.desk.rollback(SIGNAL_SET, DANA, "c"),
        return_exceptions=True,
    )
    assert not [one for one in found if isinstance(one, BaseException)]
    assert [one.contract.version for one in ops.routes.published] == [1, 1, 2, 1]


async def test_how_many_verdicts_are_published_follows_from_how_many_windows_there_are(ops: Ops) -> None:
    first, _ = await ops.two()
    await ops.look()
    await ops.server.infer(first, windows_of(1000))
    await ops.look(1.0)  # a thousand windows a second, and one of a probe
    route = await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    assert route.trial is not None
    assert route.trial.every == 11


# ---- retiring


async def test_a_version_is_retired_once_nobody_asks_it(ops: Ops) -> None:
    _, second = await ops.two()
    await ops.look()
    await ops.server.infer(second, windows_of(1))
    await ops.look()
    retiring = asyncio.create_task(ops.desk.retire(("level", 2), DANA, "old"))
    for _ in range(4):
        await asyncio.sleep(0)
        await ops.look()
        assert not retiring.done()
        assert await ops.server.versions("level") == (1, 2)
    await ops.server.infer(second, windows_of(1))  # somebody who lags behind
    async with asyncio.timeout(20):
        for looks in range(100):
            await ops.look()
            await asyncio.sleep(0.01)
            if retiring.done():
                break
            assert await ops.server.versions("level") == (1, 2) or looks >= 5
    await retiring
    assert await ops.server.versions("level") == (1,)
    assert retired(ops.root, "level") == (2,)
    assert ops.audit.entries[-1]["what"] == "retire model"
    assert ops.audit.entries[-1]["old"] == "level:2"


async def test_one_that_is_asked_all_the_time_is_not_retired(ops: Ops) -> None:
    _, second = await ops.two()
    await ops.look()
    retiring = asyncio.create_task(ops.desk.retire(("level", 2), DANA, "old"))
    async with asyncio.timeout(20):
        while not retiring.done():
            await ops.server.infer(second, windows_of(1))
            await ops.look()
            await asyncio.sleep(0.01)
    with pytest.raises(Conflict, match="level:2 was asked within the last 10 s"):
        await retiring
    assert await ops.server.versions("level") == (1, 2)


async def test_nobody_is_retired_by_a_process_that_has_not_looked_yet(ops: Ops) -> None:
    await ops.two()
    retiring = asyncio.create_task(ops.desk.retire(("level", 2), DANA, "old"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not retiring.done()
    retiring.cancel()


async def test_one_that_gets_a_route_meanwhile_stays(ops: Ops) -> None:
    await ops.two()
    await ops.look()
    retiring = asyncio.create_task(ops.desk.retire(("level", 2), DANA, "old"))
    await asyncio.sleep(0)
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    async with asyncio.timeout(20):
        while not retiring.done():
            ops.uses.take("level", await ops.server.usage("level"), ops.seconds())
            ops.seconds.at += 2
            await asyncio.sleep(0.01)
    with pytest.raises(Conflict, match="on trial"):
        await retiring
    assert await ops.server.versions("level") == (1, 2)


async def test_what_triton_cannot_be_told_now_it_is_told_later(ops: Ops) -> None:
    await ops.two()
    ops.server._loaded["level"].pop(2)

    async def away(_: str) -> None:
        ops.server.away = True
        ops.server._answer()

    load, ops.server.load = ops.server.load, away  # type: ignore[method-assign, assignment]
    await ops.desk.retire(("level", 2), DANA, "old")
    with pytest.raises(NotKnown, match="there is level:1"):
        await ops.desk.retire(("level", 2), DANA, "again")
    ops.server.away, ops.server.load = False, load  # type: ignore[method-assign]
    await ops.look()
    assert await ops.server.versions("level") == (1,)
    assert retired(ops.root, "level") == (2,)


# ---- what a trial has shown


async def test_a_trial_ends_by_itself_and_says_why(ops: Ops) -> None:
    await ops.two()
    route = await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    made = await ops.desk.conclude(route, promote=False, why="too many alarms")
    assert made == ops.route
    assert (ops.route.trial, ops.route.by, ops.route.reason) == (None, MODELOPS, "too many alarms")
    assert await ops.desk.conclude(route, promote=True, why="late") is None
    assert ops.route.contract.version == 1


async def test_a_trial_that_a_person_changed_meanwhile_is_another_one(ops: Ops) -> None:
    await ops.two()
    route = await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    await ops.desk.rollback(SIGNAL_SET, DANA, "back")
    ops.clock.advance(1)
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "again")
    assert await ops.desk.conclude(route, promote=False, why="late") is None
    assert ops.route.trial is not None


async def test_a_bad_one_is_stopped_also_while_nothing_can_be_written_down(ops: Ops) -> None:
    await ops.two()
    route = await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    ops.audit.away = "the disk is full"
    with pytest.raises(AuditAway):
        await ops.desk.conclude(route, promote=True, why="good")
    assert ops.route.contract.version == 1
    await ops.desk.conclude(route, promote=False, why="bad")
    assert ops.route.trial is None


async def test_one_for_other_frames_gets_no_route(ops: Ops) -> None:
    await ops.two()
    made = artefact_of("other", 1.0)
    await ops.published(
        replace(made, contract=msgspec.structs.replace(made.contract, columns=("level", "noise", "x")))
    )
    for act in (
        ops.desk.shadow(None, ("other", 1), Terms(), DANA, "try it"),
        ops.desk.canary(None, ("other", 1), 0.5, [], Terms(), DANA, "try it"),
        ops.desk.promote(None, ("other", 1), DANA, "serve"),
        ops.desk.promote("acme.weld1", ("other", 1), DANA, "serve"),
    ):
        with pytest.raises(Conflict, match="is for frames of level, noise, x"):
            await act
    assert list(ops.routes.routes) == [SIGNAL_SET]


async def judged(ops: Ops, contract: ModelContract, windows: range, asset: str = "acme.weld1") -> None:
    """Both versions of the trial have judged these."""
    assert ops.route.trial is not None
    ops.trials.sync(ops.routes.known)
    for n in windows:
        for one in (ops.route.contract, contract):
            ops.trials.take(verdict(one, n, False, ops.clock.now(), asset=asset))


async def test_one_that_is_quiet_at_first_decides_where_it_is_not_any_more(ops: Ops) -> None:
    """Else nobody would judge meanwhile."""
    await ops.two()
    made = artefact_of("level", 3.0)
    quiet = replace(made, contract=msgspec.structs.replace(made.contract, quiet=50))
    *_, contract = await ops.published(artefact_of("level", 1.0), artefact_of("level", 2.0), quiet)
    version = ("level", 3)
    for act in (
        lambda: ops.desk.promote(None, version, DANA, "serve"),
        lambda: ops.desk.canary(None, version, 0.5, [], Terms(), DANA, "a bit"),
    ):
        with pytest.raises(Conflict, match="before it has seen 50 windows of an asset, and has judged none"):
            await act()
    await ops.desk.shadow(None, version, Terms(), DANA, "try it")
    await judged(ops, contract, range(60))
    await judged(ops, contract, range(40), "acme.weld2")
    with pytest.raises(Conflict, match="and has at 1 of 2: let it shadow at level"):
        await ops.desk.promote(SIGNAL_SET, None, DANA, "serve")
    await judged(ops, contract, range(40, 51), "acme.weld2")
    await ops.desk.canary(SIGNAL_SET, None, 0.5, [], Terms(), DANA, "a bit")
    assert (await ops.desk.promote(SIGNAL_SET, None, DANA, "serve")).contract == contract
    await ops.desk.rollback(SIGNAL_SET, DANA, "back")
    with pytest.raises(Conflict, match="has judged none on trial"):
        await ops.desk.promote(None, version, DANA, "what it has seen on an earlier trial may be lost")
    assert (await ops.desk.promote(None, version, DANA, "serve", cold=True)).contract == contract


async def test_one_that_serves_nobody_blind_or_is_kept_ready_may_serve_at_once(ops: Ops) -> None:
    made = artefact_of("level", 1.0)
    quiet = replace(made, contract=msgspec.structs.replace(made.contract, quiet=50))
    first, _ = await ops.published(quiet, artefact_of("level", 2.0))
    assert (await ops.desk.promote(None, ("level", 1), DANA, "nobody has served")).contract == first
    assert (await ops.desk.promote("acme.weld1", ("level", 1), DANA, "it serves there")).contract == first
    await ops.desk.promote(None, ("level", 2), DANA, "serve")
    assert (await ops.desk.promote(None, ("level", 1), DANA, "it was kept ready")).contract == first


async def test_an_asset_without_a_route_of_its_own_is_served_by_that_of_its_signal_set(ops: Ops) -> None:
    await ops.two()
    made = artefact_of("other", 1.0)
    await ops.published(replace(made, contract=msgspec.structs.replace(made.contract, quiet=50)))
    with pytest.raises(Conflict, match="let it shadow at level"):
        await ops.desk.promote("acme.weld1", ("other", 1), DANA, "its own")
    await ops.desk.promote("acme.weld1", ("other", 1), DANA, "its own", cold=True)
