"""The table of faults around models: swaps under load, deaths half way through a promotion, bad models."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fault.load import SIGNAL_SET, SIGNALS
from fault.model import HOP, THRESHOLD, WINDOW, mean_model
from fault.rows import Play, Told, hold
from fault.scene import Scene, Size, Unmet, loaded, scene, until
from fault.workshop import MODEL, SHAPES, Workshop, around, artefact, workshop
from twinloop.tritonio.artefact import pack
from twinloop.tritonio.client import triton
from twinloop.tritonio.onnx_file import digest

Harm = Callable[[Workshop], Awaitable[Told]]
MODEL_ROWS: dict[str, Play] = {}

HALF = 0.5
"""Of the maximum load."""
STEADY_S = 15.0
_MORE_THAN_CAN_BE = 50_000.0
SWAP_S = 2.0
"""What is seen for so long after a swap counts as during it."""


def row(name: str) -> Callable[[Harm], Harm]:
    """Register a row on the usual scene, with modelops; what was said is held against who was to decide."""

    def register(harm: Harm) -> Harm:
        async def play(folder: Path, seed: int, size: Size) -> str:
            async with scene(folder, seed, size) as run, workshop(run) as shop:
                return await played(shop, harm)

        MODEL_ROWS[name] = play
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


@row("swaps")
async def swaps(shop: Workshop) -> Told:
    """A hundred promotions in a row, between windows of unlike length and hop, at half of the maximum."""
    run = shop.run
    versions = [await shop.stage(*shape) for shape in SHAPES[1:]]
    most = await maximum(run)
    run.load.rate = HALF * most
    await asyncio.sleep(STEADY_S)
    steady_from, begun = time.time() - STEADY_S / 2, time.time()
    swapped_at: list[float] = []
    order = [1, *versions]
    times = run.size.times(100)
    for number in range(1, times + 1):
        version = order[number % len(order)]
        await shop.act("promote", version=f"{MODEL}:{version}", scope=SIGNAL_SET)
        swapped_at.append(time.time())
        await shop.decided(version)
        await run.some_time(0, 1)
    async with triton(run.triton) as server:
        failed = sum(one.failures for one in (await server.usage(MODEL)).values())
    hold(failed == 0, f"{failed} inferences failed")
    watch = run.watch
    came, waited = np.array(watch.came_s), np.array(watch.waited_s) * 1000
    steady = (came >= steady_from) & (came < begun)
    during = np.zeros(len(came), np.bool_)
    for at in swapped_at:
        during |= (came >= at) & (came < at + SWAP_S)
    before_ms, during_ms = (float(np.percentile(waited[which], 99)) for which in (steady, during))
    hold(during_ms <= 2 * before_ms, f"p99 {during_ms:.0f} ms during swaps, {before_ms:.0f} ms without")
    return Told(
        f"{times} swaps among {len(order)} shapes at {run.load.rate:.0f} frames/s, half of the maximum",
        f"0 inferences failed, p99 {before_ms:.0f} ms without and {during_ms:.0f} ms during swaps "
        f"({during_ms / before_ms:.2f} ×)",
    )


async def maximum(run: Scene) -> float:
    """How many frames a second are judged while more come in than can be."""
    held = run.load.rate
    run.load.rate = _MORE_THAN_CAN_BE
    await asyncio.sleep(3)
    count, begun = run.watch.count, time.monotonic()
    await asyncio.sleep(8)
    verdicts_per_s = (run.watch.count - count) / (time.monotonic() - begun)
    run.load.rate = held
    await asyncio.sleep(1)
    at = time.time()
    await until(lambda: run.watch.back_after_s(at) is not None, 120, "what was sent in a hurry is not done")
    return verdicts_per_s * run.load.sent / run.watch.count


# ---- deaths


VICTIMS = ("modelops", "triton", "detector")


@dataclass
class Promotion:
    """A new version's way through all steps, to the end and back."""

    shop: Workshop
    shape: tuple[int, int]
    note: str
    before: str
    version: str = ""

    @property
    def steps(self) -> dict[str, tuple[Callable[[], Awaitable[httpx.Response]], Callable[[Any], bool]]]:
        """By verb: what is asked, and whether what modelops tells shows that it was done."""
        ask = self._ask
        alone = {"trial": None, "serving": self.before, "previous": None}
        return {
            "stage": (self._stage, lambda found: self.version in states(found)),
            "shadow": (
                lambda: ask("shadow", version=self.version, more_alarms=0.5),
                lambda found: trial_of(found) == (self.version, 0.0),
            ),
            "canary": (
                lambda: ask("canary", scope=SIGNAL_SET, share=0.5),
                lambda found: trial_of(found) == (self.version, 0.5),
            ),
            "promote": (
                lambda: ask("promote", scope=SIGNAL_SET),
                lambda found: route_of(found)["serving"] == self.version,
            ),
            "rollback": (
                lambda: ask("rollback", scope=SIGNAL_SET),
                lambda found: {name: route_of(found)[name] for name in alone} == alone,
            ),
            "retire": (
                lambda: ask("retire", version=self.version),
                lambda found: self.version not in states(found),
            ),
        }

    async def _ask(self, verb: str, **body: Any) -> httpx.Response:
        return await self.shop.ask(verb, json={"reason": "the table of faults", **body})

    async def _stage(self) -> httpx.Response:
        answer = await self.shop.send(pack(artefact(*self.shape, self.note)))
        if answer.status_code == 200:
            self.version = answer.json()["version"]
            self.shop.shapes[int(self.version.partition(":")[2])] = self.shape
        return answer


def route_of(found: Any) -> dict[str, Any]:
    """That of the signal set."""
    (route,) = found["routes"]
    return dict(route)


def trial_of(found: Any) -> tuple[str, float] | None:
    """Which version is on trial there, and for what share."""
    trial = route_of(found)["trial"]
    return None if trial is None else (trial["version"], trial["share"])


def states(found: Any) -> dict[str, str]:
    """Of all versions."""
    return {one["version"]: one["state"] for one in found["versions"]}


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


async def interrupted(way: Promotion, verb: str, victim: str) -> bool:
    """Kill `victim` while `verb` is done, and look: whether it was done. Then it is done, if it was not."""
    shop, (ask, done) = way.shop, way.steps[verb]
    doing = asyncio.create_task(answered(ask))
    await shop.run.some_time(0, 2.0 if verb == "stage" else 0.1)
    await kill(shop, victim)
    succeeded = await doing
    await shop.ready()
    newest = (await shop.routes())[-1]
    async with triton(shop.run.triton) as server:

        async def served() -> bool:
            return {one.version for one in newest.versions()} <= set(await server.versions(MODEL))

        await until(served, 60, f"after {verb}, Triton does not serve what the route names")
    found = await shop.listed()
    told = route_of(found)["serving"]
    hold(
        told == f"{MODEL}:{newest.contract.version}",
        f"{verb}: told that {told} serves, and the route names version {newest.contract.version}",
    )
    if verb == "stage" and not way.version:  # its number is told to nobody who was not answered
        was = False
    else:
        was = done(found)
        hold(was or not succeeded, f"{verb} was answered with success and is not done")
    if not was:
        again = await ask()
        hold(again.status_code == 200, f"{verb}, again: {again.status_code} {again.text}")
        hold(done(await shop.listed()), f"{verb} was answered with success and is not done")
    return was


async def answered(ask: Callable[[], Awaitable[httpx.Response]]) -> bool:
    """Whether it was answered with success."""
    try:
        return (await ask()).status_code == 200
    except (httpx.HTTPError, OSError):
        return False


async def kill(shop: Workshop, victim: str) -> None:
    """Kill it, and start it again."""
    run = shop.run
    if victim == "triton":
        await run.stack.kill("triton")
        await run.stack.start("triton")
        return
    process = shop.modelops if victim == "modelops" else run.detectors[0]
    process.kill()
    process.start()


# ---- bad models


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with the files of a sound artefact, and what the answer must name."""

    spoil: Callable[[dict[str, bytes]], dict[str, bytes]]
    step: str
    word: str


def changed(**fields: Any) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Another contract around the same file."""

    def spoil(files: dict[str, bytes]) -> dict[str, bytes]:
        contract = {**msgspec.json.decode(files["contract.json"]), **fields}
        return {**files, "contract.json": msgspec.json.encode(contract)}

    return spoil


def truncated(files: dict[str, bytes]) -> dict[str, bytes]:
    """Half of a file."""
    return {**files, "model.onnx": files["model.onnx"][: len(files["model.onnx"]) // 2]}


def other_file(made: Callable[[], onnx.ModelProto]) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    """Another file, with its own digest in contract and card."""

    def spoil(_: dict[str, bytes]) -> dict[str, bytes]:
        content = made().SerializeToString()
        contract, _file = mean_model(MODEL, version=0)
        return dict(pack(around(msgspec.structs.replace(contract, digest=digest(content)), content)))

    return spoil


def graph(*nodes: onnx.NodeProto, opset: int = 17, **constants: np.ndarray) -> onnx.ModelProto:
    """A model whose score is made by `nodes` of `mean`, the mean of each window."""
    tensor = helper.make_tensor_value_info
    made = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["windows"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("ReduceMean", ["windows"], ["features"], axes=[1], keepdims=0),
            helper.make_node("Identity", ["features"], ["deviations"]),
            *nodes,
        ],
        MODEL,
        [tensor("windows", TensorProto.FLOAT, [None, WINDOW, SIGNALS])],
        [
            tensor("score", TensorProto.FLOAT, [None]),
            tensor("features", TensorProto.FLOAT, [None, SIGNALS]),
            tensor("deviations", TensorProto.FLOAT, [None, SIGNALS]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def nan() -> onnx.ModelProto:
    """Answers NaN."""
    return graph(
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["score"]),
    )


def newer() -> onnx.ModelProto:
    """Of an opset that no Triton of ours reads."""
    model = graph(helper.make_node("Identity", ["mean"], ["score"]))
    model.opset_import[0].version = 22
    return model


def slow() -> onnx.ModelProto:
    """Multiplies large matrices for every window."""
    big = np.eye(1500, dtype=np.float32)
    steps = [
        helper.make_node("MatMul", ["big" if n == 0 else f"power{n - 1}", "big"], [f"power{n}"])
        for n in range(40)
    ]
    return graph(
        helper.make_node("ReduceMean", ["mean"], ["any"], keepdims=0),
        helper.make_node("Mul", ["any", "nothing"], ["none"]),
        helper.make_node("Add", ["big_", "none"], ["big"]),
        *steps,
        helper.make_node("ReduceMean", ["power39"], ["one"], keepdims=0),
        helper.make_node("Mul", ["one", "nothing"], ["less"]),
        helper.make_node("Add", ["mean", "less"], ["score"]),
        big_=big,
        nothing=np.array(0, np.float32),
    )


def raising() -> onnx.ModelProto:
    """Takes an element that is not there."""
    return graph(
        helper.make_node("Gather", ["few", "ninth"], ["none"]),
        helper.make_node("Add", ["mean", "none"], ["score"]),
        few=np.zeros(3, np.float32),
        ninth=np.array(9, np.int64),
    )


BAD: Mapping[str, Bad] = {
    "wrong shape": Bad(changed(window=WINDOW + 1), "check", "windows has shape"),
    "NaN output": Bad(other_file(nan), "compare", "NaN"),
    "wrong opset": Bad(other_file(newer), "check", "opset 22 is newer"),
    "truncated file": Bad(truncated, "check", "model.onnx"),
    "digest mismatch": Bad(changed(digest="0" * 64), "check", "digest"),
    "too slow": Bad(other_file(slow), "run", "took longer than"),
    "raising": Bad(other_file(raising), "run", "cannot be run"),
}


@row("bad-models")
async def bad_models(shop: Workshop) -> Told:
    """A bad model of each kind is stopped as early as can be, with a sentence; nobody is judged by it."""
    before = states(await shop.listed())
    steps = []
    for kind, bad in BAD.items():
        sound = dict(pack(artefact(WINDOW, HOP)))
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


async def alarming(shop: Workshop) -> int:
    """A version that is sound and alarms all the time is tried, and stopped by itself."""
    contract, content = mean_model(MODEL, version=0, note="alarming")
    answer = await shop.send(
        pack(around(msgspec.structs.replace(contract, threshold=THRESHOLD / 50), content))
    )
    hold(answer.status_code == 200, f"the alarming version: {answer.text}")
    version = answer.json()["version"]
    await shop.act("shadow", version=version)

    async def stopped() -> bool:
        return (await shop.routes())[-1].trial is None

    await until(stopped, 60, "nobody stopped a version that alarms all the time")
    newest = (await shop.routes())[-1]
    hold(newest.by == "modelops" and "too many" in newest.reason, f"{newest.by}: {newest.reason}")
    return int(newest.reason.split(" alarms in ")[1].split()[0])
