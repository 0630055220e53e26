"""MQTT in: a connection that comes back by itself, and a bounded inbox in front of the service.

Delivery. A message with QoS 1 is acknowledged to the broker after Kafka has what came of it, and the
session is persistent: what was not acknowledged is delivered again, to this process or the next. Sparkplug
data has QoS 0 by specification; there the inbox is in memory only.

Sparkplug's host application. The connection's will says that this host is offline; it is online once its
subscriptions are granted, and offline again at a graceful end, so that edge nodes whose primary host it is
store what nobody would hear. One process an id: two with one id would declare each other dead.

Back-pressure. When the inbox holds `inbox_bytes`, the socket is no longer read, and TCP holds the broker
back, until half of it is worked off. Nothing is discarded here. When that lasts longer than the keep-alive
time, the broker ends the connection and it is made again.

aiomqtt (2.5) has no public way to acknowledge by hand or to pause reading; both are one call to the paho
client inside it, and only this module knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiomqtt

from twinloop.contracts.times import unix_ns
from twinloop.ingest.metrics import Metrics
from twinloop.ingest.settings import Mqtt
from twinloop.runtime.clock import Clock
from twinloop.runtime.events import first_of
from twinloop.runtime.observability import logging
from twinloop.sparkplug import HostSession, Message, Reply, SparkplugError, is_state_topic

log = logging.logger(__name__)

FILTERS = ("spBv1.0/+/+/+", "spBv1.0/+/+/+/+", "vehicles/+/telemetry")
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
_STABLE_S = 30.0
_CONNECT_TIMEOUT_S = 3.0
_KEEPALIVE_S = 10
"""When this machine dies, the broker says that the host is offline after one and a half times this."""
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class Received:
    """A message, with what its acknowledgement needs."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int

    @property
    def size(self) -> int:
        """Bytes that it takes in the inbox, about."""
        return len(self.payload) + len(self.topic)


class MqttSource:
    """Messages from a broker. One task calls `run`, one calls `group` and `acknowledge`."""

    def __init__(
        self, settings: Mqtt, clock: Clock, metrics: Metrics, filters: Sequence[str] = FILTERS
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._filters = filters
        self._host = HostSession(settings.host_id)
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._inbox: deque[Received] = deque()
        self._inbox_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False
        self._drained = asyncio.Event()
        self._connection = 0
        self._client: aiomqtt.Client | None = None
        self._paused = False
        self._problem: str | None = "not connected yet"
        metrics.queue_bytes.set_function(lambda: self._inbox_bytes)

    def problem(self) -> str | None:
        """Why there are no messages, or `None` while connected and subscribed."""
        return self._problem

    async def run(self, stopping: asyncio.Event) -> None:
        """Connect, and connect again, until `stopping`; then wait for the last `group` and disconnect."""
        delay_s = _FIRST_DELAY_S
        loop = asyncio.get_running_loop()
        try:
            while not stopping.is_set():
                await first_of(self._room, stopping)
                since = loop.time()
                try:
                    await self._session(stopping)
                except aiomqtt.MqttError as error:
                    self._problem = f"no connection to {self._settings.address}: {error}"
                    self._metrics.mqtt_disconnects.inc()
                    log.warning("mqtt is away", problem=str(error), again_in_s=delay_s)
                if loop.time() - since > _STABLE_S:
                    delay_s = _FIRST_DELAY_S
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), delay_s)
                delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        finally:
            self._end()

    async def group(self, most: int = 500) -> list[Received]:
        """The messages that have arrived, at least one and up to `most`, in order; empty after the end.

        Each group is passed to `acknowledge` once everything that came of it is kept.
        """
        while not self._inbox:
            if self._ended:
                self._drained.set()
                return []
            self._arrived.clear()
            await self._arrived.wait()
        group = [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]
        self._inbox_bytes -= sum(one.size for one in group)
        if 2 * self._inbox_bytes <= self._settings.inbox_bytes:
            self._resume()
        return group

    def acknowledge(self, group: Iterable[Received]) -> None:
        """Tell the broker that these are kept. Those of a lost connection will be delivered again instead."""
        if self._client is None:
            return
        for one in group:
            if one.qos > 0 and one.connection == self._connection:
                self._client._client.ack(one.mid, one.qos)

    async def send(self, topic: str, payload: bytes) -> bool:
        """Publish with QoS 0, not retained; False when there is no connection."""
        if self._client is None:
            return False
        try:
            await self._client.publish(topic, payload, qos=0)
        except aiomqtt.MqttError as error:
            log.warning("a command was not sent", problem=str(error))
            return False
        return True

    async def _session(self, stopping: asyncio.Event) -> None:
        """One connection, from CONNECT to its loss (`MqttError`) or to the end of the service."""
        self._connection += 1
        self._paused = False
        self._replies = asyncio.Queue()
        client = self._new_client(self._connection, self._host.will(at_ms=self._now_ms()))
        client._client.manual_ack_set(True)
        client._client.connect_timeout = _CONNECT_TIMEOUT_S
        self._client = client  # before CONNECT: a persistent session has messages from the first moment
        try:
            await client.__aenter__()
        except aiomqtt.MqttError:
            client._client.disconnect()  # a broker that accepts but never answers leaves a socket behind
            self._client = None
            raise
        try:
            granted = await client.subscribe([(one, 1) for one in (self._host.topic, *self._filters)])
            if any((code if isinstance(code, int) else code.value) >= 0x80 for code in granted):
                raise aiomqtt.MqttError(f"the broker refused a subscription: {granted}")
            await _say(client, self._host.birth())
            self._problem = None
            log.info("mqtt is there", address=self._settings.address, filters=list(self._filters))
            await self._until_lost(client, stopping)
            await self._say_farewell(client)
            self._pause()
            self._end()
            await self._drained.wait()
        finally:
            self._problem = self._problem or "disconnected"
            await self._say_farewell(client)
            await client.__aexit__(None, None, None)
            self._client = None

    async def _until_lost(self, client: aiomqtt.Client, stopping: asyncio.Event) -> None:
        """Return when `stopping`; raises `MqttError` when the connection is lost, or must be made anew.

        Messages do not come this way: the queue that the iterator waits on stays empty.
        """
        lost = asyncio.ensure_future(anext(client.messages))
        told = asyncio.ensure_future(self._stand_by_it(client))
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({lost, told, stop}, return_when=asyncio.FIRST_COMPLETED)
            for one in (lost, told):
                if one.done():
                    one.result()
        finally:
            for task in (lost, told, stop):
                task.cancel()
            await asyncio.gather(lost, told, stop, return_exceptions=True)

    async def _say_farewell(self, client: aiomqtt.Client) -> None:
        """Say that this host is offline, where it has said that it is online: a DISCONNECT that follows takes
        the will back, also when the service ends by an error."""
        if self._host.online:
            with contextlib.suppress(aiomqtt.MqttError):  # it is sent all the same, or the will is
                await _say(client, self._host.death(at_ms=self._now_ms()), _FAREWELL_S)

    async def _stand_by_it(self, client: aiomqtt.Client) -> None:
        """Say again that this host is online, whenever somebody has said that it is not."""
        while True:
            if await self._replies.get() is Reply.CONNECT:
                raise aiomqtt.MqttError("edge nodes know of a later session: was the clock set back?")
            await _say(client, self._host.birth())

    def _new_client(self, connection: int, will: Message) -> aiomqtt.Client:
        source = self

        class Arrivals(asyncio.Queue[aiomqtt.Message]):
            """Passes on what aiomqtt would put into its own, unbounded or discarding, queue."""

            def put_nowait(self, item: aiomqtt.Message) -> None:
                one = Received(str(item.topic), bytes(item.payload or b""), item.mid, item.qos, connection)
                if is_state_topic(one.topic):
                    source._take_state(one, retained=item.retain)
                else:
                    source._take(one)

        settings = self._settings
        return aiomqtt.Client(
            **settings.access.client(),
            identifier=settings.client_id,
            will=aiomqtt.Will(will.topic, will.payload, qos=will.qos, retain=will.retain),
            clean_session=False,
            timeout=5,
            keepalive=_KEEPALIVE_S,
            queue_type=Arrivals,
        )

    def _take_state(self, one: Received, *, retained: bool) -> None:
        """What is said of hosts: of this one it may have to be contradicted; it is nobody's telemetry."""
        self.acknowledge([one])
        if one.topic != self._host.topic:
            return
        try:
            reply = self._host.heard(one.payload, retained=retained)
        except SparkplugError as error:
            log.warning("a state of this host is not understood", problem=error.detail)
            return
        if reply is not Reply.NOTHING:
            self._replies.put_nowait(reply)

    def _take(self, one: Received) -> None:
        self._inbox.append(one)
        self._inbox_bytes += one.size
        self._arrived.set()
        if self._inbox_bytes >= self._settings.inbox_bytes:
            self._room.clear()
            self._pause()

    def _pause(self) -> None:
        sock = self._client._client.socket() if self._client is not None else None
        if sock is not None and not self._paused:
            self._paused = True
            self._metrics.queue_pauses.inc()
            asyncio.get_running_loop().remove_reader(sock)

    def _resume(self) -> None:
        self._room.set()
        client = self._client
        sock = client._client.socket() if client is not None else None
        if client is not None and sock is not None and self._paused and not self._ended:
            self._paused = False
            asyncio.get_running_loop().add_reader(sock, client._client.loop_read)

    def _end(self) -> None:
        self._ended = True
        self._arrived.set()

    def _now_ms(self) -> int:
        return unix_ns(self._clock.now()) // 1_000_000


async def _say(client: aiomqtt.Client, message: Message, timeout_s: float | None = None) -> None:
    """Publish what this host says of itself; returns when the broker has it."""
    await client.publish(
        message.topic, message.payload, qos=message.qos, retain=message.retain, timeout=timeout_s
    )
