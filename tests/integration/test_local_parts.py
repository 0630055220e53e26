"""What the rest relies on from the parts that the runner starts."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import aiomqtt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.artefacts import model_of
from support.waiting import until

from twinloop.local import probes
from twinloop.local.stack import Stack
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.repository import publish


async def test_kafka_commits_transactions(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}transactions"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic) as producer:
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with consumer, asyncio.timeout(20):
        record = await consumer.getone()
    assert record.value == b"committed"


async def test_triton_answers_on_both_protocols(stack: Stack) -> None:
    await until(lambda: probes.http_ok(stack.endpoints.triton_http, "/v2/health/ready"))
    await until(lambda: probes.triton_grpc_ready(stack.endpoints.triton))


async def test_triton_starts_a_model_s_process_once_for_a_load(stack: Stack, tmp_path: Path) -> None:
    """Another process only to ask for its configuration would take more than a second."""
    contract, file = model_of(f"once-{uuid.uuid4().hex[:8]}", 1, 1.0)
    script = publish(stack.endpoints.model_repository, contract, file) / "model.py"
    started = tmp_path / "started"
    script.write_text(f"open({str(started)!r}, 'a').write('x')\n{script.read_text()}")
    async with triton_client(stack.endpoints.triton) as client:
        await client.load(contract.model)
        await client.probe(contract)
        await client.unload(contract.model)
    assert started.read_text() == "x"


async def test_mqtt_loses_nothing_at_a_line_rate(mqtt: str) -> None:
    """240 messages of 8 KB at QoS 1, as fast as the broker takes them: all arrive, in order."""
    host, _, port = mqtt.rpartition(":")
    sent = [number.to_bytes(4) + bytes(8192) for number in range(240)]
    async with asyncio.timeout(30), aiomqtt.Client(host, int(port)) as plant:
        async with aiomqtt.Client(host, int(port)) as subscriber:
            await subscriber.subscribe("line/#", qos=1)
            for payload in sent:
                await plant.publish("line/weld1", payload, qos=1)
            received = []
            async for message in subscriber.messages:
                received.append(message.payload)
                if len(received) == len(sent):
                    break
    assert received == sent


async def test_mqtt_publishes_and_retains_the_will_of_a_lost_client(mqtt: str, topic_prefix: str) -> None:
    host, _, port = mqtt.rpartition(":")
    topic = f"{topic_prefix}death"
    async with asyncio.timeout(30), aiomqtt.Client(host, int(port)) as witness:
        await witness.subscribe(topic, qos=1)
        # A raw client, so that it can vanish without the DISCONNECT that would cancel its will.
        will = topic.encode()
        variable = b"\x00\x04MQTT\x04\x2e\x00\x3c"  # clean session, will, QoS 1, retained; keep-alive 60 s
        body = variable + b"\x00\x04lost" + len(will).to_bytes(2) + will + b"\x00\x04dead"
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x10" + bytes([len(body)]) + body)
        await writer.drain()
        await asyncio.wait_for(reader.readexactly(4), 10)
        writer.transport.abort()
        message = await anext(aiter(witness.messages))
        assert message.payload == b"dead"
        async with aiomqtt.Client(host, int(port)) as late:
            await late.subscribe(topic, qos=1)
            retained = await anext(aiter(late.messages))
    assert (retained.payload, retained.retain) == (b"dead", True)
