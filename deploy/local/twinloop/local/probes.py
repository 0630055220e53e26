"""One readiness question a protocol. Each returns whether the answer was a good one, and never raises."""

from __future__ import annotations

import asyncio
import logging

import aiomqtt
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.mqtt import MqttAccess

TRY_S = 3.0


async def kafka_answers(kafka: Kafka) -> bool:
    """A metadata request: the cluster names at least one broker that is ready to serve."""
    host, _, port = str(kafka).rpartition(":")
    if not await _accepts(host, int(port)):  # the client would log each refused connection as an error
        return False
    # A broker that is still starting closes connections: expected here, so not worth the client's log lines.
    client_log = logging.getLogger("aiokafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL)
    admin = AIOKafkaAdminClient(**client_of(kafka), request_timeout_ms=int(TRY_S * 1000))
    try:
        async with asyncio.timeout(TRY_S):
            await admin.start()
            cluster = await admin.describe_cluster()
            return bool(cluster["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
        client_log.setLevel(level)


async def mqtt_answers(mqtt: MqttAccess) -> bool:
    """A CONNECT that is answered by CONNACK."""
    if not await _accepts(mqtt.host, mqtt.port):
        return False
    try:
        async with aiomqtt.Client(**mqtt.client(), timeout=TRY_S):
            return True
    except (aiomqtt.MqttError, OSError):
        return False


async def http_ok(address: str, path: str) -> bool:
    """A GET that is answered by status 200."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(TRY_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
                status_line = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [b"200"]


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(TRY_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def triton_grpc_ready(address: str) -> bool:
    """The gRPC health service of the inference protocol: the server is ready to serve."""
    import grpc.aio  # here, because only a server elsewhere needs this slow import

    method = "/inference.GRPCInferenceService/ServerReady"
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            answer = await call(b"", timeout=TRY_S)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer == b"\x08\x01")  # field 1, ready = true
