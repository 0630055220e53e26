"""Trials end by what they show: soon where they are bad, late where they are good, or never."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.artefacts import SIGNAL_SET, WINDOW, artefact_of, windows_of
from support.modelops import Ops, verdict

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelContract
from twinloop.modelops.plan import MODELOPS, Terms
from twinloop.modelops.trial import Finding, Limits
from twinloop.tritonio.errors import InferenceFailed

DANA = "person:dana"


@dataclass(frozen=True)
class Record:
    value: bytes | None


def records(verdicts: Iterable[Verdict]) -> list[Record]:
    return [Record(msgspec.json.encode(one)) for one in verdicts]


@pytest.fixture
def ops(tmp_path: Path) -> Ops:
    # The time that a function takes here is chance, and so is what each window says.
    return Ops(tmp_path, Limits(slower=1000.0, block=1))


class Line:
    """An asset whose windows both versions judge, with shares of alarms of their own."""

    def __init__(
        self, ops: Ops, serving: ModelContract, trial: ModelContract, asset: str = "acme.weld1"
    ) -> None:
        self.ops = ops
        self.asset = asset
        self.serving, self.trial = serving, trial
        self.draw = np.random.default_rng(zlib.crc32(asset.encode()))
        self.sequence = 0

    async def makes(self, windows: int, of_serving: float, of_trial: float) -> None:
        """Both have that many more windows judged; and modelops looks."""
        for _ in range(windows):
            self.sequence += 1
            at = self.ops.clock.now()
            pair = [
                verdict(one, self.sequence, bool(self.draw.random() < share), at, asset=self.asset)
                for one, share in ((self.serving, of_serving), (self.trial, of_trial))
            ]
            self.ops.watch.take(records(pair))  # type: ignore[arg-type]
        await self.ops.watch.judge()
        self.ops.watch.sync()


async def tried(ops: Ops, **terms: object) -> Line:
    first, second = await ops.two(hop=WINDOW)  # windows have nothing in common
    await ops.look()
    await ops.desk.shadow(None, ("level", 2), Terms(**terms), DANA, "try it")  # type: ignore[arg-type]
    ops.watch.sync()
    for one in (first, second):
        for _ in range(30):
            await ops.server.infer(one, windows_of(4))
    await ops.look()
    return Line(ops, first, second)


async def test_fifty_times_as_many_alarms_are_stopped_within_few_windows(ops: Ops) -> None:
    line = await tried(ops, auto=True)
    lines = [Line(ops, line.serving, line.trial, f"acme.weld{n}") for n in range(10)]
    while ops.route.trial is not None and lines[0].sequence < 100:
        for one in lines:
            await one.makes(1, 0.01, 0.5)
    assert ops.route.trial is None
    assert ops.route.contract == line.serving
    assert ops.route.by == MODELOPS
    assert "level:2 has" in ops.route.reason
    assert lines[0].sequence <= 10
    assert ops.registry.get_sample_value("twinloop_modelops_decided_total", {"how": "stopped"}) == 1.0


async def test_an_equal_one_is_promoted_if_that_was_said_when_it_began(ops: Ops) -> None:
    line = await tried(ops, auto=True)
    await line.makes(800, 0.0, 0.0)
    assert ops.route.trial is not None
    await line.makes(140, 0.0, 0.0)
    assert (ops.route.contract, ops.route.previous, ops.route.by) == (line.trial, line.serving, MODELOPS)
    assert ops.registry.get_sample_value("twinloop_modelops_decided_total", {"how": "promoted"}) == 1.0


async def test_else_it_waits_for_a_person_who_is_told(ops: Ops) -> None:
    line = await tried(ops)
    await line.makes(2000, 0.0, 0.0)
    assert ops.route.trial is not None
    found = ops.watch.outcome(SIGNAL_SET)
    assert found is not None
    assert found[1].finding is Finding.MAY_PASS
    assert found[0].tally.pairs == 2000


async def test_verdicts_of_a_scope_are_of_its_trial_and_of_no_other(ops: Ops) -> None:
    """A route for an asset goes before that for its signal set, as for the detector."""
    line = await tried(ops)
    await ops.desk.promote("acme.weld9", ("level", 1), DANA, "its own")
    other = Line(ops, line.serving, line.trial, "acme.weld9")
    await other.makes(50, 0.0, 1.0)
    found = ops.watch.outcome(SIGNAL_SET)
    assert found is not None
    assert found[0].tally.pairs == 0
    await line.makes(50, 0.0, 1.0)
    assert ops.route.trial is None
    assert ops.routes.routes["acme.weld9"].trial is None


async def test_a_trial_that_is_over_is_let_go_and_the_next_one_begins_anew(ops: Ops) -> None:
    line = await tried(ops)
    await line.makes(6, 0.0, 1.0)
    await ops.desk.rollback(SIGNAL_SET, DANA, "back")
    ops.watch.sync()
    assert ops.watch.outcome(SIGNAL_SET) is None
    ops.clock.advance(60)
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "again")
    ops.watch.sync()
    await line.makes(6, 0.0, 1.0)
    found = ops.watch.outcome(SIGNAL_SET)
    assert found is not None
    assert found[0].tally.pairs == 6


async def test_what_was_shown_counts_when_the_share_changes(ops: Ops) -> None:
    line = await tried(ops)
    await line.makes(600, 0.0, 0.0)
    await ops.desk.canary(SIGNAL_SET, None, 0.5, [], Terms(auto=True), DANA, "a bit")
    ops.watch.sync()
    assert ops.route.trial is not None
    await line.makes(340, 0.0, 0.0)
    assert ops.route.contract == line.trial


async def test_a_new_process_comes_to_the_same_end(ops: Ops) -> None:
    """It reads the verdicts again; in whatever order their partitions come."""
    line = await tried(ops, auto=True)
    at, draw = ops.clock.now(), np.random.default_rng(3)
    verdicts = [
        verdict(one, n, bool(draw.random() < share), at, asset=f"acme.weld{n % 20}")
        for n in range(600)
        for one, share in ((line.serving, 0.0), (line.trial, 0.6))
    ]
    draw.shuffle(verdicts)  # type: ignore[arg-type]
    ops.watch.take(records(verdicts))  # type: ignore[arg-type]
    await ops.watch.judge()
    assert ops.route.trial is None


async def test_a_record_that_is_no_verdict_is_counted(ops: Ops) -> None:
    await tried(ops)
    ops.watch.take([Record(b"garbage"), Record(None)])  # type: ignore[list-item]
    assert ops.registry.get_sample_value("twinloop_modelops_unreadable_total") == 2.0


async def test_one_on_trial_that_does_not_answer_is_stopped_as_it_holds_up_the_others(ops: Ops) -> None:
    line = await tried(ops)
    probe = ops.server.probe

    async def dying(contract: ModelContract) -> None:
        if contract == line.trial:
            raise InferenceFailed("its process died")
        await probe(contract)

    ops.server.probe = dying  # type: ignore[method-assign]
    await ops.look()
    await ops.watch.judge()
    assert ops.route.trial is not None
    await ops.look()
    await ops.watch.judge()
    assert ops.route.trial is None
    assert "level:2 does not answer" in ops.route.reason


async def test_while_nobody_answers_no_version_is_to_blame(ops: Ops) -> None:
    line = await tried(ops)

    async def dead(_: ModelContract) -> None:
        raise InferenceFailed("the machine is on fire")

    ops.server.probe = dead  # type: ignore[method-assign]
    for _ in range(5):
        await ops.look()
        await ops.watch.judge()
    assert ops.route.trial is not None
    assert ops.keeper.sick(line.trial) is not None


async def test_what_cannot_be_ended_now_is_ended_later(ops: Ops) -> None:
    line = await tried(ops, auto=True)
    ops.audit.away = "the disk is full"
    await line.makes(940, 0.0, 0.0)
    assert ops.route.trial is not None
    ops.audit.away = None
    await ops.watch.judge()
    assert ops.route.contract == line.trial


async def test_failures_before_the_trial_are_not_held_against_it(ops: Ops) -> None:
    _, second = await ops.two()
    ops.server.broken.add("level")
    for _ in range(10):
        with pytest.raises(InferenceFailed):
            await ops.server.infer(second, windows_of(1))
    ops.server.broken.clear()
    await ops.look()
    await ops.desk.shadow(None, ("level", 2), Terms(), DANA, "try it")
    ops.watch.sync()
    await ops.look()
    await ops.watch.judge()
    assert ops.route.trial is not None
    assert ops.server._used["level", 2].failures == 10


async def test_one_that_is_much_slower_waits_for_a_person(ops: Ops) -> None:
    line = await tried(ops, auto=True)
    used = ops.server._used["level", 2]
    ops.server._used["level", 2] = type(used)(used.requests + 50, 0, used.windows + 50, used.busy_s + 6000)
    await ops.look()
    await line.makes(940, 0.0, 0.0)
    found = ops.watch.outcome(SIGNAL_SET)
    assert found is not None
    assert "times as long" in found[1].why
    assert ops.route.trial is not None


async def test_a_version_of_another_cut_is_tried_too(ops: Ops) -> None:
    made = artefact_of("wide", 1.0, window=9, hop=2)
    first, _ = await ops.two()
    (other,) = await ops.published(made)
    await ops.desk.shadow(SIGNAL_SET, ("wide", 1), Terms(), DANA, "try it")
    ops.watch.sync()
    line = Line(ops, first, other)
    await line.makes(80, 0.0, 1.0)
    assert ops.route.trial is None


async def test_one_that_is_quiet_at_first_is_not_promoted_for_its_silence(ops: Ops) -> None:
    """Then it alarms on every window."""
    first, _ = await ops.two()
    made = artefact_of("level", 3.0)
    quiet = replace(made, contract=msgspec.structs.replace(made.contract, quiet=391))
    *_, contract = await ops.published(artefact_of("level", 1.0), artefact_of("level", 2.0), quiet)
    await ops.desk.shadow(None, ("level", 3), Terms(auto=True), DANA, "try it")
    ops.watch.sync()
    lines = [Line(ops, first, contract, f"acme.weld{n}") for n in range(20)]
    for line in lines:
        await line.makes(391, 0.0, 0.0)
    assert ops.route.trial is not None
    found = ops.watch.outcome(SIGNAL_SET)
    assert found is not None
    assert "0 alarms in 0 windows (and was quiet at first on 7820 more)" in found[1].why
    for line in lines:
        await line.makes(391, 0.0, 1.0)
    assert ops.route.trial is None
    assert ops.route.contract == first


async def test_one_on_trial_that_has_no_answer_to_some_windows_is_stopped(ops: Ops) -> None:
    line = await tried(ops)
    for n in range(600):
        at = ops.clock.now()
        both = [verdict(one, n, False, at) for one in (line.serving, line.trial)]
        ops.watch.take(records(both if n % 10 else both[:1]))  # type: ignore[arg-type]
    await ops.watch.judge()
    assert ops.route.trial is None
    assert "level:2 has no answer to 49 of 589 windows" in ops.route.reason
