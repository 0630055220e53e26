"""The engine on the model of Kafka, in every order that things can happen: what is committed is always right.

The processor under test puts each record together with the one before it, so that a state that was not
rebuilt shows. Invariant, at every step: what a reader of committed records finds is exactly what follows from
the records below the committed position. At the end, with everything healed: from all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message, decode
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, RECEIPTS
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.stream.engine import Engine
from twinloop.runtime.stream.errors import Redo, Retry, TransactionFailed
from twinloop.runtime.stream.memory import MemoryCluster, MemoryKafka, MemoryMember, MemoryProducer
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.pace import Pace
from twinloop.runtime.stream.ports import Record, TopicPartition
from twinloop.runtime.stream.receipts import Receipts
from twinloop.runtime.stream.recovery import Resume

GROUP = "pairs"
INPUTS = [TopicPartition("in", 0), TopicPartition("in", 1)]
BAD = b"bad"


def pairs(partition: TopicPartition, values: Sequence[bytes]) -> list[bytes]:
    """What must come of the records of a partition: each with the good one before it; the bad ones as they
    are."""
    made, before = [], b"-"
    for offset, value in enumerate(values):
        if value == BAD:
            made.append(b"dead %d/%d" % (partition.partition, offset))
        else:
            made.append(b"%d/%d %s %s" % (partition.partition, offset, before, value))
            before = value
    return made


class Pairs:
    """The state: the record before. A new one is wanted as often as `world` says; once it has `relieved`, it
    works."""

    def __init__(self, world: World, place: Resume) -> None:
        self.halted: str | None = None
        self.position = place.read_from
        self._world = world
        self._emit_from: float = place.emit_from
        self._before = (b"-", 0)

    def take(self, records: Sequence[Record]) -> list[Message]:
        work = []
        for one in records:
            if one.value == BAD:
                message = Message(DEAD_LETTERS, b"", b"dead %d/%d" % (one.partition, one.offset), ())
            else:
                text = b"%d/%d %s %s" % (one.partition, one.offset, self._before[0], one.value)
                message = Message(ANOMALIES, b"", text, ())
                self._before = (one.value, one.offset)
            if one.offset >= self._emit_from:
                work.append(message)
            self.position = one.offset + 1
        return work

    def replay_from(self) -> int:
        return self._before[1]

    def covers(self) -> Sequence[str]:
        return ()

    def renewal(self) -> Pairs | None:
        if not self._world.renewals:
            return None
        self._world.renewals -= 1
        fresh = Pairs(self._world, Resume(self._before[1], 0))
        fresh._emit_from = math.inf
        return fresh

    def relieve(self, former: Pairs) -> None:
        assert (self.position, self._before) == (former.position, former._before)
        self._emit_from = former._emit_from

    def close(self) -> None: ...


@dataclass
class World:
    """What members share: the broker, whether models answer, and everything that waits for the broker."""

    kafka: MemoryKafka = field(default_factory=MemoryKafka)
    away: bool = False
    renewals: int = 0
    redos: int = 0
    waiting: list[tuple[Node, str, asyncio.Future[None]]] = field(default_factory=list)
    sent: dict[TopicPartition, list[bytes]] = field(default_factory=lambda: {one: [] for one in INPUTS})

    def append(self, partition: TopicPartition, value: bytes) -> None:
        self.sent[partition].append(value)
        self.kafka.append(partition, value)

    def found(self) -> list[bytes]:
        """What is committed. A reader may have to wait for some of it until other transactions have ended."""
        topics = (TopicPartition(ANOMALIES.name, 0), TopicPartition(DEAD_LETTERS.name, 0))
        return sorted(one.value for topic in topics for one in self.kafka.committed(topic))

    def receipts_are_right(self) -> bool:
        """They follow each other up to the committed position, and say how much there is."""
        log = [decode(RECEIPTS, one.value) for one in self.kafka.committed(TopicPartition(RECEIPTS.name, 0))]
        for one in INPUTS:
            mine = [it for it in log if it.origin == f"{GROUP}/{one.topic}/{one.partition}"]
            at = self.kafka.positions.get((GROUP, one))
            ends = [0, *(it.next for it in mine)]
            if [it.first for it in mine] != ends[:-1] or ends[-1] != (0 if at is None else at.offset):
                return False
            if any(it.taken != it.next - it.first for it in mine):
                return False
        return sum(sum(it.outputs.values()) for it in log) == len(self.found())

    def due(self, *, all_of_it: bool = False) -> list[bytes]:
        """What must be found: of all records, or of those below the committed positions."""
        made = []
        for one in INPUTS:
            at = self.kafka.positions.get((GROUP, one))
            made += pairs(one, self.sent[one])[: None if all_of_it else 0 if at is None else at.offset]
        return sorted(made)


class Node:
    """One member: a process that can be killed."""

    def __init__(self, world: World, cluster: type[MemoryCluster] = MemoryCluster) -> None:
        self.world = world
        self.dead = False
        self._stopping = asyncio.Event()
        self._cluster = cluster(world.kafka, pass_by=self._pass_by)
        self.member = MemoryMember(self._cluster)
        self.engine: Engine[list[Message]] = Engine(
            self._cluster,
            self,
            group=GROUP,
            metrics=StreamMetrics(CollectorRegistry(), "test"),
            stopping=self._stopping,
            pace=Pace(poll_records=3, depth=3, poll_s=0.1, retry_s=0.5, fenced_s=4.0, drain_s=2.0),
            receipts=Receipts("test", "", SystemClock()),
        )
        self.engine.attach(self.member)
        self.run = asyncio.ensure_future(self.engine.run())
        self.tellings: list[asyncio.Future[None]] = []

    async def _pass_by(self, what: str) -> None:
        if self.dead:
            raise asyncio.CancelledError
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.world.waiting.append((self, what, future))
        await future

    async def open(self, partition: TopicPartition, place: Resume) -> Pairs:
        return Pairs(self.world, place)

    async def finish(
        self, work: Mapping[TopicPartition, list[Message]]
    ) -> Mapping[TopicPartition, list[Message]]:
        await self._pass_by("inferring")
        if self.world.away:
            raise Retry("models are away")
        if self.world.redos:
            self.world.redos -= 1
            raise Redo(list(work)[:1], "models have changed")
        return work

    def give(self, partition: TopicPartition) -> None:
        async def telling() -> None:
            self.member.give(partition)
            await self.engine.on_partitions_assigned([partition])

        self._tell(telling)

    def take_away(self, partition: TopicPartition) -> None:
        async def telling() -> None:
            await self.engine.on_partitions_revoked([partition])
            self.member.take_away(partition)

        self._tell(telling)

    def _tell(self, telling: Callable[[], Awaitable[None]]) -> None:
        """One after the other, as a consumer does."""
        before = self.tellings[-1] if self.tellings else None

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await telling()

        self.tellings.append(asyncio.ensure_future(in_turn()))

    def kill(self) -> None:
        """Nothing of it reaches the broker from now on."""
        self.dead = True
        for one in self.world.waiting:
            if one[0] is self:
                one[2].cancel()
        self.world.waiting[:] = [one for one in self.world.waiting if one[0] is not self]
        self.run.cancel()
        for telling in self.tellings:
            telling.cancel()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still until it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now


def answer(future: asyncio.Future[None], error: Exception | None = None) -> None:
    """What the broker says to a call, unless nobody waits for it any more."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


async def settle() -> None:
    """Let everything run until it waits for the broker or the clock."""
    for _ in range(15):
        await asyncio.sleep(0)


class Exploration(RuleBasedStateMachine):
    """Two members, two partitions; the rules are what can happen next."""

    cluster: type[MemoryCluster] = MemoryCluster

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        self.world = World()
        self.nodes: list[Node] = []
        self.owner: dict[TopicPartition, Node] = {}
        self.serial = 0
        self.do(self._start)

    def do(self, what: Callable[..., object], *arguments: Any) -> None:
        async def whole() -> None:
            what(*arguments)
            await settle()

        self.loop.run_until_complete(whole())

    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.do(lambda: None)

    def _start(self) -> None:
        self.nodes = [Node(self.world, self.cluster) for _ in range(2)]
        for one in INPUTS:
            self._give(one, self.nodes[0])

    def _give(self, partition: TopicPartition, node: Node) -> None:
        self.owner[partition] = node
        node.take_away(partition)  # if it still believes that it has it
        node.give(partition)

    @rule(partition=st.sampled_from(INPUTS), kinds=st.lists(st.booleans(), min_size=1, max_size=4))
    def records_arrive(self, partition: TopicPartition, kinds: list[bool]) -> None:
        for good in kinds:
            self.serial += 1
            self.world.append(partition, b"v%d" % self.serial if good else BAD)

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data())
    def the_broker_answers(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.world.waiting) - 1))
        _, _, future = self.world.waiting.pop(index)
        self.do(answer, future)

    @rule(times=st.integers(1, 15))
    def the_broker_answers_everybody(self, times: int) -> None:
        for _ in range(times):
            waiting = list(self.world.waiting)
            self.world.waiting.clear()
            self.do(lambda futures: [answer(one) for one in futures], [future for _, _, future in waiting])

    @precondition(lambda self: any(what != "inferring" for _, what, _ in self.world.waiting))
    @rule(data=st.data())
    def the_broker_does_not_answer(self, data: st.DataObject) -> None:
        asked = [n for n, (_, what, _) in enumerate(self.world.waiting) if what != "inferring"]
        _, what, future = self.world.waiting.pop(data.draw(st.sampled_from(asked)))
        self.do(answer, future, TransactionFailed(what))

    @rule(seconds=st.sampled_from([0.2, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule()
    def models_come_and_go(self) -> None:
        self.world.away = not self.world.away

    @rule()
    def a_state_is_to_be_renewed(self) -> None:
        self.world.renewals += 1

    @rule()
    def work_no_longer_fits(self) -> None:
        self.world.redos += 1

    @rule(n=st.integers(0, 1))
    def a_member_is_killed_and_its_partitions_go_to_the_other(self, n: int) -> None:
        self.do(self.nodes[n].kill)
        self.do(self._replace, n)

    def _replace(self, n: int) -> None:
        dead, self.nodes[n] = self.nodes[n], Node(self.world, self.cluster)
        for one, node in self.owner.items():
            if node is dead:
                self._give(one, self.nodes[1 - n])

    @rule(partition=st.sampled_from(INPUTS))
    def a_member_is_taken_for_dead_and_does_not_know(self, partition: TopicPartition) -> None:
        """The other one is given the partition; the first goes on as before."""
        other = self.nodes[1 - self.nodes.index(self.owner[partition])]
        self.do(self._give, partition, other)

    @rule(partition=st.sampled_from(INPUTS))
    def the_one_taken_for_dead_is_told(self, partition: TopicPartition) -> None:
        for node in self.nodes:
            if node is not self.owner[partition] and partition in node.member.assignment():
                self.do(node.take_away, partition)

    @rule(partition=st.sampled_from(INPUTS))
    def a_rebalance_moves_a_partition(self, partition: TopicPartition) -> None:
        """The owner is told first, and drains while the broker answers it."""
        owner = self.owner[partition]
        other = self.nodes[1 - self.nodes.index(owner)]
        self.do(owner.take_away, partition)
        self.the_broker_answers_everybody(8)
        self.pass_time(3.0)
        self.do(self._give, partition, other)

    @invariant()
    def what_is_committed_is_right(self) -> None:
        assert self.world.found() == self.world.due()
        assert self.world.receipts_are_right()

    @invariant()
    def nobody_crashed(self) -> None:
        for node in self.nodes:
            if node.run.done():
                node.run.result()
                raise AssertionError("a member ended of itself")

    def teardown(self) -> None:
        try:
            self.world.away = False
            for _ in range(1000):
                for one in INPUTS:
                    self.the_one_taken_for_dead_is_told(one)
                self.the_broker_answers_everybody(4)
                self.pass_time(1.0)
                self.what_is_committed_is_right()
                if self.world.found() == self.world.due(all_of_it=True):
                    break
            self.nobody_crashed()
            assert self.world.found() == self.world.due(all_of_it=True)
        finally:
            for node in self.nodes:
                self.do(node.kill)
            self.loop.close()


THOROUGH = settings(
    max_examples=400,
    stateful_step_count=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of rebalances are nothing to tell of."""
    with structlog.testing.capture_logs():
        yield


def test_whatever_happens_in_whatever_order_every_record_counts_once() -> None:
    run_state_machine_as_test(Exploration, settings=THOROUGH)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("what", ["killed", "not answered"])
def test_at_every_single_point_where_the_broker_is_asked(what: str) -> None:
    """One plain run, disturbed once, at its first, second, ... last call to the broker."""
    calls, last = 0, False
    while not last:
        run = Exploration()
        run.records_arrive(INPUTS[0], [True, False, True, True])
        run.records_arrive(INPUTS[1], [True, True])
        passed = 0
        while passed < calls and run.world.found() != run.world.due(all_of_it=True):
            _, _, future = run.world.waiting.pop(0)
            run.do(answer, future)
            run.what_is_committed_is_right()
            passed += 1
            if not run.world.waiting:
                run.pass_time(1.0)
        last = passed < calls
        if what == "killed":
            run.a_member_is_killed_and_its_partitions_go_to_the_other(0)
        elif run.world.waiting[0][1] != "inferring":
            _, asked, future = run.world.waiting.pop(0)
            run.do(answer, future, TransactionFailed(asked))
        run.records_arrive(INPUTS[0], [True])
        run.teardown()
        calls += 1
    assert calls > 30


class Loose(MemoryProducer):
    """Sends outside of its transaction."""

    async def send(self, messages: Sequence[Message]) -> None:
        for one in messages:
            await self._at("sending")
            self._kafka.append(TopicPartition(one.topic.name, 0), one.value)


class LooseCluster(MemoryCluster):
    producer_type = Loose


class Unfenced(MemoryCluster):
    """Lets former owners be."""

    async def producer(self, transactional_id: str) -> MemoryProducer:
        self.serial = getattr(self, "serial", 0) + 1
        return await super().producer(f"{transactional_id}-{id(self)}-{self.serial}")


@pytest.mark.parametrize("broken", [LooseCluster, Unfenced])
def test_without_its_mechanisms_the_exploration_finds_the_loss_or_the_double(
    broken: type[MemoryCluster],
) -> None:
    """In some dozens of runs as a rule; an unlucky draw is no reason to say that it does not."""

    class Broken(Exploration):
        cluster = broken

    patient = settings(
        THOROUGH,
        max_examples=20 * THOROUGH.max_examples,
        derandomize=False,
        phases=[Phase.generate],
        print_blob=False,
        database=None,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Broken, settings=patient)  # type: ignore[no-untyped-call]
