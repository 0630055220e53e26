"""Ingest goes away while parts are made, and then the broker: no part is lost, for the edge node stores them.

Readers of Kafka drop what comes twice: by its sequence, which is among the last 32 of its station.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from support.http import asking
from support.ports import free_endpoint
from support.processes import ServiceProcess
from support.topics import events, records
from support.waiting import TIMEOUT_S, until

from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame, decode_frame
from twinloop.contracts.times import utc
from twinloop.contracts.topics import DEAD_LETTERS, GENEALOGY, TELEMETRY_FACTORY
from twinloop.features.ordering import NamedGate, Order
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.backlog import UNSURE_PARTS
from twinloop.sparkplug import State, encode_state, parse_state, state_topic

STATIONS = ("weld1", "weld2")
PLANT = """
group = "{group}"
node = "line1"
[stations.weld1]
recipe = "cu-al-tab-7"
power_w = {{ nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }}
focus_mm = {{ nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }}
[stations.weld2]
recipe = "cu-al-tab-7"
power_w = {{ nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }}
focus_mm = {{ nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }}
"""
RATE_HZ = 5
"""What is on its way for 6 s is not lost (`UNSURE_PARTS`): no process stands still for so long."""
KILLS = 3


@dataclass
class Told:
    """What Kafka holds of one station, in the order of the topics."""

    frames: list[Frame]
    joints: list[JointWelded]


@dataclass
class Scene:
    """Ingest, and a plant whose primary host it is."""

    kafka: str
    mqtt: str
    prefix: str
    ingest: ServiceProcess
    simulator: ServiceProcess

    @property
    def host(self) -> str:
        """The topic on which ingest says whether it is there."""
        return state_topic(f"{self.prefix}twinloop")

    def start(self) -> None:
        self.ingest.start()
        self.simulator.start()

    async def waiting(self) -> None:
        """The plant waits for ingest."""

        def waits() -> bool:
            answer = self.simulator.get("/health/ready")
            return answer is not None and self.host in answer.text

        await until(waits)

    async def ready(self) -> None:
        """Ingest is there, its edge node knows, and nothing is stored any more."""
        await until(lambda: self.ingest.ready and self.simulator.ready and not self.stored, 60)

    @property
    def stored(self) -> float:
        return self.simulator.metric("stored_parts")

    @property
    def made(self) -> float:
        """Parts made, of both stations."""
        return self.simulator.metric("welds_total")

    async def weld(self, welds: int, **more: Any) -> None:
        """Begin a campaign."""
        campaign = {"name": "x", "welds": welds, "rate_hz": RATE_HZ, "seed": 1, "stations": STATIONS, **more}
        async with asking(TIMEOUT_S) as panel:
            answer = await panel.post(f"{self.simulator.url}/campaigns", json=campaign)
        assert answer.status_code == 202, answer.text

    async def further(self, parts: int) -> None:
        """Wait until so many more are made."""
        wanted = self.made + parts
        await until(lambda: self.made >= wanted)

    async def sequences(self) -> dict[str, list[int]]:
        """The part counters of all that was made, once the campaign is over."""
        shown: dict[str, Any] = {}

        def over() -> bool:
            answer = self.simulator.get("/campaigns/current")
            shown.update(answer.json() if answer is not None else {})
            return bool(shown.get("finished"))

        await until(over, 60)
        return {name: list(range(1, one["last_sequence"] + 1)) for name, one in shown["stations"].items()}

    async def told(self) -> dict[str, Told]:
        """What is in Kafka, by station."""
        told = {name: Told([], []) for name in STATIONS}
        for record in await records(self.kafka, self.prefix, TELEMETRY_FACTORY):
            frame = decode_frame(record.value)
            told[frame.asset.rpartition(".")[2]].frames.append(frame)
        for joint in await events(self.kafka, self.prefix, GENEALOGY):
            told[joint.asset.rpartition(".")[2]].joints.append(joint)
        return told

    async def everything(self, sequences: dict[str, list[int]]) -> dict[str, Told]:
        """The same, once every part of the campaign is there: with its frame and its genealogy, in order,
        and what came again is known by its readers for what it is."""
        told: dict[str, Told] = {}

        async def complete() -> bool:
            told.update(await self.told())
            return all(
                set(wanted) <= seen(told[name].frames) and set(wanted) <= seen(told[name].joints)
                for name, wanted in sequences.items()
            )

        try:
            await until(complete, 30)
        finally:
            for name, wanted in sequences.items():
                for kind in (told[name].frames, told[name].joints):
                    missing = sorted(set(wanted) - seen(kind))
                    assert missing == [], f"{len(missing)} of {len(wanted)} parts of {name} are lost"
        for name, wanted in sequences.items():
            for kind in (told[name].frames, told[name].joints):
                gate = NamedGate()
                orders = [gate.check(name, "", one.sequence) for one in kind]
                assert Counter(orders)[Order.OUT_OF_ORDER] == 0
                new = [one for one, order in zip(kind, orders, strict=True) if order is Order.NEW]
                assert [one.sequence for one in new] == wanted
                assert {one.event_id for one in kind} == {one.event_id for one in new}
        assert await events(self.kafka, self.prefix, DEAD_LETTERS) == []
        return told


def seen(told: Iterable[Frame | JointWelded]) -> set[int]:
    return {one.sequence for one in told}


@asynccontextmanager
async def scene(kafka: str, mqtt: str, prefix: str, folder: Path, **settings: str) -> AsyncIterator[Scene]:
    """Both, not started yet; `settings` of the plant by their names in the environment."""
    await provision(kafka, prefix)
    (folder / "plant.toml").write_text(PLANT.format(group=prefix.strip(".")))
    endpoint = free_endpoint()
    shared = {"TWINLOOP_KAFKA": kafka, "TWINLOOP_MQTT": mqtt, "TWINLOOP_TOPIC_PREFIX": prefix}
    one = Scene(
        kafka,
        mqtt,
        prefix,
        ServiceProcess(
            "ingest",
            {**shared, "TWINLOOP_INGEST_PSEUDONYM_KEY": "a key of this test and no other"},
            folder / "ingest.log",
        ),
        ServiceProcess(
            "simulator",
            {
                **shared,
                "TWINLOOP_OPCUA": endpoint,
                "TWINLOOP_SIMULATOR_OPCUA_SECURITY": "none",
                "TWINLOOP_SIMULATOR_STATIONS": str(folder / "plant.toml"),
                "TWINLOOP_SIMULATOR_PRIMARY_HOST": "twinloop",
                "TWINLOOP_SIMULATOR_FIRST_PART": "1",
                **settings,
            },
            folder / "simulator.log",
        ),
    )
    try:
        yield one
    finally:
        for process in (one.simulator, one.ingest):
            if process.running:
                process.stop()


@pytest.fixture
async def line(kafka: str, mqtt: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(kafka, mqtt, topic_prefix, tmp_path) as one:
        yield one


async def test_no_part_is_lost_when_ingest_is_killed_again_and_again(line: Scene) -> None:
    line.start()
    await line.ready()
    await line.weld(100_000)
    for _ in range(KILLS):
        await line.further(40)
        line.ingest.pause()  # what is made from here on it does not pass on
        await line.further(10)
        line.ingest.kill()
        await until(lambda: not line.simulator.ready)
        await line.further(20)
        line.ingest.start()
        await line.ready()
    await line.weld(1)  # and this is the last one
    told = await line.everything(await line.sequences())
    for one in told.values():
        again = len(one.frames) - len(seen(one.frames))
        assert again <= KILLS * UNSURE_PARTS
    assert line.simulator.metric("messages_total", fate="lost") == 0


async def test_what_was_made_while_ingest_was_stopped_has_the_time_at_which_it_was_made(line: Scene) -> None:
    line.start()
    await line.ready()
    await line.weld(100_000)
    await line.further(20)
    assert line.ingest.stop() == 0
    await until(lambda: not line.simulator.ready)
    stopped_at = datetime.now(UTC)
    await line.further(60)
    await line.weld(1)  # and this is the last one
    sequences = await line.sequences()
    await until(lambda: "campaign ends" in line.simulator.log.read_text())  # and both stations have told
    started_at = datetime.now(UTC)
    line.ingest.start()
    await line.ready()
    told = await line.everything(sequences)
    for one in told.values():
        stored = [joint for joint in one.joints if joint.observed_at > stopped_at]
        assert len(stored) > 10
        for joint in stored:
            assert joint.observed_at < started_at < joint.at
        made_at = {frame.sequence: utc(frame.observed_at_ns) for frame in one.frames}
        assert all(made_at[joint.sequence] == joint.observed_at for joint in one.joints)


async def test_no_part_is_lost_when_the_broker_is_killed(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with Stack(tmp_path / "stack", parts=("mqtt",)) as broker:
        async with scene(kafka, broker.endpoints.mqtt, topic_prefix, tmp_path) as line:
            line.start()
            await line.ready()
            await line.weld(100_000)
            await line.further(40)
            await broker.kill("mqtt")
            await line.further(40)
            await broker.start("mqtt")
            await line.weld(1)  # and this is the last one
            await line.everything(await line.sequences())
            assert line.simulator.metric("messages_total", fate="lost") == 0


async def test_too_many_stored_parts_fall_off_and_are_counted(
    kafka: str, mqtt: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with scene(kafka, mqtt, topic_prefix, tmp_path, TWINLOOP_SIMULATOR_STORE_PARTS="20") as line:
        line.simulator.start()
        await line.waiting()
        await line.weld(15)
        await until(lambda: line.made == 30)
        await until(lambda: line.simulator.metric("messages_total", fate="lost") == 10)
        assert line.stored == 20


@asynccontextmanager
async def witness(line: Scene) -> AsyncIterator[tuple[aiomqtt.Client, list[State]]]:
    """Another client of the broker, and all that it hears of ingest."""
    host, _, port = line.mqtt.rpartition(":")
    heard: list[State] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if str(message.topic) == line.host:
                heard.append(parse_state(bytes(message.payload)))  # type: ignore[arg-type]

    async with aiomqtt.Client(host, int(port)) as client:
        await client.subscribe(line.host, qos=1)
        listening = asyncio.create_task(listen(client))
        try:
            yield client, heard
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_ingest_says_whether_it_is_there_and_contradicts_who_says_that_it_is_not(line: Scene) -> None:
    async with witness(line) as (client, heard):
        line.start()
        await line.ready()
        await until(lambda: heard != [])
        (born,) = set(heard)
        assert born.online

        for liar in (State(False, born.at_ms), State(False, 0)):
            heard.clear()
            await client.publish(line.host, encode_state(liar), qos=1, retain=True)
            await until(lambda: born in heard)
        await line.ready()

        line.ingest.kill()
        await until(lambda: heard[-1] == State(False, born.at_ms))  # its will
        line.ingest.start()
        await until(lambda: heard[-1].online)
        again = heard[-1]
        assert again.at_ms > born.at_ms
        await line.ready()

        assert line.ingest.stop() == 0
        await until(lambda: not heard[-1].online and heard[-1].at_ms > again.at_ms)  # not its will


async def test_a_host_whose_clock_went_back_is_believed_all_the_same(line: Scene) -> None:
    host, _, port = line.mqtt.rpartition(":")
    ahead_ms = int(datetime.now(UTC).timestamp() * 1000) + 3_600_000
    async with aiomqtt.Client(host, int(port)) as client:
        await client.publish(line.host, encode_state(State(False, ahead_ms)), qos=1, retain=True)
    line.simulator.start()
    await line.waiting()
    line.ingest.start()
    await line.ready()
    await line.weld(5)
    await line.everything(await line.sequences())
