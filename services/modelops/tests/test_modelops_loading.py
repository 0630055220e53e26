"""What routes name is served, and nobody is disturbed by what is done for that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.artefacts import artefact_of, windows_of
from support.modelops import Ops

from twinloop.contracts.models import ModelContract
from twinloop.modelops.loading import HEALED_AFTER, Keeper
from twinloop.modelops.shelf import Shelf
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed, TritonUnavailable
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.repository import listed, retire, retired
from twinloop.tritonio.server import Usage
from twinloop.tritonio.serving import GPU, Serving, ServingTable, Target, TensorRT


@pytest.fixture
def ops(tmp_path: Path) -> Ops:
    return Ops(tmp_path)


async def test_after_a_restart_of_triton_what_is_named_is_loaded_at_once(ops: Ops) -> None:
    first, _ = await ops.two()
    await ops.look()
    assert ops.keeper.problem() is None
    ops.server.restart()
    await ops.look()
    await ops.server.check(first)
    assert ops.keeper.problem() is None


async def test_a_server_that_is_away_is_told_by_readiness_and_blamed_on_no_version(ops: Ops) -> None:
    first, _ = await ops.two()
    assert ops.keeper.problem() == "triton was not asked yet"
    ops.server.away = True
    for _ in range(5):
        await ops.look()
    assert ops.keeper.problem() == "the server is away"
    assert ops.keeper.sick(first) is None
    ops.server.away = False
    await ops.look()
    assert ops.keeper.problem() is None


async def test_what_triton_serves_too_much_is_unloaded(ops: Ops) -> None:
    """As after a version was taken out by hand."""
    await ops.two()
    retire(ops.root, "level", 2)
    await ops.look()
    assert await ops.server.versions("level") == (1, 2), "it may be somebody who is about to load"
    await ops.look()
    assert await ops.server.versions("level") == (1,)
    loads = len(ops.server.loads)
    await ops.look()
    assert len(ops.server.loads) == loads


async def test_a_model_that_is_retired_as_a_whole_is_unloaded(ops: Ops) -> None:
    contract, _ = await ops.published(artefact_of("other", 1.0), artefact_of("other", 2.0))
    ops.server.publish(replace(contract, model="alien"), lambda windows: windows)
    await FakeTriton.load(ops.server, "alien")
    for version in (1, 2):
        retire(ops.root, "other", version)
    for _ in range(2):
        await ops.look()
    assert await ops.server.versions("other") == ()
    assert await ops.server.versions("alien") == (1,), "what was never in the repository is somebody else's"


async def test_what_nobody_needs_is_loaded_when_somebody_wants_it(ops: Ops) -> None:
    """Not before: a repository may hold many that were left there."""
    await ops.two()
    (other,) = await ops.published(artefact_of("other", 1.0))
    ops.server.restart()
    for _ in range(3):
        await ops.look()
    assert await ops.server.versions("level") == (1, 2)
    assert await ops.server.versions("other") == ()
    await ops.desk.promote("acme.weld1", ("other", 1), "person:dana", "its own")
    await ops.server.check(other)


async def test_a_version_that_does_not_answer_is_loaded_anew_and_the_others_go_on(ops: Ops) -> None:
    first, second = await ops.two()
    dying: set[int] = {1}
    seen: list[tuple[int, ...]] = []
    probe, load = ops.server.probe, ops.server.load

    async def probed(contract: object) -> None:
        if getattr(contract, "version", 0) in dying:
            raise InferenceFailed("its process died")
        await probe(contract)  # type: ignore[arg-type]

    async def loaded(model: str) -> None:
        await load(model)
        seen.append(await ops.server.versions(model))
        if 1 not in seen[-1]:
            dying.clear()  # it helps that it is unloaded

    ops.server.probe, ops.server.load = probed, loaded  # type: ignore[method-assign, assignment]
    await ops.look()
    assert ops.keeper.problem() is None, "once may be chance"
    await ops.look()
    assert ops.keeper.problem() == "level version 1: its process died"
    assert ops.keeper.sick(first) is not None
    assert ops.keeper.sick(second) is None
    assert seen == [(2,), (1, 2)]
    await ops.look()
    assert ops.keeper.problem() is None
    assert listed(ops.root, "level") == (1, 2)


async def test_what_does_not_help_is_not_done_for_ever(ops: Ops) -> None:
    first, _ = await ops.two()

    async def never(_: object) -> None:
        raise InferenceFailed("no")

    ops.server.probe = never  # type: ignore[method-assign, assignment]
    before = len(ops.server.loads)
    for _ in range(100):
        await ops.look()
    assert len(ops.server.loads) - before == 2 * len(HEALED_AFTER)
    assert ops.keeper.sick(first) == "level version 1: no"


async def test_a_version_that_is_gone_from_the_disk_is_told(ops: Ops) -> None:
    first, _ = await ops.two()
    retire(ops.root, "level", 1)
    ops.server.restart()
    await ops.look()
    assert ops.keeper.sick(first) == "level version 1 is gone from the disk"


async def test_what_was_on_its_way_out_of_a_model_that_nobody_needs_loads_no_other(ops: Ops) -> None:
    """Nor does a version stay that no other one of its model is served beside."""
    await ops.published(artefact_of("idle", 1.0), artefact_of("idle", 2.0))
    await ops.server.unload("idle")
    ops.server.loads.clear()
    ops.shelf.unlist("idle", 2)
    await ops.look()
    assert (retired(ops.root, "idle"), ops.server.loads) == ((2,), [])
    ops.shelf.unlist("idle", 1)
    await ops.look()
    assert retired(ops.root, "idle") == (1, 2)


async def test_its_folder_stays_until_triton_has_answered(ops: Ops) -> None:
    """One that starts meanwhile may have read that it is listed: without its files it would wait for ever."""
    await ops.two()
    ops.server.away = True
    with pytest.raises(TritonUnavailable):
        await ops.keeper.take_out("level", 2)
    await ops.look()
    assert listed(ops.root, "level") == (1,)
    assert (ops.root / "level/2/model.py").exists()
    ops.server.away = False
    await ops.look()
    assert not (ops.root / "level/2").exists()
    assert await ops.server.versions("level") == (1,)


async def test_one_on_its_way_out_does_not_come_back_with_another(ops: Ops) -> None:
    await ops.two()
    ops.shelf.unlist("level", 2)
    assert ops.shelf.put(artefact_of("level", 3.0)).version == 3
    assert listed(ops.root, "level") == (1, 3)
    ops.shelf.unlist("level", 1)
    ops.shelf.enlist("level", 1)
    assert listed(ops.root, "level") == (1, 3)


async def test_a_version_that_cannot_be_loaded_is_told(ops: Ops) -> None:
    first, _ = await ops.two()
    ops.server.restart()
    ops.server.unloadable.add(("level", 1))
    await ops.look()
    assert ops.keeper.sick(first) == "level version 1 cannot be loaded: Triton's log says why"
    ops.server.unloadable.clear()
    await ops.look()
    assert ops.keeper.problem() is None


async def test_what_a_route_names_and_nobody_lists_is_listed_again(ops: Ops) -> None:
    first, _ = await ops.two()
    ops.shelf.unlist("level", 1)
    await ops.look()
    assert listed(ops.root, "level") == (1, 2)
    await ops.server.check(first)


async def test_what_a_model_may_take_is_brought_up_to_date_once(ops: Ops) -> None:
    """As after `serving.toml` was changed and modelops started again. Triton may be away at that moment."""
    await ops.two()
    (idle,) = await ops.published(artefact_of("idle", 1.0))
    await ops.server.unload(idle.model)
    target = Target(table=ServingTable(default=Serving(instances=3)))
    keeper = Keeper(Shelf(ops.root, target), ops.server, ops.uses, ops.metrics)
    ops.server.loads.clear()
    await keeper.refresh()
    ops.server.away = True
    await keeper.look(lambda: ops.routes.known, 1.0)
    ops.server.away = False
    for _ in range(3):
        await keeper.look(lambda: ops.routes.known, 2.0)
    assert ops.server.loads == ["level"], "and nobody asks for the other"
    for model in ("level", "idle"):
        assert "count: 3" in (ops.root / model / "config.pbtxt").read_text()
    await keeper.refresh()
    await keeper.look(lambda: ops.routes.known, 3.0)
    assert ops.server.loads == ["level"]


async def test_what_cannot_be_served_so_goes_on_as_it_is(ops: Ops) -> None:
    await ops.two()
    await ops.published(artefact_of("other", 1.0, recurrent=True))
    target = Target(GPU, ServingTable(default=Serving(tensorrt=TensorRT.FP16)))
    keeper = Keeper(Shelf(ops.root, target), ops.server, ops.uses, ops.metrics)
    await keeper.refresh()
    assert 'backend: "python"' in (ops.root / "other/config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in (ops.root / "level/config.pbtxt").read_text()


# ---- what cannot be read, or is answered oddly


def spoil(ops: Ops, version: int) -> Path:
    path = ops.root / "level" / str(version) / "contract.json"
    path.write_text("{")
    return path


async def test_a_contract_that_cannot_be_read_is_told_and_nothing_of_its_model_is_changed(ops: Ops) -> None:
    """Triton would lose a version that it serves."""
    first, second = await ops.two()
    content = (ops.root / "level/2/contract.json").read_bytes()
    path = spoil(ops, 2)
    await ops.look()
    assert ops.keeper.problem() == f"{path} cannot be read: mend it, or remove its folder"
    assert ops.registry.get_sample_value("twinloop_modelops_unreadable_versions") == 1
    await ops.look()
    assert await ops.server.versions("level") == (1, 2)
    await ops.server.check(second)
    with pytest.raises(ContractMismatch, match="cannot be read"):
        ops.shelf.unlist("level", 1)
    with pytest.raises(ContractMismatch, match="cannot be read"):
        ops.shelf.put(artefact_of("level", 3.0))
    assert listed(ops.root, "level") == (1, 2)
    path.write_bytes(content)
    await ops.look()
    assert ops.keeper.problem() is None
    assert ops.keeper.sick(first) is None


async def test_one_of_another_model_is_changed_all_the_same(ops: Ops) -> None:
    await ops.two()
    spoil(ops, 2)
    assert ops.shelf.put(artefact_of("other", 3.0)).version == 1


async def test_what_a_process_that_died_has_left_there_is_left_too(ops: Ops) -> None:
    await ops.two()
    ops.shelf.unlist("level", 2)
    spoil(ops, 1)
    await ops.look()
    assert {one.name for one in (ops.root / "level").iterdir()} == {"1", "2", "config.pbtxt"}
    assert await ops.server.versions("level") == (1, 2)


async def test_an_odd_answer_about_one_model_is_told_and_the_others_are_looked_after(ops: Ops) -> None:
    await ops.two()
    (other,) = await ops.published(artefact_of("other", 1.0))
    await ops.desk.promote("acme.weld1", ("other", 1), "person:dana", "its own")
    usage, odd = ops.server.usage, [True]

    async def told(model: str) -> Mapping[int, Usage]:
        if model == "level" and odd:
            raise InferenceFailed("internal: no statistics")
        return await usage(model)

    ops.server.usage = told  # type: ignore[method-assign]
    await ops.server.infer(other, windows_of(3))
    await ops.look()
    assert ops.keeper.problem() == "level: internal: no statistics"
    assert ops.uses.quiet_s(("other", 1)) is not None
    assert ops.uses.quiet_s(("level", 1)) is None
    odd.clear()
    await ops.look()
    assert ops.keeper.problem() is None


async def test_an_odd_answer_about_all_is_told(ops: Ops) -> None:
    await ops.two()

    async def odd() -> Mapping[str, tuple[int, ...]]:
        raise InferenceFailed("internal")

    ops.server.serving = odd  # type: ignore[method-assign]
    await ops.look()
    assert ops.keeper.problem() == "internal"


# ---- while somebody loads


async def test_while_one_is_loaded_for_minutes_the_others_are_looked_after(ops: Ops) -> None:
    """And those of its model that serve are asked whether they do."""
    first, _ = await ops.two()
    (other,) = await ops.published(artefact_of("other", 1.0))
    await ops.desk.promote("acme.weld1", ("other", 1), "person:dana", "its own")
    asked: list[ModelContract] = []
    probe = ops.server.probe

    async def probed(contract: ModelContract) -> None:
        asked.append(contract)
        await probe(contract)

    ops.server.probe = probed  # type: ignore[method-assign]
    async with ops.keeper.lock("level"):
        ops.shelf.unlist("level", 2)
        await FakeTriton.unload(ops.server, "other")
        loads = len(ops.server.loads)
        for _ in range(3):
            await ops.look()
        assert asked.count(first) == asked.count(other) == 3
        assert ops.server.loads[loads:] == ["other"]
