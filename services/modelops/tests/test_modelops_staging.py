"""An artefact passes every step, or nothing of it is left and a sentence says which step and why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from support.artefacts import artefact_of
from support.modelops import NOW, Ops

from twinloop.contracts.models import ModelContract
from twinloop.contracts.packing import packed
from twinloop.modelops.errors import Refused, Step
from twinloop.modelops.plan import Said
from twinloop.modelops.shelf import Held
from twinloop.tritonio.artefact import Artefact, pack
from twinloop.tritonio.errors import InferenceFailed, TritonUnavailable
from twinloop.tritonio.repository import listed, retired
from twinloop.tritonio.server import Floats, Inference, largest_request

SAID = Said("person:dana", "a better one", NOW)


@pytest.fixture
def ops(tmp_path: Path) -> Ops:
    return Ops(tmp_path)


async def stage(ops: Ops, made: Artefact) -> tuple[Held, bool]:
    return await ops.staging.stage(packed(pack(made)), SAID)


def left(ops: Ops) -> set[str]:
    """Every file of the repository that is not there for good."""
    return {
        str(one.relative_to(ops.root)) for one in ops.root.rglob("*") if one.is_file() and one.name != ".lock"
    }


@pytest.mark.parametrize("recurrent", [False, True])
async def test_what_passes_is_served_beside_the_others(ops: Ops, recurrent: bool) -> None:
    first, new = await stage(ops, artefact_of("level", 1.0, recurrent=recurrent))
    assert (first.contract.version, new, first.may_serve) == (1, True, True)
    second, _ = await stage(ops, artefact_of("level", 2.0, recurrent=recurrent))
    assert second.contract.version == 2
    assert await ops.server.versions("level") == (1, 2)
    await ops.server.check(second.contract)
    assert second.card is not None
    assert second.staged is not None
    assert (second.staged.by, second.staged.reason, second.staged.at) == (SAID.by, SAID.reason, NOW)
    assert second.staged.run_p99_s > 0
    golden = ops.shelf.golden(second.contract)
    assert golden is not None
    assert len(golden.windows) == 16


@pytest.mark.parametrize("recurrent", [False, True])
async def test_a_full_request_is_measured_too(ops: Ops, recurrent: bool) -> None:
    """A fleet's detector sends so many windows at once, whatever one of them takes."""
    ops.latency.each = 0.01
    held, _ = await stage(ops, artefact_of("level", 1.0, recurrent=recurrent))
    assert held.staged is not None
    assert held.staged.full_windows == max(ops.server.batches) == largest_request(4, 2) == 1024
    assert held.staged.full_s == pytest.approx(0.01)


@pytest.mark.parametrize("ready", [True, False])
async def test_one_that_is_too_slow_for_many_windows_at_once_is_told(ops: Ops, ready: bool) -> None:
    infer = ops.server.infer

    async def late(contract: ModelContract, *windows: Floats, memory: Floats | None = None) -> Inference:
        if len(windows[0]) == 1024:
            ops.server.away = not ready
            raise TritonUnavailable("deadline exceeded")
        return await infer(contract, *windows, memory=memory)

    ops.server.infer = late  # type: ignore[method-assign]
    if not ready:
        with pytest.raises(TritonUnavailable):
            await stage(ops, artefact_of("level", 1.0))
        ops.server.away = False
        await ops.look()
        assert left(ops) == set()
        return
    held, _ = await stage(ops, artefact_of("level", 1.0))
    assert held.staged is not None
    assert (held.staged.full_windows, held.staged.full_s) == (1024, None)


async def test_the_same_again_is_the_version_that_it_has(ops: Ops) -> None:
    made = artefact_of("level", 1.0)
    await stage(ops, made)
    loads = len(ops.server.loads)
    held, new = await stage(ops, made)
    assert (held.contract.version, new) == (1, False)
    assert len(ops.server.loads) == loads
    assert listed(ops.root, "level") == (1,)


async def test_many_at_once_are_staged_one_after_the_other(ops: Ops) -> None:
    made = [artefact_of("level", float(factor)) for factor in (1, 2, 2, 3)]
    found = await asyncio.gather(*(stage(ops, one) for one in made))
    assert sorted({held.contract.version for held, _ in found}) == [1, 2, 3]
    assert sum(new for _, new in found) == 3


async def test_a_number_is_not_given_again_after_it_was_retired(ops: Ops) -> None:
    await stage(ops, artefact_of("level", 1.0))
    await stage(ops, artefact_of("level", 2.0))
    await ops.keeper.take_out("level", 2)
    held, _ = await stage(ops, artefact_of("level", 3.0))
    assert held.contract.version == 3


GOOD, OFF = artefact_of("level", 5.0), artefact_of("level", 5.0, error=0.1)
RECURRENT = artefact_of("level", 5.0, recurrent=True)


def of_json(name: str, **other: object) -> bytes:
    """The good one, with something else in a file."""
    files = pack(GOOD)
    return packed({**files, name: msgspec.json.encode({**msgspec.json.decode(files[name]), **other})})


class Trouble:
    """What is wrong, and what is said of it."""

    def __init__(self, step: Step, said: str, made: Artefact | bytes | None = None) -> None:
        self.step = step
        self.said = said
        self.sent = made if isinstance(made, bytes) else packed(pack(made or GOOD))

    def prepare(self, ops: Ops) -> None:
        """Make the server bad."""


class Spoilt(Trouble):
    def prepare(self, ops: Ops) -> None:
        ops.server.unloadable.add(("level", 2))


class Twisted(Trouble):
    def prepare(self, ops: Ops) -> None:
        ops.server.twisted["level"] = 0.1


class Slow(Trouble):
    def prepare(self, ops: Ops) -> None:
        ops.latency.each = 2.0


class Slower(Trouble):
    """In the process of its own."""

    def prepare(self, ops: Ops) -> None:
        object.__setattr__(ops.staging._demands, "budget_s", 1e-9)


class Dying(Trouble):
    def prepare(self, ops: Ops) -> None:
        ops.server.broken.add("level")


class Deaf(Trouble):
    """To zeros, on this server."""

    def prepare(self, ops: Ops) -> None:
        probe = ops.server.probe

        async def deaf(contract: ModelContract) -> None:
            if contract.version == 2:
                raise InferenceFailed("it answered NaN or infinity")
            await probe(contract)

        ops.server.probe = deaf  # type: ignore[method-assign]


BAD = [
    Trouble(Step.UNPACK, "is no tar file", b"garbage"),
    Trouble(Step.UNPACK, "contract.json, card.json, golden.npz is missing", packed({"model.onnx": b""})),
    Trouble(Step.CHECK, "model.onnx: not a valid ONNX file", packed({**pack(GOOD), "model.onnx": b"no"})),
    Trouble(Step.CHECK, "contract.json: hop is 0", of_json("contract.json", hop=0)),
    Trouble(Step.CHECK, "is no name and version of a folder", of_json("contract.json", model="m" * 300)),
    Trouble(Step.CHECK, "has 1 values, not 21", of_json("card.json", reference={"score": [1.0]})),
    Trouble(Step.COMPARE, "than the trainer's computation: deviations differ by up to 0.1", OFF),
    Slower(Step.LATENCY, "1e-06 ms is the budget"),
    Trouble(Step.PUBLISH, "cannot lie beside versions without one", RECURRENT),
    Spoilt(Step.LOAD, "level could not be loaded"),
    Twisted(Step.SERVE, "through Triton it answers otherwise: deviations differ by up to 0.1"),
    Slow(Step.SERVE, "took up to 2000.0 ms, and 1000 ms is the budget"),
    Deaf(Step.SERVE, "it answered NaN or infinity"),
    Dying(Step.SERVE, "the model's process has died"),
]  # fmt: skip


@pytest.mark.parametrize("trouble", BAD, ids=lambda one: f"{one.step}, {one.said[:20]}")
async def test_what_does_not_pass_a_step_leaves_nothing(ops: Ops, trouble: Trouble) -> None:
    first, _ = await stage(ops, artefact_of("level", 1.0))
    before = left(ops)
    trouble.prepare(ops)
    with pytest.raises(Refused) as caught:
        await ops.staging.stage(trouble.sent, SAID)
    assert caught.value.step is trouble.step
    assert str(caught.value).startswith(f"{trouble.step}: ")
    assert trouble.said in str(caught.value)
    assert left(ops) == before
    assert await ops.server.versions("level") == (1,)
    ops.server.broken.clear()
    await ops.server.check(first.contract)
    await ops.server.probe(first.contract)
    assert (
        ops.registry.get_sample_value("twinloop_modelops_staged_total", {"outcome": str(trouble.step)}) == 1.0
    )


async def test_the_first_of_a_model_leaves_no_folder_either(ops: Ops) -> None:
    ops.server.unloadable.add(("level", 1))
    with pytest.raises(Refused, match="load: "):
        await stage(ops, artefact_of("level", 1.0))
    assert not (ops.root / "level").exists()


async def test_while_triton_is_away_nobody_is_to_blame(ops: Ops) -> None:
    """It says nothing of the artefact, which may come again."""
    made = artefact_of("level", 1.0)
    ops.server.away = True
    with pytest.raises(TritonUnavailable):
        await stage(ops, made)
    assert listed(ops.root, "level") == ()
    assert (ops.root / "level/1/model.py").exists(), (
        "a Triton that starts now may have read that it is listed"
    )
    ops.server.away = False
    await ops.look()
    assert left(ops) == set()
    assert (await stage(ops, made))[1]


@pytest.mark.parametrize("ready", [True, False])
async def test_one_that_does_not_answer_in_time_is_to_blame_if_the_server_is_there(
    ops: Ops, ready: bool
) -> None:
    async def late(*_: object, **__: object) -> None:
        ops.server.away = not ready
        raise TritonUnavailable("deadline exceeded")

    infer, ops.server.infer = ops.server.infer, late  # type: ignore[method-assign, assignment]
    with pytest.raises(Refused if ready else TritonUnavailable, match="deadline exceeded"):
        await stage(ops, artefact_of("level", 1.0))
    ops.server.infer, ops.server.away = infer, False  # type: ignore[method-assign]
    if not ready:
        await ops.look()
    assert left(ops) == set()
    assert (await stage(ops, artefact_of("level", 1.0)))[1]


async def test_one_that_is_cut_off_is_taken_out_by_the_next_look(ops: Ops) -> None:
    """Killed after it was published: it has a card and no mark."""
    await stage(ops, artefact_of("level", 1.0))
    before = left(ops)
    ops.shelf.put(artefact_of("level", 2.0))
    assert listed(ops.root, "level") == (1, 2)
    await ops.look()
    assert left(ops) == before
    assert await ops.server.versions("level") == (1,)


async def test_what_came_without_staging_stays(ops: Ops) -> None:
    """Of a repository that is older than staging: no card."""
    await ops.published(artefact_of("level", 1.0), artefact_of("level", 2.0))
    await ops.look()
    held = ops.shelf.find("level", 2)
    assert held is not None
    assert held.may_serve


async def test_a_retirement_that_was_cut_off_is_finished_by_the_next_look(ops: Ops) -> None:
    for factor in (1.0, 2.0):
        await stage(ops, artefact_of("level", factor))
    ops.shelf.unlist("level", 2)  # killed after that
    await ops.look()
    assert retired(ops.root, "level") == (2,)
    assert await ops.server.versions("level") == (1,)


async def test_what_a_route_names_stays_whatever_it_looks_like(ops: Ops) -> None:
    for factor in (1.0, 2.0):
        await stage(ops, artefact_of("level", factor))
    await ops.desk.promote(None, ("level", 2), "person:dana", "better")
    ops.shelf.unlist("level", 2)
    (ops.root / "level/2/staged.json").unlink()
    await ops.look()
    assert listed(ops.root, "level") == (1, 2)
    assert await ops.server.versions("level") == (1, 2)
