"""The table of faults. A row does its harm under load, waits until all is worked off, and reconciles."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from support.processes import ServiceProcess
from support.stubs import stubs
from support.waiting import Unmet, until

from fault.cluster import NODES, cluster
from fault.load import POISON, Mix
from fault.model import MODEL
from fault.oracle import Expected
from fault.scene import GRACE_S, SESSION_TIMEOUT_S, Scene, Size, loaded, scene
from fault.slow import SlowProxy
from twinloop.contracts.topics import SCORES, TELEMETRY_FACTORY
from twinloop.runtime.kafka.provision import provision


@dataclass(frozen=True, slots=True)
class Told:
    """What a row says of itself: what it did, and what it measured."""

    injected: str
    held: str


Play = Callable[[Path, int, Size], Awaitable[str]]
Harm = Callable[[Scene], Awaitable[Told]]
ROWS: dict[str, Play] = {}


def named(name: str) -> Callable[[Play], Play]:
    """Register a row that sets its scene itself."""

    def register(play: Play) -> Play:
        ROWS[name] = play
        return play

    return register


def row(name: str, *, mix: Mix | None = None) -> Callable[[Harm], Harm]:
    """Register a row on the usual scene."""

    def register(harm: Harm) -> Harm:
        async def play(folder: Path, seed: int, size: Size) -> str:
            async with scene(folder, seed, size, mix=mix) as run:
                return await played(run, harm)

        ROWS[name] = play
        return harm

    return register


async def played(run: Scene, harm: Harm) -> str:
    """The line of a row whose harm ends with a detector that works."""
    async with loaded(run):
        told = await harm(run)
    await run.settled()
    return await judged(run, told, await run.expected())


async def judged(run: Scene, told: Told, expected: Expected) -> str:
    """The line of a row. Raises `Unmet` when what is committed is not exactly what was expected."""
    found = await run.reconcile(expected)
    if not found.exact:
        raise Unmet(f"after {told.injected}:\n  {found}")
    return f"{told.injected}; {told.held}; {run.load.sent} frames: {found}"


def hold(true: bool, problem: str) -> None:
    """Raises `Unmet` unless it is true."""
    if not true:
        raise Unmet(problem)


def hold_time(run: Scene, true: bool, problem: str) -> None:
    """The same of a time, which says something only on an idle machine."""
    hold(true or not run.size.idle, problem)


# ---- the detector


@row("kill")
async def kill(run: Scene) -> Told:
    """It is killed, and started again at once."""
    one = run.detector()
    await run.flowing()
    took = []
    for _ in range(run.size.times(20)):
        await run.some_time(0.5, 3)
        one.kill()
        at = time.time()
        one.start()
        took.append(await run.back(at))
    p95 = float(np.percentile(took, 95))
    hold_time(run, p95 < 10, f"back to work only after {p95:.1f} s (p95)")
    return Told(
        f"{len(took)} x kill -9 of the detector",
        f"back to work after {np.median(took):.1f} s (p50), {p95:.1f} s (p95)",
    )


@row("zombie")
async def zombie(run: Scene) -> Told:
    """It is stopped past its session; when it wakes, another has its partitions."""
    members = [run.detector(), run.detector()]
    for one in members:
        await run.ready(one)
    await run.flowing()
    took_over = 0.0
    times = 0
    while times < run.size.times(4) or (not unfinished(members) and times < 6):
        await run.some_time(0.5, 3)
        one, other = members[times % 2], members[(times + 1) % 2]
        os.kill(one.pids[-1], signal.SIGSTOP)
        at = time.time()
        await asyncio.sleep(SESSION_TIMEOUT_S + 4)
        await until(partial(shared, [other]), 30, "the other member has not taken over")
        took_over = max(took_over, run.watch.longest_gap_s(at, time.time()))
        os.kill(one.pids[-1], signal.SIGCONT)
        await until(partial(shared, members), 60, partial(who_has_what, members))
        times += 1
    hold(unfinished(members) > 0, "no zombie had a transaction that it could not finish")
    fenced = sum(one.metric("transactions_total", outcome="fenced") for one in members)
    return Told(
        f"{times} x a member stopped for {SESSION_TIMEOUT_S + 4} s and woken",
        f"of the zombies' transactions {fenced:.0f} were fenced and {unfinished(members) - fenced:.0f} given"
        f" up, nobody waited over {took_over:.1f} s",
    )


def unfinished(members: list[ServiceProcess]) -> float:
    """How many transactions of theirs failed."""
    failed = ("fenced", "aborted")
    return sum(one.metric("transactions_total", outcome=how) for one in members for how in failed)


def shared(members: list[ServiceProcess]) -> bool:
    """Whether these members, and all of them, work on every partition of both telemetry topics."""
    held = [one.metric("partitions") for one in members]
    return sum(held) == 2 * TELEMETRY_FACTORY.partitions and min(held) > 0


def readiness(one: ServiceProcess) -> str:
    """What it says of itself; "" when it is ready."""
    answer = one.get("/health/ready")
    return "" if answer is None or answer.status_code == 200 else json.dumps(answer.json())


def who_has_what(members: list[ServiceProcess]) -> str:
    """The state of the group, as its members see it."""
    held = ", ".join(f"{one.metric('partitions'):.0f} ({readiness(one)})" for one in members)
    return f"the members do not share the partitions: {held}"


@row("storm")
async def storm(run: Scene) -> Told:
    """Members join and leave every 2 s, for a minute; every other leaves by a kill."""
    run.detector()
    await run.flowing()
    begun = time.time()
    guests: list[ServiceProcess] = []
    joined = left = 0
    end = time.monotonic() + max(15.0, 60.0 * run.size.share)
    while time.monotonic() < end:
        if len(guests) < 2:
            guests.append(run.detector())
            joined += 1
        else:
            one = guests.pop(0)
            await asyncio.to_thread(one.kill if left % 2 else one.stop)
            left += 1
        await asyncio.sleep(2)
    await run.flowing()
    gap = run.watch.longest_gap_s(begun, time.time())
    hold_time(run, gap <= 15, f"no verdict for {gap:.1f} s")
    return Told(
        f"{joined} members joined and {left} left, one every 2 s", f"never more than {gap:.1f} s idle"
    )


@row("sigterm")
async def sigterm(run: Scene) -> Told:
    """It is asked to stop under load: it ends within its grace period, and nothing was done twice."""
    one = run.detector()
    await run.flowing()
    took = []
    for _ in range(run.size.times(10)):
        await run.some_time(0.5, 2)
        begun = time.monotonic()
        status = await asyncio.to_thread(one.stop)
        took.append(time.monotonic() - begun)
        hold(status == 0, f"exit status {status}: {one.log.read_text()[-2000:]}")
        at = time.time()
        one.start()
        await run.back(at)
    hold(max(took) < GRACE_S, f"took {max(took):.1f} s to stop")
    aborted = await aborted_records(run)
    hold(not aborted, f"{aborted} verdicts were published and taken back: work was done twice")
    return Told(
        f"{len(took)} x SIGTERM under load", f"drained within {max(took):.1f} s, nothing was done twice"
    )


async def aborted_records(run: Scene) -> int:
    """Records of `scores` that only a reader of uncommitted ones sees."""
    topic = SCORES.named(run.prefix)
    partitions = [TopicPartition(topic, n) for n in range(SCORES.partitions)]
    counts = {}
    ends: dict[TopicPartition, int] = {}
    for level in ("read_committed", "read_uncommitted"):
        client = AIOKafkaConsumer(
            bootstrap_servers=run.kafka, isolation_level=level, auto_offset_reset="earliest"
        )
        await client.start()
        try:
            client.assign(partitions)
            ends = ends or await client.end_offsets(partitions)
            counts[level] = 0
            while any([await client.position(one) < end for one, end in ends.items()]):
                for one, found in (await client.getmany(timeout_ms=100)).items():
                    counts[level] += sum(record.offset < ends[one] for record in found)
        finally:
            await client.stop()
    return counts["read_uncommitted"] - counts["read_committed"]


# ---- Kafka


@row("kafka")
async def kafka(run: Scene) -> Told:
    """The only broker is killed, and started again after a while."""
    run.detector()
    await run.flowing()
    took = []
    for _ in range(run.size.times(3)):
        await run.some_time(1, 4)
        await run.stack.kill("kafka")
        await run.some_time(0, 5)
        await run.stack.start("kafka")
        took.append(await run.back(time.time(), 90))
    return Told(
        f"{len(took)} x kill -9 of Kafka", f"back by itself {max(took):.1f} s after Kafka, at the latest"
    )


@named("brokers")
async def brokers(folder: Path, seed: int, size: Size) -> str:
    """Of a cluster of three, one broker is killed at a time."""
    async with (
        cluster(folder / "cluster") as nodes,
        scene(folder, seed, size, kafka=nodes.bootstrap, replication=NODES) as run,
    ):

        async def harm(run: Scene) -> Told:
            run.detector()
            await run.flowing()
            gaps = []
            for n in range(run.size.times(NODES)):
                await nodes.whole()
                await run.some_time(1, 4)
                at = time.time()
                nodes.kill(n)
                await run.some_time(6, 12)
                await run.flowing()
                nodes.start(n)
                await nodes.whole()
                gaps.append(run.watch.longest_gap_s(at, time.time()))
            hold_time(run, max(gaps) <= 10, f"no verdict for {max(gaps):.1f} s")
            return Told(
                f"{len(gaps)} x kill -9 of one broker of three", f"never more than {max(gaps):.1f} s without"
            )

        return await played(run, harm)


@row("disk-full")
async def disk_full(run: Scene) -> Told:
    """Kafka can write no more: the operating system refuses its files to grow."""
    one = run.detector()
    await run.flowing()
    times = run.size.times(2)
    for _ in range(times):
        await run.some_time(1, 4)
        resource.prlimit(run.stack.pid("kafka"), resource.RLIMIT_FSIZE, (4096, 4096))
        said = await trouble(one, "kafka")
        before = await quiet(run)
        hold(one.status("/health/live") == 200, "it is not live any more")
        if run.stack.running("kafka"):
            await run.stack.kill("kafka")
        await run.stack.start("kafka")
        await run.back(time.time(), 90)
        hold(run.watch.count > before, "no verdict came afterwards")
    return Told(
        f"{times} x Kafka's disk full", f"not ready: {said!r}, nothing committed meanwhile, then went on"
    )


@named("topic-deleted")
async def topic_deleted(folder: Path, seed: int, size: Size) -> str:
    """The topic of verdicts is deleted under the detector, and made anew later."""
    async with scene(folder, seed, size) as run:
        async with loaded(run):
            one = run.detector()
            await run.flowing()
            await run.some_time(2, 5)
            admin = AIOKafkaAdminClient(bootstrap_servers=run.kafka)
            await admin.start()
            await admin.delete_topics([SCORES.named(run.prefix)])
            said = await trouble(one, "scores")
            await quiet(run)
            since = await run.positions()
            await asyncio.sleep(2)
            hold(await run.positions() == since, "positions were committed without their verdicts")
            await admin.close()
            await provision(run.kafka, run.prefix)
            await run.ready(one)
        await run.settled()
        told = Told("deleted the topic of verdicts and made it anew", f"not ready: {said!r}")
        whole, later = await run.expected(), await run.expected(since=since)
        whole.verdicts = later.verdicts  # what was deleted is gone; what came later is there
        return await judged(run, told, whole)


async def trouble(one: ServiceProcess, word: str) -> str:
    """Wait until it is not ready and its reason has this word; the reason."""
    said = ""

    def told() -> bool:
        nonlocal said
        said = readiness(one)
        return word in said.lower()

    try:
        await until(told, 60, "")
    except Unmet:
        raise Unmet(f"it does not name {word} as its trouble, but says {said!r}") from None
    return said


async def quiet(run: Scene) -> int:
    """Wait until no verdict comes any more; how many came."""
    while run.watch.seen and time.time() - run.watch.seen[-1][0] < 2:
        await asyncio.sleep(0.1)
    return run.watch.count


# ---- Triton


@row("triton")
async def triton(run: Scene) -> Told:
    """Triton is killed and started again; then only the process that holds the model is killed: Triton still
    says that it is ready, and answers 500 for ever."""
    one = run.detector()
    await run.flowing()
    took, noticed = [], []
    ways = ["whole", "stub"] * run.size.times(2)
    for way in ways:
        await run.some_time(1, 4)
        at = time.time()
        if way == "whole":
            await run.stack.kill("triton")
        else:
            (process,) = stubs(MODEL, of=run.stack.pid("triton"))
            process.kill()
            await asyncio.sleep(1)
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{run.stack.endpoints.triton_http}/v2/health/ready")
            hold(answer.status_code == 200, f"Triton itself noticed: {answer.status_code}")
        await until(lambda: one.status("/health/ready") == 503, 20, "it is still ready")
        noticed.append(time.time() - at)
        before = await quiet(run)
        await until(lambda: one.metric("waiting") == 1, 20, "it does not say that it waits")
        await asyncio.sleep(SESSION_TIMEOUT_S)
        hold(one.status("/health/live") == 200, "it is not live any more")
        hold(run.watch.count == before, "verdicts without a model")
        if way == "stub":
            await run.stack.kill("triton")
        await run.stack.start("triton")
        took.append(await run.back(time.time()))
    rebalances = one.metric("rebalances_total")
    hold(rebalances == 1, f"{rebalances:.0f} rebalances: the membership was lost")
    return Told(
        f"{ways.count('whole')} x kill -9 of Triton, {ways.count('stub')} x of a model's process",
        f"noticed within {max(noticed):.1f} s, back {max(took):.1f} s after Triton",
    )


@row("triton-slow")
async def triton_slow(run: Scene) -> Told:
    """Every answer of Triton takes 2 s for a while: memory stays bounded and the membership is kept."""
    async with SlowProxy(run.triton).open() as proxy:
        one = run.detector(TWINLOOP_TRITON=proxy.address)
        await run.flowing()
        await asyncio.sleep(2)
        process = psutil.Process(one.pids[-1])
        before = process.memory_info().rss
        most = before
        times = run.size.times(2)
        for _ in range(times):
            await run.some_time(1, 3)
            proxy.delay_s = 2.0
            end = time.monotonic() + run.rng.uniform(15, 20)
            while time.monotonic() < end:
                most = max(most, process.memory_info().rss)
                await asyncio.sleep(0.2)
            proxy.delay_s = 0.0
            await run.back(time.time())
        rebalances = one.metric("rebalances_total")
        hold(rebalances == 1, f"{rebalances:.0f} rebalances: the membership was lost")
        grown = (most - before) / 2**20
        hold(grown < 100, f"grew by {grown:.0f} MB")
        told = Told(
            f"{times} x all answers of Triton 2 s late for 15 to 20 s",
            f"grew by {grown:.0f} MB, kept its membership",
        )
        await drained(run)
        return told


async def drained(run: Scene) -> None:
    """Stop the load and wait until all is worked off, while what the harm needs is still there."""
    run.load.stop()
    await until(lambda: run.load.sent >= run.size.frames, 120, "the load was not sent")
    await run.settled()


# ---- content


@row("poison", mix=Mix(poison=0.01, duplicate=0, gap=0, marked_bad=0, unrouted=0))
async def poison(run: Scene) -> Told:
    """One frame in a hundred is poison, of five kinds."""
    run.detector()
    await run.flowing()
    await asyncio.sleep(5)
    await drained(run)
    given = {kind: run.content.injected[kind] for kind in POISON}
    return Told(", ".join(f"{n} {kind}" for kind, n in given.items()), "each in dead letters with its reason")


@row("disorder", mix=Mix(poison=0, duplicate=0.05, gap=0.03, marked_bad=0.01, unrouted=0.01))
async def disorder(run: Scene) -> Told:
    """Duplicates, gaps, late frames, marked values and frames nobody wants, and a kill on top."""
    one = run.detector()
    await run.flowing()
    for _ in range(run.size.times(3)):
        await run.some_time(1, 3)
        one.kill()
        at = time.time()
        one.start()
        await run.back(at)
    await drained(run)
    given = ", ".join(f"{n} {kind}" for kind, n in sorted(run.content.injected.items()) if kind != "sound")
    return Told(given, "as the contract says")


@named("flood")
async def flood(folder: Path, seed: int, size: Size) -> str:
    """One partition is flooded with garbage: it stops at the limit and says so; the others go on."""
    async with scene(folder, seed, size) as run:
        async with loaded(run):
            one = run.detector()
            await run.flowing()
            await run.some_time(1, 3)
            partition = run.rng.randrange(TELEMETRY_FACTORY.partitions)
            producer = AIOKafkaProducer(bootstrap_servers=run.kafka)
            await producer.start()
            for n in range(3000):
                await producer.send(
                    TELEMETRY_FACTORY.named(run.prefix), b"garbage %d" % n, partition=partition
                )
            await producer.stop()
            said = await trouble(one, f"telemetry.factory/{partition}")
            await until(lambda: one.metric("halted_partitions") == 1, 10, "not just one partition halted")
            await run.flowing()
        expected = await run.expected()
        hold(set(expected.halts) == {partition}, f"the oracle halts {expected.halts}")
        await run.settled(expected.halts)
        hold(one.status("/health/live") == 200, "it is not live any more")
        told = Told(f"3000 garbage records into partition {partition}", f"it halted there and says {said!r}")
        return await judged(run, told, expected)
