"""The twin as a process on a real broker: decides about each change once, whatever is repeated or killed.

The test is the controller, which lets the asset into modes, and the plant.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from support.http import HTTP
from support.process_models import write_process_model
from support.processes import ServiceProcess
from support.topics import events
from support.waiting import TIMEOUT_S, until

from twinloop.audit.store import verify_file
from twinloop.contracts.changes import (
    Diagnosis,
    Hold,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
    signing_bytes,
)
from twinloop.contracts.codec import Message, frame_message, message
from twinloop.contracts.controls import ModeEntered, ModeRequested
from twinloop.contracts.events import AlarmCode, JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.modes import Mode
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import (
    ALARMS,
    AUDIT,
    CHANGES,
    DEAD_LETTERS,
    GENEALOGY,
    TELEMETRY_FACTORY,
    Topic,
)
from twinloop.local.places import find_places
from twinloop.runtime.kafka.clients import KafkaPublisher, publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.trust.keys import Signer, Trusted
from twinloop.trust.people import token_sha256

ASSET = "acme.berlin.packs.line1.weld1"
PEOPLE = {"vera": "viewer", "olaf": "operator", "ella": "engineer"}
"""Their names are their tokens."""


def as_person(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


@dataclass
class Scene:
    """A twin, and what is observed and proposed."""

    kafka: str
    prefix: str
    twin: ServiceProcess
    out: KafkaPublisher
    folder: Path
    welded: int = 0

    def get(self, path: str, twin: ServiceProcess | None = None) -> Any:
        answer = HTTP.get((twin or self.twin).url + path, headers=as_person("vera"), timeout=TIMEOUT_S)
        return answer.json() if answer.status_code == 200 else answer.status_code

    async def post(
        self, path: str, person: str, twin: ServiceProcess | None = None, **body: Any
    ) -> httpx.Response:
        async with httpx.AsyncClient(base_url=(twin or self.twin).url, timeout=TIMEOUT_S) as client:
            return await client.post(path, headers=as_person(person), json=body)

    async def promote(self, *modes: Mode) -> None:
        """An engineer asks, the controller lets the asset in."""
        for mode in modes:
            answer = await self.post(f"/assets/{ASSET}/mode", "ella", mode=mode, reason="commissioned")
            assert answer.status_code == 200, answer.text
            asked = [one for one in await self.read(CHANGES) if isinstance(one, ModeRequested)][-1]
            now = datetime.now(UTC)
            entered = ModeEntered(
                event_id=f"entered-{asked.event_id}",
                asset=ASSET,
                at=now,
                observed_at=now,
                trace_id="0" * 32,
                mode=mode,
                request=asked.event_id,
                power_w=1000.0,
                focus_mm=0.0,
            )
            await self.publish(entered)
            await until(lambda mode=mode: self.mode() == mode)  # type: ignore[misc]

    def decides(self) -> bool:
        """Whether the twin is ready, and holds the asset's partition."""
        if not self.twin.ready:
            return False
        view = self.get(f"/assets/{ASSET}")
        return isinstance(view, dict) and bool(view["decided_here"])

    def mode(self) -> str:
        shadow = self.get(f"/assets/{ASSET}")["shadow"]
        return "" if shadow is None else str(shadow["mode"]["actual"])

    async def weld(self, count: int, depth_mm: float) -> None:
        now = datetime.now(UTC)
        messages = []
        first = self.welded + 1
        self.welded += count
        for n in range(first, first + count):
            samples = np.ones((300, 6), np.float32)
            samples[:, 0], samples[:, 1], samples[:, 3] = 0.85, 30.0, depth_mm
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

    async def observe(self) -> None:
        """Ten parts more, and the twin knows them."""
        since = datetime.now(UTC)
        await self.weld(10, depth_mm=0.45)

        def seen() -> bool:
            view = self.get(f"/assets/{ASSET}")
            newest = view["newest_at"]
            return newest is not None and datetime.fromisoformat(newest) >= since and view["parts"] == 10

        await until(seen)

    async def propose(
        self,
        change_id: str,
        action: SetParameter | Hold,
        expires_s: float = 600.0,
        mode: Mode = Mode.AUTO,
    ) -> None:
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
                mode=mode,
            )
        )

    async def publish(self, *events: Any) -> None:
        await self.out.publish([message(CHANGES, one, source="test") for one in events])

    async def read(self, topic: Topic) -> list[Any]:
        return await events(self.kafka, self.prefix, topic)

    async def told(self, change_id: str) -> list[Any]:
        """What the twin said of a change."""
        found = [one for one in await self.read(CHANGES) if getattr(one, "change_id", None) == change_id]
        return [one for one in found if not isinstance(one, Proposed) and one.event_id != "by-hand"]

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


def process(
    kafka: str, topic_prefix: str, folder: Path, name: str = "twin", *, stale_s: float = 60.0
) -> ServiceProcess:
    """A twin; those of other names are members of the same group with audit stores of their own."""
    key, people = folder / "twin.key.pem", folder / "people.toml"
    if not key.exists():
        key.write_bytes(Signer.generate().private_pem())
        people.write_text(
            "".join(
                f'[[people]]\nname = "{one}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(one)}"\n'
                for one, role in PEOPLE.items()
            )
        )
        told = (find_places().config / "twin.toml").read_text()
        assert "\nstale_s = 5.0\n" in told
        (folder / "twin.toml").write_text(told.replace("\nstale_s = 5.0\n", f"\nstale_s = {stale_s}\n"))
        (folder / "audit").mkdir()
        write_process_model(folder / "models")
    return ServiceProcess(
        "twin",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_TWIN_ASSETS": str(folder / "twin.toml"),
            "TWINLOOP_TWIN_SESSION_TIMEOUT_S": "6",
            "TWINLOOP_TWIN_MODELS": str(folder / "models"),
            "TWINLOOP_TWIN_SIGNING_KEY": str(key),
            "TWINLOOP_TWIN_AUDIT": str(folder / "audit"),
            "TWINLOOP_TWIN_AUDIT_CHAIN": name,
            "TWINLOOP_ACCESS_PEOPLE": str(people),
        },
        folder / f"{name}.log",
    )


@pytest.fixture
def stale_s() -> float:
    """After how long the twin gives no forecast: long, but where a test is about that."""
    return 60.0


@pytest.fixture
def twin(kafka: str, topic_prefix: str, tmp_path: Path, stale_s: float) -> Iterator[ServiceProcess]:
    one = process(kafka, topic_prefix, tmp_path, stale_s=stale_s)
    yield one
    if one.running:
        one.stop()


@pytest.fixture
async def scene(kafka: str, topic_prefix: str, twin: ServiceProcess, tmp_path: Path) -> AsyncIterator[Scene]:
    await provision(kafka, topic_prefix)
    async with publisher(kafka, topic_prefix, asyncio.Event()) as out:
        scene = Scene(kafka, topic_prefix, twin, out, tmp_path)
        await scene.weld(10, depth_mm=0.45)
        twin.start()
        await until(scene.decides)
        yield scene


async def test_what_helps_is_released_what_does_not_is_rejected_and_a_hold_always_passes(
    scene: Scene,
) -> None:
    await scene.promote(Mode.SUPERVISED, Mode.AUTO)
    await scene.observe()
    await scene.propose("more", power(1020.0))
    await scene.propose("less", power(920.0))
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
    trusted = Trusted([Signer.load(scene.folder / "twin.key.pem").public])
    for n, one in enumerate((approved, hold[1]), start=1):
        trusted.verify(signing_bytes(one.envelope), one.signature, one.key_id)
        assert one.envelope.sequence == n
    assert hold[0].do_this is None
    assert {(one["change_id"], one["state"]) for one in scene.get("/changes")} == {
        ("more", "approved"),
        ("less", "rejected"),
        ("hold", "approved"),
    }


async def test_killed_and_told_again_it_decides_once(scene: Scene) -> None:
    await scene.promote(Mode.SUPERVISED, Mode.AUTO)
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
    released = [one for one in await scene.read(CHANGES) if names([one]) == ["approved"]]
    assert [one.envelope.sequence for one in released] == [1, 2, 3]


async def test_what_is_no_change_goes_to_dead_letters_and_the_rest_goes_on(scene: Scene) -> None:
    await scene.promote(Mode.SUPERVISED, Mode.AUTO)
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
    await scene.observe()
    first = next(one for one in scene.get("/assets") if one["asset"] == ASSET)
    assert (first["newest_sequence"], first["power_w"], first["resistance_uohm"]) == (20, 1000.0, 48.0)
    assert 0.8 < first["transmission"] < 1.0
    assert first["shadow"]["reported"]["laser_power_w"]["value"] == 1000.0
    assert scene.get("/assets/nobody") == 404
    assert scene.twin.status("/assets") == 401


async def test_a_person_decides_in_supervised_also_after_a_kill_and_all_of_it_is_audited(
    scene: Scene,
) -> None:
    await scene.promote(Mode.SUPERVISED)
    await scene.propose("yes", power(1020.0), 120.0, Mode.SUPERVISED)
    await scene.propose("no", Hold(reason="gap"), 120.0, Mode.SUPERVISED)

    def both_wait() -> bool:
        found = scene.get("/changes?state=simulated")
        return [bool(one["waits_for"]) for one in found] == [True, True]

    await until(both_wait)
    await asyncio.to_thread(scene.twin.kill)
    scene.twin.start()
    await until(scene.decides)
    await until(both_wait)
    assert scene.mode() == "supervised"  # what is in force is what the log says
    assert (await scene.post("/changes/yes/approve", "vera", reason="x")).status_code == 403
    assert (await scene.post("/changes/yes/approve", "olaf", reason=" ")).status_code == 422
    answer = await scene.post("/changes/yes/approve", "olaf", reason="the window is dirty")
    assert (answer.status_code, answer.json()["state"]) == (200, "approved")
    # It is in Kafka by the time that it is answered.
    approved = (await scene.told("yes"))[-1]
    assert (approved.approver, approved.reason) == ("person:olaf", "the window is dirty")
    assert (await scene.post("/changes/no/veto", "olaf", reason="it is no gap")).json()["state"] == "rejected"
    assert (await scene.post("/changes/no/approve", "olaf", reason="x")).status_code == 409

    async def copied() -> bool:
        copies = {one.number: one for one in await scene.read(AUDIT)}  # one may come twice, over a kill
        acts = [(one.who, one.what, one.change_id) for one in copies.values()]
        return acts == [
            ("person:ella", "requested mode", None),
            ("person:olaf", "approved", "yes"),
            ("person:olaf", "rejected", "no"),
        ]

    await until(copied)
    assert verify_file(scene.folder / "audit" / "twin.jsonl") == []


@pytest.mark.parametrize("stale_s", [5.0])
async def test_what_the_twin_cannot_answer_for_calls_a_person_once_and_ends_at_its_deadline(
    scene: Scene,
) -> None:
    await scene.promote(Mode.SUPERVISED, Mode.AUTO)

    def stale() -> bool:
        newest = datetime.fromisoformat(scene.get(f"/assets/{ASSET}")["newest_at"])
        return datetime.now(UTC) - newest > timedelta(seconds=6)

    await until(stale)
    await scene.propose("patient", power(1020.0), expires_s=600.0)
    await scene.propose("late", power(1020.0), expires_s=12.0)
    simulated, rejected = await scene.decided("late")
    assert names([simulated, rejected]) == ["simulated", "rejected"]
    assert rejected.reason == "nobody decided in time"
    assert names(await scene.told("patient")) == ["simulated"]
    alarms = await scene.read(ALARMS)
    assert [one.code for one in alarms] == [AlarmCode.PERSON_NEEDED] * 2
    assert all("there is no forecast: the newest part was observed" in one.text for one in alarms)


async def test_the_audit_store_away_nothing_is_released_and_health_says_so(scene: Scene) -> None:
    await scene.promote(Mode.SUPERVISED, Mode.AUTO)
    store = scene.folder / "audit"
    await asyncio.to_thread(store.rename, scene.folder / "elsewhere")
    await until(lambda: scene.twin.status("/health/ready") == 503)
    await scene.propose("hold", Hold(reason="gap"))

    async def alarmed() -> bool:
        return [one.code for one in await scene.read(ALARMS)] == [AlarmCode.AUDIT_AWAY]

    await until(alarmed)
    assert await scene.told("hold") == []
    assert (await scene.post(f"/assets/{ASSET}/mode", "ella", mode="shadow", reason="x")).status_code == 503
    await asyncio.to_thread((scene.folder / "elsewhere").rename, store)
    assert names(await scene.decided("hold")) == ["simulated", "approved"]


async def test_the_stream_tells_a_viewer_what_happens(scene: Scene) -> None:
    url = scene.twin.url.replace("http", "ws") + "/stream"
    async with websockets.connect(url, additional_headers=as_person("vera")) as socket:
        await scene.promote(Mode.SUPERVISED)
        seen: list[dict[str, Any]] = []

        def entered() -> bool:
            shadows = [one["shadow"] for one in seen if one["kind"] == "shadow"]
            return any(one["asset"] == ASSET and one["mode"]["actual"] == "supervised" for one in shadows)

        async with asyncio.timeout(20):
            while not entered():
                seen.append(json.loads(await socket.recv()))
    kinds = [one["event"]["type"] for one in seen if one["kind"] == "event"]
    assert kinds == ["mode_requested", "mode_entered"]


async def test_of_two_twins_one_decides_and_the_other_says_so(scene: Scene, topic_prefix: str) -> None:
    other = process(scene.kafka, topic_prefix, scene.folder, "twin-2")
    other.start()
    both = (scene.twin, other)
    try:
        await until(lambda: all(one.url and one.ready for one in both))

        def split() -> bool:
            views = [scene.get("/assets", one) for one in both]
            here = [{view["asset"] for view in one if view["decided_here"]} for one in views]
            return len(here[0] | here[1]) == 2 and not here[0] & here[1]

        await until(split)
        owner, stranger = sorted(both, key=lambda one: not scene.get(f"/assets/{ASSET}", one)["decided_here"])
        refused = await scene.post(f"/assets/{ASSET}/mode", "ella", stranger, mode="supervised", reason="x")
        assert refused.status_code == 503
        assert "another member" in refused.json()["problem"]
        taken = await scene.post(f"/assets/{ASSET}/mode", "ella", owner, mode="supervised", reason="x")
        assert taken.status_code == 200
    finally:
        other.stop()
