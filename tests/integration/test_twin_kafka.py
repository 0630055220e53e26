"""The twin as a process on a real broker: decides about each change once, whatever is repeated or killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.processes import ServiceProcess
from support.topics import events, until

from twinloop.contracts.changes import Diagnosis, Hold, Parameter, Proposed, SetParameter, Simulated
from twinloop.contracts.codec import Message, frame_message, message
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import CHANGES, DEAD_LETTERS, GENEALOGY, TELEMETRY_FACTORY, Topic
from twinloop.local.places import find_places
from twinloop.runtime.kafka import KafkaPublisher, publisher
from twinloop.runtime.provision import provision

ASSET = "acme.berlin.packs.line1.weld1"


@dataclass
class Scene:
    """A twin, and what is observed and proposed."""

    kafka: str
    prefix: str
    twin: ServiceProcess
    out: KafkaPublisher

    async def weld(self, count: int, depth_mm: float) -> None:
        now = datetime.now(UTC)
        messages = []
        for n in range(1, count + 1):
            samples = np.ones((300, 6), np.float32)
            samples[:, 1], samples[:, 3] = 33.0, depth_mm
            common: dict[str, Any] = {"asset": ASSET, "sequence": n, "trace_id": "0" * 32}
            frame = Frame(
                signal_set="weld.v1",
                first_at_ns=unix_ns(now),
                period_ns=10**6,
                samples=samples,
                observed_at_ns=unix_ns(now),
                event_id=f"f{n}",
                **common,
            )
            joint = JointWelded(
                event_id=f"j{n}",
                at=now,
                observed_at=now,
                part_id=str(n),
                recipe="r",
                resistance_uohm=48.0,
                power_w=1000.0,
                focus_mm=0.0,
                **common,
            )
            messages += [
                frame_message(TELEMETRY_FACTORY, frame, source="test"),
                message(GENEALOGY, joint, source="test"),
            ]
        await self.out.publish(messages)

    async def observed(self, count: int) -> bool:
        answer = self.twin.get(f"/assets/{ASSET}")
        return answer is not None and answer.status_code == 200 and answer.json()["parts"] == count

    async def propose(self, change_id: str, action: SetParameter | Hold, expires_s: float = 30.0) -> None:
        await self.publish(
            Proposed(
                **head(change_id, "proposed"),
                action=action,
                diagnosis=Diagnosis.DIRTY_WINDOW,
                recipe="r",
                reason="",
                evidence=(),
                expires_at=datetime.now(UTC) + timedelta(seconds=expires_s),
                model="weld",
                model_version=1,
                input_digest="",
            )
        )

    async def publish(self, *events: Any) -> None:
        await self.out.publish([message(CHANGES, one, source="test") for one in events])

    async def read(self, topic: Topic) -> list[Any]:
        return await events(self.kafka, self.prefix, topic)

    async def told(self, change_id: str) -> list[Any]:
        """What the twin said of a change."""
        events = [one for one in await self.read(CHANGES) if one.change_id == change_id]
        return [one for one in events if not isinstance(one, Proposed) and one.event_id != "by-hand"]

    async def decided(self, change_id: str) -> list[Any]:
        """The same, once it has decided."""
        told: list[Any] = []

        async def over() -> bool:
            told[:] = await self.told(change_id)
            return bool(told) and names(told)[-1] in ("approved", "rejected")

        await until(over)
        return told


def head(change_id: str, kind: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "event_id": f"{change_id}-{kind}",
        "asset": ASSET,
        "at": now,
        "observed_at": now,
        "trace_id": "0" * 32,
        "change_id": change_id,
    }


def power(value: float) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=1000.0)


def names(events: list[Any]) -> list[str]:
    return [str(one.__struct_config__.tag) for one in events]


@pytest.fixture
def twin(kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    one = ServiceProcess(
        "twin",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_TWIN_ASSETS": str(find_places().config / "twin.toml"),
            "TWINLOOP_TWIN_SESSION_TIMEOUT_S": "6",
        },
        tmp_path / "twin.log",
    )
    yield one
    if one.running:
        one.stop()


@pytest.fixture
async def scene(kafka: str, topic_prefix: str, twin: ServiceProcess) -> AsyncIterator[Scene]:
    await provision(kafka, topic_prefix)
    async with publisher(kafka, topic_prefix, asyncio.Event()) as out:
        scene = Scene(kafka, topic_prefix, twin, out)
        await scene.weld(10, depth_mm=0.45)
        twin.start()
        await until(lambda: twin.ready)
        yield scene


async def test_what_helps_is_released_what_does_not_is_rejected_and_a_hold_always_passes(
    scene: Scene,
) -> None:
    async def seen() -> bool:
        return await scene.observed(10)

    await until(seen)
    await scene.propose("more", power(1020.0))
    await scene.propose("less", power(975.0))
    await scene.propose("hold", Hold(reason="gap"))
    more, less, hold = [await scene.decided(one) for one in ("more", "less", "hold")]
    assert [names(one) for one in (more, less, hold)] == [
        ["simulated", "approved"],
        ["simulated", "rejected"],
        ["simulated", "approved"],
    ]
    simulated, approved = more
    assert simulated.do_this.expected_uohm < simulated.do_nothing.expected_uohm
    assert approved.approver == "policy:auto"
    assert (simulated.caused_by, approved.caused_by) == ("more-proposed", simulated.event_id)
    assert hold[0].do_this is None
    listed = scene.twin.get("/changes")
    assert listed is not None
    assert {(one["change_id"], one["state"]) for one in listed.json()} == {
        ("more", "approved"),
        ("less", "rejected"),
        ("hold", "approved"),
    }


async def test_killed_and_told_again_it_decides_once(scene: Scene) -> None:
    await scene.propose("one", Hold(reason="gap"))
    assert names(await scene.decided("one")) == ["simulated", "approved"]
    await asyncio.to_thread(scene.twin.kill)
    await scene.propose("one", Hold(reason="gap"))  # told again
    await scene.propose("two", Hold(reason="gap"))
    # A change whose decision was lost with the process: it is taken up where it stands.
    await scene.propose("three", Hold(reason="gap"))
    half = Simulated(**{**head("three", "simulated"), "event_id": "by-hand"}, do_nothing=None, do_this=None)
    await scene.publish(half)
    scene.twin.start()
    assert names(await scene.decided("two")) == ["simulated", "approved"]
    assert names(await scene.decided("three")) == ["approved"]
    assert names(await scene.told("one")) == ["simulated", "approved"]


async def test_what_is_no_change_goes_to_dead_letters_and_the_rest_goes_on(scene: Scene) -> None:
    await scene.out.publish([Message(CHANGES, ASSET.encode(), b"\x00 garbage", ())])
    await scene.out.publish([Message(TELEMETRY_FACTORY, ASSET.encode(), b"\x00 garbage", ())])
    await scene.out.publish([Message(GENEALOGY, ASSET.encode(), b"\x00 garbage", ())])
    await scene.propose("hold", Hold(reason="gap"))
    assert names(await scene.decided("hold")) == ["simulated", "approved"]
    letters = await scene.read(DEAD_LETTERS)
    assert [(one.reason, one.payload, one.service) for one in letters] == [
        ("undecodable", b"\x00 garbage", "twin")
    ]


async def test_over_http_it_tells_where_a_process_stands(scene: Scene) -> None:
    async def seen() -> bool:
        return await scene.observed(10)

    await until(seen)
    answer = scene.twin.get("/assets")
    assert answer is not None
    first = next(one for one in answer.json() if one["asset"] == ASSET)
    assert (first["newest_sequence"], first["power_w"], first["resistance_uohm"]) == (10, 1000.0, 48.0)
    assert 0.8 < first["transmission"] < 1.0
    unknown = scene.twin.get("/assets/nobody")
    assert unknown is not None
    assert unknown.status_code == 404
