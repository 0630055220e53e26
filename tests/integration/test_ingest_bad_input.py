"""Bad input over a real broker: each kind has one decided outcome, and the next good message counts.

A row of `CASES` a kind: what is sent, and the reason it is refused for, or none when it is only counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiomqtt
import httpx
import numpy as np
import pytest
from support.processes import ServiceProcess
from support.topics import events, records
from support.waiting import TIMEOUT_S, until

from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.frames import Frame, decode_frame
from twinloop.contracts.topics import DEAD_LETTERS, TELEMETRY_FACTORY, TELEMETRY_VEHICLE, Topic
from twinloop.ingest.pseudonyms import pseudonym
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.telemetry import METRICS
from twinloop.sparkplug import EdgeSession, Message, NodeId, asks_for_rebirth

KEY = "a key of this test and no other"
VIN = "1M8GDM9AXKP042788"
CAR = "4711" * 8
SIGNALS = (
    "plasma",
    "window_temperature_c",
    "back_reflection",
    "oct_depth_mm",
    "gas_flow_l_min",
    "clamp_force_n",
)
DAY_MS = 86_400_000


@dataclass
class Ingest:
    """An ingest process for all tests of this file: none of them may stop it."""

    prefix: str
    kafka: str
    mqtt: str
    service: ServiceProcess

    def counted(self, fate: str) -> float:
        return self.service.metric("inputs_total", fate=fate)

    async def read(self, topic: Topic) -> list[tuple[bytes, bytes]]:
        """Keys and values of every record of a topic."""
        return [(one.key, one.value) for one in await records(self.kafka, self.prefix, topic)]

    async def frames(self, asset: str, topic: Topic = TELEMETRY_FACTORY) -> list[Frame]:
        return [decode_frame(value) for key, value in await self.read(topic) if key == asset.encode()]

    async def letters(self, source: str) -> list[DeadLetter]:
        letters = await events(self.kafka, self.prefix, DEAD_LETTERS)
        return [one for one in letters if source in one.source]


@pytest.fixture(scope="module")
def ingest(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    where, prefix = stack.endpoints, f"t{uuid.uuid4().hex[:10]}."
    asyncio.run(provision(where.kafka, prefix))
    service = ServiceProcess(
        "ingest",
        {
            "TWINLOOP_KAFKA": where.kafka,
            "TWINLOOP_MQTT": where.mqtt,
            "TWINLOOP_TOPIC_PREFIX": prefix,
            "TWINLOOP_INGEST_PSEUDONYM_KEY": KEY,
            "TWINLOOP_INGEST_REBIRTH_INTERVAL_S": "0.5",
        },
        tmp_path_factory.mktemp("ingest") / "ingest.log",
    )
    service.start()
    asyncio.run(until(lambda: service.ready))
    yield Ingest(prefix, where.kafka, where.mqtt, service)
    assert service.stop() == 0


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


@dataclass
class Plant:
    """An edge node with one device on a real broker; what it sends is remembered."""

    client: aiomqtt.Client
    node: NodeId
    session: EdgeSession
    sequence: int = 0
    sent: list[Message] = field(default_factory=list)

    @property
    def asset(self) -> str:
        return f"{self.node.group}.{self.node.node}.weld1"

    async def send(self, *messages: Message) -> None:
        for one in messages:
            self.sent.append(one)
            await self.client.publish(one.topic, one.payload, qos=one.qos)

    async def born(self) -> None:
        settings = {
            "Signals/Set": "weld.v1",
            "Part/SamplePeriodUs": 1000,
            "Setpoint/Power": 1000.0,
            "Setpoint/Focus": 0.0,
            "Recipe": "cu-al-tab-7",
        }
        await self.send(*self.session.births({"weld1": settings}, at_ms=now_ms()))

    def part(self, *, sequence: int | None = None, at_ms: int | None = None, **changed: Any) -> Message:
        """The message of the next part, with some values changed or, by `None`, left out."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        at = now_ms() if at_ms is None else at_ms
        values: dict[str, Any] = {
            **{f"Signals/{name}": np.ones(30, np.float32) for name in SIGNALS},
            "Part/Id": f"part-{self.sequence}",
            "Part/Counter": self.sequence,
            "Part/WeldedAt": at - 30,
            "Part/Resistance": 42.0,
        }
        values |= {name.replace("__", "/"): value for name, value in changed.items()}
        present = {name: value for name, value in values.items() if value is not None}
        return self.session.data("weld1", present, at_ms=at)


@pytest.fixture
async def plant(ingest: Ingest) -> AsyncIterator[Plant]:
    host, _, port = ingest.mqtt.rpartition(":")
    node = NodeId("acme.berlin", f"line-{uuid.uuid4().hex[:8]}")
    async with aiomqtt.Client(host, int(port)) as client:
        yield Plant(client, node, EdgeSession(node, {"weld1": METRICS}))


def samples(value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    row = np.ones(30, np.float32)
    row[7] = value
    return row


Case = Callable[[Plant], Awaitable[Message]]


async def undecodable(plant: Plant) -> Message:
    good = plant.part()
    return Message(good.topic, b"\xff\xfe" + good.payload[:40])


async def before_birth(plant: Plant) -> Message:
    # The session goes on in a process that never heard its births: another node's data.
    stranger = NodeId(plant.node.group, f"{plant.node.node}-unborn")
    session = EdgeSession(stranger, {"weld1": METRICS})
    other = Plant(plant.client, stranger, session)
    session.births({}, at_ms=now_ms())
    return other.part()


async def unknown_alias(plant: Plant) -> Message:
    wider = EdgeSession(plant.node, {"weld0": METRICS, "weld1": METRICS})
    wider.births({}, at_ms=now_ms())
    good = plant.part()
    strange = Plant(plant.client, plant.node, wider, plant.sequence - 1).part()
    return Message(good.topic, strange.payload)


async def nan(plant: Plant) -> Message:
    return plant.part(Signals__oct_depth_mm=samples(float("nan")))


async def infinite(plant: Plant) -> Message:
    return plant.part(Signals__plasma=samples(float("inf")))


async def signal_missing(plant: Plant) -> Message:
    return plant.part(Signals__clamp_force_n=None)


async def unequal_lengths(plant: Plant) -> Message:
    return plant.part(Signals__plasma=np.ones(29, np.float32))


async def far_past(plant: Plant) -> Message:
    return plant.part(at_ms=now_ms() - 3 * DAY_MS)


async def future(plant: Plant) -> Message:
    return plant.part(at_ms=now_ms() + 3_600_000)


async def out_of_order(plant: Plant) -> Message:
    await plant.send(plant.part(sequence=50))
    late = plant.part(sequence=40)
    plant.sequence = 50
    return late


CASES: dict[str, tuple[Case, Reason]] = {
    "undecodable": (undecodable, Reason.UNDECODABLE),
    "data before birth": (before_birth, Reason.DATA_BEFORE_BIRTH),
    "unknown alias": (unknown_alias, Reason.UNKNOWN_ALIAS),
    "NaN": (nan, Reason.NON_FINITE),
    "infinite": (infinite, Reason.NON_FINITE),
    "a signal is missing": (signal_missing, Reason.WRONG_SIGNAL_COUNT),
    "signals of unequal length": (unequal_lengths, Reason.WRONG_SIGNAL_COUNT),
    "far past": (far_past, Reason.TOO_OLD),
    "future": (future, Reason.IN_FUTURE),
    "out of order": (out_of_order, Reason.OUT_OF_ORDER),
}


@pytest.mark.parametrize("kind", CASES)
async def test_it_is_kept_with_its_reason_and_bytes_and_the_next_part_counts(
    kind: str, ingest: Ingest, plant: Plant
) -> None:
    make, reason = CASES[kind]
    await plant.born()
    first = plant.part()
    await plant.send(first)
    bad = await make(plant)
    await plant.send(bad)

    async def refused() -> bool:
        return bool(await ingest.letters(plant.node.node))

    await until(refused)
    (letter,) = await ingest.letters(plant.node.node)
    assert (letter.reason, letter.payload, letter.source) == (reason, bad.payload, bad.topic)
    assert letter.detail
    await plant.born()  # what was asked for, where the session was broken
    after = plant.part()
    await plant.send(after)

    async def counted() -> bool:
        return plant.sequence in {one.sequence for one in await ingest.frames(plant.asset)}

    await until(counted)
    assert ingest.service.ready
    held = [one.sequence for one in await ingest.frames(plant.asset)]
    assert held == sorted(set(held))


async def test_a_frame_that_repeats_is_dropped_and_counted(ingest: Ingest, plant: Plant) -> None:
    await plant.born()
    await plant.send(plant.part())
    before = ingest.counted("duplicate")
    await plant.send(plant.part(sequence=1), plant.part(sequence=1))
    plant.sequence = 1
    await plant.send(plant.part())

    async def counted() -> bool:
        return [one.sequence for one in await ingest.frames(plant.asset)] == [1, 2]

    await until(counted)
    await until(lambda: ingest.counted("duplicate") >= before + 2)  # a group is counted once Kafka has it
    assert ingest.counted("duplicate") == before + 2
    assert await ingest.letters(plant.node.node) == []


async def test_data_before_birth_asks_for_a_rebirth_until_it_comes(ingest: Ingest, plant: Plant) -> None:
    host, _, port = ingest.mqtt.rpartition(":")
    plant.session.births({}, at_ms=now_ms())
    async with aiomqtt.Client(host, int(port)) as listener:
        await listener.subscribe(plant.session.command_topic, qos=1)
        await plant.send(plant.part())
        async with asyncio.timeout(20):
            heard = []
            async for message in listener.messages:
                if str(message.topic) != plant.session.command_topic:
                    continue  # amqtt sends what is retained to who never asked for it
                heard.append(asks_for_rebirth(bytes(message.payload)))  # type: ignore[arg-type]
                if len(heard) == 2:  # it is asked again while no birth comes
                    break
    assert heard == [True, True]
    await plant.born()
    await plant.send(plant.part())

    async def counted() -> bool:
        return [one.sequence for one in await ingest.frames(plant.asset)] == [2]

    await until(counted)


async def test_after_the_death_of_a_node_its_aliases_mean_nothing(ingest: Ingest, plant: Plant) -> None:
    await plant.born()
    await plant.send(plant.part(), plant.session.node_death(at_ms=now_ms()), plant.part())

    async def refused() -> bool:
        return bool(await ingest.letters(plant.node.node))

    await until(refused)
    (letter,) = await ingest.letters(plant.node.node)
    assert letter.reason is Reason.DATA_BEFORE_BIRTH
    assert [one.sequence for one in await ingest.frames(plant.asset)] == [1]


# ---- vehicles


def telemetry(**changed: Any) -> dict[str, Any]:
    names = (
        "CurrentCurrent",
        "CurrentVoltage",
        "StateOfCharge.Current",
        "Temperature.Average",
        "Temperature.Max",
        "CellVoltage.Min",
        "CellVoltage.Max",
    )
    given = {
        "vehicle": "",
        "signal_set": "vehicle.battery.v1",
        "sequence": 1,
        "first_at": datetime.now(UTC).isoformat(),
        "period_us": 1_000_000,
        "signals": {f"Vehicle.Powertrain.TractionBattery.{name}": [1.0, 2.0] for name in names},
    }
    return {name: value for name, value in (given | changed).items() if value != ""}


@pytest.mark.parametrize(
    ("topic_name", "body"),
    [(VIN, telemetry()), (CAR, telemetry(part_id=VIN)), (VIN.lower(), telemetry())],
    ids=["in the topic", "in the body", "in small letters"],
)
async def test_a_vin_in_clear_is_refused_and_never_written_down(
    topic_name: str, body: dict[str, Any], ingest: Ingest, plant: Plant
) -> None:
    before = len([one for one in await ingest.letters("") if one.reason is Reason.VIN_IN_CLEAR])
    await plant.client.publish(f"vehicles/{topic_name}/telemetry", json.dumps(body), qos=1)

    async def refused() -> bool:
        letters = [one for one in await ingest.letters("") if one.reason is Reason.VIN_IN_CLEAR]
        return len(letters) == before + 1

    await until(refused)
    everything = [*await ingest.read(DEAD_LETTERS), *await ingest.read(TELEMETRY_VEHICLE)]
    for one in (VIN, VIN.lower()):
        assert not any(one.encode() in (key or b"") + (value or b"") for key, value in everything)
        assert one not in ingest.service.log.read_text()
    letters = [one for one in await ingest.letters("") if one.reason is Reason.VIN_IN_CLEAR]
    whole = " ".join(f"{one.source} {one.payload!r}" for one in letters)
    assert pseudonym(VIN, KEY.encode()) in whole
    assert KEY not in whole + ingest.service.log.read_text()


async def test_a_vehicle_under_its_pseudonym_is_taken(ingest: Ingest, plant: Plant) -> None:
    name = uuid.uuid4().hex
    for _ in range(2):  # QoS 1 may deliver twice
        await plant.client.publish(f"vehicles/{name}/telemetry", json.dumps(telemetry()), qos=1)

    async def taken() -> bool:
        return len(await ingest.frames(f"vehicle.{name}", TELEMETRY_VEHICLE)) == 1

    await until(taken)


async def test_json_that_is_none_is_kept(ingest: Ingest, plant: Plant) -> None:
    name = uuid.uuid4().hex
    await plant.client.publish(f"vehicles/{name}/telemetry", b'{"signals": NaN}', qos=1)

    async def refused() -> bool:
        return bool(await ingest.letters(name))

    await until(refused)
    (letter,) = await ingest.letters(name)
    assert (letter.reason, letter.payload) == (Reason.UNDECODABLE, b'{"signals": NaN}')


# ---- HTTP


async def post(ingest: Ingest, content: bytes) -> httpx.Response:
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        return await client.post(f"{ingest.service.url}/v1/telemetry", content=content)


async def test_each_item_of_a_batch_is_judged_by_itself(ingest: Ingest) -> None:
    name = uuid.uuid4().hex
    good = [telemetry(vehicle=name, sequence=n) for n in (1, 2)]
    bad = telemetry(vehicle=name, sequence=3, signals={"unknown": [1.0]})
    answer = await post(ingest, json.dumps({"frames": [good[0], bad, good[1], good[0]]}).encode())
    assert answer.status_code == 202
    told = answer.json()
    assert [one["outcome"] for one in told["items"]] == ["accepted", "refused", "accepted", "duplicate"]
    assert told["items"][1]["reason"] == "wrong_signal_count"
    # What was answered with 202 is in Kafka.
    assert [one.sequence for one in await ingest.frames(f"vehicle.{name}", TELEMETRY_VEHICLE)] == [1, 2]
    assert any(json.loads(one.payload) == bad for one in await ingest.letters("http"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"no json", 400),
        (b'{"frames": []}', 400),
        (json.dumps({"frames": [telemetry(vehicle=CAR, sequence=-1)]}).encode(), 422),
    ],
)
async def test_a_batch_that_is_none_is_answered_and_kept(body: bytes, status: int, ingest: Ingest) -> None:
    before = len(await ingest.letters("http"))
    answer = await post(ingest, body)
    assert answer.status_code == status
    assert answer.json()["items"][0]["reason"] == "undecodable"
    assert len(await ingest.letters("http")) == before + 1


# ---- settings


def test_every_wrong_setting_is_named_at_once() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWINLOOP_")}
    done = subprocess.run(
        [sys.executable, "-m", "twinloop.ingest"],
        env={
            **environment,
            "TWINLOOP_KAFKA": "nowhere",
            "TWINLOOP_INGEST_PSEUDONYM_KEY": "short",
            "TWINLOOP_INGEST_MAX_AGE_S": "-1",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    for name in ("KAFKA", "MQTT", "INGEST_PSEUDONYM_KEY", "INGEST_MAX_AGE_S"):
        assert f"TWINLOOP_{name}" in done.stderr
    assert "Traceback" not in done.stderr
