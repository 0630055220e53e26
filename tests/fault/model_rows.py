"""The table of faults around models: swaps under load, deaths half way through a promotion, bad models."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from support.waiting import Unmet, until
from support.watch import Watch

from fault.bad_models import BAD, alarming
from fault.load import SIGNAL_SET
from fault.model import MODEL, Shape
from fault.neighbour import DEADLINE_S, NAME, NEIGHBOURS, Neighbour, apart, neighbour
from fault.promotion import VICTIMS, Promotion, interrupted, route_of, states
from fault.rows import Play, Told, hold, hold_time
from fault.scene import MEMORY_RECORDS, Scene, Size, loaded, scene
from fault.workshop import SHAPES, Workshop, artefact, workshop
from twinloop.local.stack import Stack
from twinloop.tritonio.artefact import pack
from twinloop.tritonio.client import triton

Harm = Callable[[Workshop], Awaitable[Told]]
MODEL_ROWS: dict[str, Play] = {}

HALF = 0.5
"""Of the maximum load."""
STEADY_S = 15.0
"""How long it runs after its maximum was looked for, before anything is swapped."""
_FIRST, _MORE = 1000.0, 1.25
"""What is tried first for the maximum, and how much more next."""
_LOOK_S, _BEHIND_S = 4.0, 2.0
"""How long each is tried; more than what comes in so many seconds is a backlog."""
_SHORT_MEMORY = 1000
"""Records that a detector remembers, so that a hundred swaps fit in half an hour."""
_HUNG_S = 16.0
SETTLED_S = 1.0
"""What is seen for so long after a swap counts neither as during it nor as without."""
Span = tuple[float, float]
"""From when until when, Unix seconds."""


def named(name: str) -> Callable[[Play], Play]:
    """Register a row that sets its scene itself."""

    def register(play: Play) -> Play:
        MODEL_ROWS[name] = play
        return play

    return register


def row(name: str, memory_records: int = MEMORY_RECORDS) -> Callable[[Harm], Harm]:
    """Register a row on the usual scene, with modelops; what was said is held against who was to decide."""

    def register(harm: Harm) -> Harm:
        async def play(folder: Path, seed: int, size: Size) -> str:
            made = scene(folder, seed, size, memory_records=memory_records)
            async with made as run, workshop(run) as shop:
                return await played(shop, harm)

        named(name)(play)
        return harm

    return register


async def played(shop: Workshop, harm: Harm) -> str:
    """The line of a row. Raises `Unmet`."""
    run = shop.run
    run.detector()
    async with loaded(run):
        await run.flowing()
        told = await harm(shop)
    await run.settled()
    found = await shop.swapped()
    if found.problems:
        raise Unmet(
            f"after {told.injected}, {len(found.problems)} problems:\n    "
            + "\n    ".join(found.problems[:5])
        )
    await shop.letters(await run.expected())
    said = f"{run.load.sent} frames: {found.verdicts} verdicts, {found.swaps} swaps exact"
    return f"{told.injected}; {told.held}; {said}"


# ---- swaps


@row("swaps", _SHORT_MEMORY)
async def swaps(shop: Workshop) -> Told:
    """A hundred promotions in a row, between unlike windows of unlike signals, at half of the maximum."""
    run = shop.run
    versions = [await shop.stage(shape) for shape in SHAPES[1:]]
    # What others leave of a machine at the moment is no maximum.
    run.load.rate = HALF * await maximum(run) if run.size.idle else run.size.rate
    load = f"{run.load.rate:.0f} frames/s" + (", half of the maximum" if run.size.idle else "")
    steady_s = STEADY_S if run.size.idle else 0.0
    await asyncio.sleep(steady_s)
    order = [1, *versions]
    times = run.size.times(100)
    calm_from, calm, swapping = time.time() - steady_s / 2, list[Span](), list[Span]()
    for number in range(1, times + 1):
        version, begun = order[number % len(order)], time.time()
        calm.append((calm_from, begun))
        await shop.act("promote", version=f"{MODEL}:{version}", scope=SIGNAL_SET)
        await shop.decided(version)
        swapping.append((begun, time.time()))
        await asyncio.sleep(SETTLED_S)
        calm_from = time.time()
        await run.some_time(1, 3)
    async with triton(run.triton) as server:
        failed = sum(one.failures for one in (await server.usage(MODEL)).values())
    hold(failed == 0, f"{failed} inferences failed")
    calm_ms, swapping_ms = (p99_ms(run.watch, spans) for spans in (calm, swapping))
    told = f"p99 {swapping_ms:.0f} ms during swaps, {calm_ms:.0f} ms without"
    hold_time(run, swapping_ms <= 2 * calm_ms, told)
    took_s = np.median([end - begin for begin, end in swapping])
    return Told(
        f"{times} swaps among {len(order)} shapes at {load}",
        f"0 inferences failed, each done everywhere after {took_s:.1f} s (p50), p99 {calm_ms:.0f} ms without"
        f" and {swapping_ms:.0f} ms during swaps ({swapping_ms / calm_ms:.2f} ×)",
    )


def p99_ms(watch: Watch, spans: Sequence[Span]) -> float:
    """How long verdicts that came in `spans` were under way."""
    came, waited = np.array(watch.came_s), np.array(watch.waited_s) * 1000
    which = np.zeros(len(came), np.bool_)
    for begin, end in spans:
        which |= (came >= begin) & (came < end)
    return float(np.percentile(waited[which], 99))


async def maximum(run: Scene) -> float:
    """The highest rate, frames a second, that is kept up with while all that takes part shares this machine.
    Nothing is left over."""
    held, rate = run.load.rate, _FIRST
    while await kept_up(run, rate):
        rate *= _MORE
    run.load.rate = 0.0
    await run.settled()
    run.load.rate = held
    return rate / _MORE


async def kept_up(run: Scene, rate: float) -> bool:
    """Whether so many frames a second can be sent, and are judged as they come."""
    run.load.rate, sent, begun = rate, run.load.sent, time.monotonic()
    await asyncio.sleep(_LOOK_S)
    if run.load.sent - sent < rate * (time.monotonic() - begun) / _MORE:
        return False
    behind = sum((await run.ends()).values()) - sum((await run.positions()).values())
    return behind < rate * _BEHIND_S


@row("promotion-kills")
async def promotion_kills(shop: Workshop) -> Told:
    """At every step of a promotion and back, each of three processes is killed while it is under way."""
    times = shop.run.size.times(5)
    ends: Counter[tuple[str, bool]] = Counter()
    verbs: list[str] = []
    for victim in VICTIMS:
        for n in range(times):
            shape = SHAPES[1 + n % (len(SHAPES) - 1)]
            before = route_of(await shop.listed())["serving"]
            way = Promotion(shop, shape, f"{victim} {n}", before)
            verbs = list(way.steps)
            for verb in verbs:
                ends[verb, await interrupted(way, verb, victim)] += 1
    told = ", ".join(f"{verb} {ends[verb, True]}/{ends[verb, False]}" for verb in verbs)
    return Told(
        f"{times} x kill -9 of {', '.join(VICTIMS)} at each of {len(verbs)} steps of a promotion",
        f"each ended wholly done or not at all ({told}), and modelops said which",
    )


@row("bad-models")
async def bad_models(shop: Workshop) -> Told:
    """A bad model of each kind is stopped as early as can be, with a sentence; nobody is judged by it."""
    before = states(await shop.listed())
    steps = []
    for kind, bad in BAD.items():
        sound = dict(pack(artefact(Shape())))
        answer = await shop.send(bad.spoil(sound))
        said = answer.text
        hold(answer.status_code == 422, f"{kind}: {answer.status_code} {said}")
        hold(bad.step in said and bad.word in said, f"{kind}: {said} names neither {bad.step} nor {bad.word}")
        steps.append(f"{kind} at {bad.step}")
        hold(states(await shop.listed()) == before, f"{kind}: something of it is left")
    windows = await alarming(shop)
    hold(not (shop.modelops.log.read_text().count('"level": "critical"')), "modelops is in trouble")
    return Told(
        f"{len(BAD) + 1} bad models",
        f"stopped: {', '.join(steps)}, and one with 50 times the alarms after {windows} windows of its trial",
    )


# ---- neighbours


@named("neighbours")
async def neighbours(folder: Path, seed: int, size: Size) -> str:
    """A model hangs, and its process dies: who waits is its own stream."""
    async with scene(folder, seed, size, model=MODEL) as run, workshop(run) as shop:
        async with loaded(run), neighbour(shop, seed + 1) as other:
            run.detector(TWINLOOP_DETECTOR_WITHOUT=NEIGHBOURS)
            await run.flowing()
            await until(partial(other.back, 0), 60, "the neighbour is not judged")
            told = await disturbed(shop, other)
        await run.settled()
        await run.settled(group=NAME)
        found = await apart(run)
        hold(found.exact, f"after {told.injected}:\n  {found}")
        return f"{told.injected}; {told.held}; {run.load.sent} + {other.load.sent} frames: {found}"


async def disturbed(shop: Workshop, other: Neighbour) -> Told:
    """Hang it, kill it; who waited for how long where Triton lived through it."""
    times = shop.run.size.times(4)
    ways = [signal.SIGSTOP, signal.SIGKILL] * times
    async with supervised(shop.run.stack, "triton") as server:
        found = [await disturb(shop, other, way, server) for way in ways]
    lived = [one for one in found if one is not None]
    hold(bool(lived), "Triton died each time: nothing was seen of a model that harms its own stream only")
    died = len(found) - len(lived)
    for one in lived:
        what = (
            f"{one.way.name}: the neighbour waited for {one.its_s:.1f} s, the others for {one.usual_s:.1f} s"
        )
        hold(one.usual_s < one.its_s, f"{what}: they were disturbed, or it was not")
        if one.way is signal.SIGSTOP:  # a death may be noticed at once, and is healed then
            hold(one.its_s > DEADLINE_S, f"{what}: nothing was disturbed")
            hold(one.usual_s < one.its_s / 2, f"{what}: they were disturbed, too")
    along = f"; {died} x it took Triton along, which was started again" if died else ""
    return Told(
        f"{times} x a model's process stopped for {_HUNG_S:g} s and more, {times} x killed{along}",
        f"its own stream waited for {max(one.its_s for one in lived):.1f} s,"
        f" the others for {max(one.usual_s for one in lived):.1f} s,"
        f" staging of another model for {max(one.staging_s for one in lived):.1f} s",
    )


@dataclass(frozen=True, slots=True)
class Waited:
    """What was done to the process, and the longest that the disturbed stream, the others, and a person who
    stages waited for, seconds."""

    way: signal.Signals
    its_s: float
    usual_s: float
    staging_s: float


@dataclass
class Supervised:
    """A part that is started again whenever it has died. `deaths`: how often it had."""

    stack: Stack
    name: str
    deaths: int = 0
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def up(self) -> None:
        """Return when it is ready, again if need be. Raises `PartDied` when it does not become so."""
        async with self.starting:
            if not self.stack.running(self.name):
                self.deaths += 1
                await self.stack.start(self.name)


@contextlib.asynccontextmanager
async def supervised(stack: Stack, name: str) -> AsyncIterator[Supervised]:
    """Watch over a part, as its supervisor does."""
    part = Supervised(stack, name)

    async def supervise() -> None:
        while True:
            await part.up()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        supervisor = group.create_task(supervise())
        yield part
        supervisor.cancel()


async def disturb(shop: Workshop, other: Neighbour, way: signal.Signals, server: Supervised) -> Waited | None:
    """Hang or kill the model's process, stage another version of the usual model, wait until all is well.

    `None` where Triton (`server`) died of it, as its Python backend may when a process is lost in the middle
    of a message; it may also do so a while after.
    """
    run = shop.run
    await run.some_time(1, 3)
    process, at, before = await other.process(), time.time(), server.deaths
    process.send_signal(way)
    await asyncio.sleep(_HUNG_S)
    await server.up()
    begun = time.monotonic()
    await shop.stage(SHAPES[1], note=f"{at}")
    staging_s = time.monotonic() - begun
    if way is signal.SIGSTOP:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
    woken = time.time()
    await until(partial(other.back, woken), 90, "the neighbour is not back")
    if server.deaths > before:
        return None
    return Waited(way, other.watch.longest_gap_s(at, woken), run.watch.longest_gap_s(at, woken), staging_s)
