"""A new version's way through all steps and back, and the death of a process half way through one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from support.waiting import until

from fault.load import SIGNAL_SET
from fault.model import MODEL, Shape
from fault.rows import hold
from fault.workshop import Workshop, artefact
from twinloop.tritonio.artefact import pack
from twinloop.tritonio.client import triton

VICTIMS = ("modelops", "triton", "detector")


@dataclass
class Promotion:
    """A new version's way through all steps, to the end and back."""

    shop: Workshop
    shape: Shape
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
        made = artefact(self.shape, self.note)
        answer = await self.shop.send(pack(made))
        if answer.status_code == 200:
            self.version = answer.json()["version"]
            self.shop.contracts[int(self.version.partition(":")[2])] = made.contract
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
