"""The plant as a Sparkplug host sees it: a real broker, and the session of a process that is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import aiomqtt
import httpx
import pytest
from asyncua import Client, ua
from support.ports import free_endpoint
from support.processes import ServiceProcess
from support.waiting import until

from twinloop.local.keys import certs
from twinloop.sparkplug import (
    DeviceBorn,
    DeviceData,
    Event,
    HostState,
    MessageType,
    NodeBorn,
    NodeDied,
    NodeId,
    Topic,
    decode,
    encode_rebirth_command,
    is_state_topic,
)

T = TypeVar("T")

PLANT = """
group = "{group}"
node = "line1"
[stations.weld1]
recipe = "cu-al-tab-7"
power_w = {{ nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }}
focus_mm = {{ nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }}
"""


@dataclass
class Host:
    """A Sparkplug host that decodes everything of one group."""

    group: str
    state: HostState = field(default_factory=HostState)
    events: list[Event] = field(default_factory=list)

    async def listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic = str(message.topic)
            if f"/{MessageType.NCMD}/" not in topic and not is_state_topic(topic):
                self.events += decode(topic, bytes(message.payload), self.state)  # type: ignore[arg-type]

    def heard(self, kind: type[T]) -> list[T]:
        return [one for one in self.events if isinstance(one, kind)]


@pytest.fixture
def simulator(mqtt: str, topic_prefix: str, tmp_path: Path) -> Iterator[ServiceProcess]:
    (tmp_path / "plant.toml").write_text(PLANT.format(group=topic_prefix.strip(".")))
    endpoint = free_endpoint()
    certs.make(tmp_path / "certs", datetime.now(UTC))
    opcua = tmp_path / "certs" / "opcua"
    one = ServiceProcess(
        "simulator",
        {
            "TWINLOOP_MQTT": mqtt,
            "TWINLOOP_OPCUA": endpoint,
            "TWINLOOP_SIMULATOR_STATIONS": str(tmp_path / "plant.toml"),
            "TWINLOOP_SIMULATOR_OPCUA_CERTIFICATE": str(opcua / "plc.cert.der"),
            "TWINLOOP_SIMULATOR_OPCUA_KEY": str(opcua / "plc.key.pem"),
            "TWINLOOP_SIMULATOR_OPCUA_TRUSTED": str(opcua / "trusted-by-plc"),
        },
        tmp_path / "simulator.log",
    )
    yield one
    if one.running:
        one.stop()


@pytest.fixture
async def host(mqtt: str, topic_prefix: str) -> AsyncIterator[tuple[Host, aiomqtt.Client]]:
    address, _, port = mqtt.rpartition(":")
    one = Host(topic_prefix.strip("."))
    async with aiomqtt.Client(address, int(port)) as client:
        await client.subscribe(f"spBv1.0/{one.group}/#", qos=1)
        listening = asyncio.create_task(one.listen(client))
        yield one, client
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_births_data_rebirth_and_the_death_of_a_killed_plant(
    simulator: ServiceProcess, host: tuple[Host, aiomqtt.Client]
) -> None:
    one, client = host
    simulator.start()
    await until(lambda: simulator.ready)
    with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
        await Client(simulator.settings["TWINLOOP_OPCUA"], timeout=5).connect()
    await until(lambda: len(one.heard(DeviceBorn)) == 1)
    campaign = {"name": "x", "welds": 5, "rate_hz": 50, "seed": 1, "stations": ["weld1"]}
    async with httpx.AsyncClient() as panel:
        answer = await panel.post(f"{simulator.url}/campaigns", json={**campaign, "faults": {}, "plc": {}})
    assert answer.status_code < 300, answer.text
    await until(lambda: len(one.heard(DeviceData)) == 5)
    parts = one.heard(DeviceData)
    counters = [part.metrics["Part/Counter"].value for part in parts]
    assert counters == sorted(set(counters))
    assert {part.asset for part in parts} == {f"{one.group}.line1.weld1"}
    depth = parts[0].metrics["Signals/oct_depth_mm"].value
    assert len(depth) == 300  # type: ignore[arg-type]
    assert not any(part.late for part in parts)

    node = NodeId(one.group, "line1")
    command = encode_rebirth_command(at_ms=int(datetime.now(UTC).timestamp() * 1000))
    await client.publish(str(Topic(node, MessageType.NCMD)), command)
    await until(lambda: len(one.heard(NodeBorn)) == 2 and len(one.heard(DeviceBorn)) == 2)

    simulator.kill()
    await until(lambda: len(one.heard(NodeDied)) == 1)  # its will, from the broker
    assert one.heard(NodeDied)[0].devices == ("weld1",)
    simulator.start()
    await until(lambda: len(one.heard(NodeBorn)) == 3)


def test_a_plant_file_that_is_wrong_is_refused_with_every_field(
    simulator: ServiceProcess, tmp_path: Path
) -> None:
    (tmp_path / "plant.toml").write_text('group = "g"\nmodel = 1\n')
    simulator.start()
    assert simulator.process is not None
    assert simulator.process.wait(20) == 2
    said = simulator.log.read_text()
    for field_name in ("node", "stations", "model"):
        assert field_name in said
    assert "Traceback" not in said
