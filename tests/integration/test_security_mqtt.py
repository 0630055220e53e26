"""A real MQTT broker over TLS, with a user for ingest and for each plant: who may say and hear what."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from twinloop.local.keys.secured import INGEST, Secrets, Secure
from twinloop.local.stack import Stack
from twinloop.runtime.mqtt import MqttAccess

pytestmark = pytest.mark.timeout(120)

PLANTS = {"plant-a": "acme.berlin", "plant-b": "acme.wien"}
SOON_S = 10.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("secured"), parts=("mqtt",), secure=Secure(plants=PLANTS))
    with asyncio.Runner() as runner:
        try:
            runner.run(stack.__aenter__())
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


def access(secured: Stack, user: str) -> MqttAccess:
    assert isinstance(secured.secrets, Secrets)
    return secured.secrets.mqtt_access(user, secured.endpoints.mqtt)


@asynccontextmanager
async def connected(mqtt: MqttAccess, **more: Any) -> AsyncIterator[aiomqtt.Client]:
    async with asyncio.timeout(SOON_S), aiomqtt.Client(**mqtt.client(), **more) as client:
        yield client


class Heard:
    """What a client hears, until a topic that it waits for has come."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client
        self.topics: list[str] = []

    async def until(self, topic: str) -> list[str]:
        async for message in self._client.messages:
            self.topics.append(str(message.topic))
            if self.topics[-1] == topic:
                break
        return self.topics


async def test_who_does_not_know_the_password_is_not_let_in(secured: Stack, tmp_path: Path) -> None:
    mqtt, wrong = access(secured, "plant-a"), tmp_path / "wrong"
    wrong.write_text("not the password")
    async with connected(mqtt):
        pass
    for refused in (
        replace(mqtt, password_file=wrong),
        replace(mqtt, user="plant-b"),
        replace(mqtt, user="nobody"),
        replace(mqtt, user=None, password_file=None),
    ):
        with pytest.raises(aiomqtt.MqttError):
            async with connected(refused):
                pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho drops such a socket
async def test_only_tls_is_spoken_and_the_broker_must_be_the_right_one(secured: Stack) -> None:
    mqtt = access(secured, "plant-a")
    with pytest.raises((aiomqtt.MqttError, TimeoutError)):
        async with connected(replace(mqtt, tls=None), timeout=2):
            pass
    assert mqtt.tls is not None
    with pytest.raises((aiomqtt.MqttError, ssl.SSLError)):
        async with connected(replace(mqtt, tls=replace(mqtt.tls, ca_file=None))):
            pass


async def test_a_plant_does_not_speak_as_another(secured: Stack) -> None:
    """Ingest hears all; what a plant may not say is not delivered, and what it may comes after it."""
    async with connected(access(secured, INGEST)) as ingest:
        await ingest.subscribe([("spBv1.0/#", 1), ("vehicles/+/telemetry", 1)])
        heard = Heard(ingest)
        async with connected(access(secured, "plant-a")) as plant:
            for topic in (
                "spBv1.0/acme.wien/DDATA/line1/weld1",
                "spBv1.0/acme.wien/NBIRTH/line1",
                "spBv1.0/acme.berlin/NCMD/line1",
                "spBv1.0/STATE/twinloop",
                "spBv1.0/acme.berlin/DDATA/line1/weld1",
                "vehicles/v1/telemetry",
            ):
                with suppress(aiomqtt.MqttError):
                    await plant.publish(topic, b"x", qos=0)
            told = await heard.until("vehicles/v1/telemetry")
        assert told == ["spBv1.0/acme.berlin/DDATA/line1/weld1", "vehicles/v1/telemetry"]
        async with connected(access(secured, "plant-b")) as plant:
            await plant.publish("spBv1.0/acme.wien/NBIRTH/line1", b"x", qos=0)
            assert (await heard.until("spBv1.0/acme.wien/NBIRTH/line1"))[2:] == [
                "spBv1.0/acme.wien/NBIRTH/line1"
            ]


async def test_a_plant_leaves_no_will_in_anothers_name(secured: Stack) -> None:
    mine = aiomqtt.Will("spBv1.0/acme.berlin/NDEATH/line1", b"x", qos=1)
    async with connected(access(secured, "plant-a"), will=mine):
        pass
    others = aiomqtt.Will("spBv1.0/acme.wien/NDEATH/line1", b"x", qos=1)
    with pytest.raises(aiomqtt.MqttError):
        async with connected(access(secured, "plant-a"), will=others):
            pass


async def test_a_plant_hears_nothing_of_another(secured: Stack) -> None:
    refused = 0x80
    async with connected(access(secured, "plant-a")) as plant:
        for topic in ("#", "spBv1.0/#", "spBv1.0/acme.wien/#", "spBv1.0/acme.wien/NCMD/line1", "vehicles/#"):
            (granted,) = await plant.subscribe(topic, qos=1)
            assert getattr(granted, "value", granted) == refused, topic
        (granted,) = await plant.subscribe("spBv1.0/acme.berlin/NCMD/line1", qos=1)
        assert getattr(granted, "value", granted) == 1
        await plant.subscribe("spBv1.0/STATE/twinloop", qos=1)
        heard = Heard(plant)
        async with connected(access(secured, INGEST)) as ingest:
            for topic in ("spBv1.0/acme.wien/NCMD/line1", "spBv1.0/acme.berlin/NCMD/line1"):
                await ingest.publish(topic, b"x", qos=1)
        assert await heard.until("spBv1.0/acme.berlin/NCMD/line1") == ["spBv1.0/acme.berlin/NCMD/line1"]
