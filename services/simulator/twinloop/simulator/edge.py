"""The MQTT side of the plant: one Sparkplug B edge node, its stations as devices.

Connects with its NDEATH as will, sends its births, answers rebirth commands, and connects again, with the
next `bdSeq`, when the broker went away. What is reported meanwhile is lost, as QoS 0 has it, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import aiomqtt

from twinloop.runtime.clock import Clock
from twinloop.runtime.logging import logger
from twinloop.simulator import telemetry
from twinloop.simulator.faults import Fault
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.plant import MadePart
from twinloop.simulator.publisher import Outbox, flush, publish
from twinloop.sparkplug import (
    EdgeSession,
    Message,
    NodeId,
    SparkplugError,
    Value,
    asks_for_rebirth,
)

log = logger(__name__)

_KEEPALIVE_S = 10
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0

BirthValues = Callable[[], Mapping[str, Mapping[str, Value]]]


class EdgeNode:
    """The edge node `node` at the broker `address` (`host:port`).

    `birth_values` gives the values of a birth by station. `bd_seq` is the number of the first session: it
    should differ from that of the process before, so that a late NDEATH of it is not taken for this one's.
    """

    def __init__(
        self,
        address: str,
        node: NodeId,
        stations: Sequence[str],
        birth_values: BirthValues,
        clock: Clock,
        metrics: Metrics,
        bd_seq: int,
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._node = node
        self._session = EdgeSession(node, dict.fromkeys(stations, telemetry.METRICS), bd_seq)
        self._birth_values = birth_values
        self._clock = clock
        self._metrics = metrics
        self._outboxes: dict[str, Outbox] = {}
        self._client: aiomqtt.Client | None = None
        # Sequence numbers must leave in the order in which they were given, births before data.
        self._order = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """True while the births of this session are out."""
        return self._client is not None

    async def run(self, stopping: asyncio.Event) -> None:
        """Keep a session until `stopping` is set; then declare the node's death and disconnect."""
        pause_s = _FIRST_PAUSE_S
        while not stopping.is_set():
            try:
                await self._one_session(stopping)
                pause_s = _FIRST_PAUSE_S
            except aiomqtt.MqttError as error:
                log.warning("no MQTT session", problem=str(error), again_in_s=pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            finally:
                self._client = None
            self._session.next_session()

    async def _one_session(self, stopping: asyncio.Event) -> None:
        will = self._session.will(at_ms=self._now_ms())
        async with aiomqtt.Client(
            self._host,
            self._port,
            identifier=f"twinloop-simulator-{self._node.group}-{self._node.node}",
            will=aiomqtt.Will(will.topic, will.payload, qos=will.qos),
            keepalive=_KEEPALIVE_S,
        ) as client:
            await client.subscribe(self._session.command_topic, qos=1)
            await self._send_births(client, "connect")
            self._client = client
            log.info("connected", broker=f"{self._host}:{self._port}", bd_seq=self._session.bd_seq)
            listening = asyncio.create_task(self._listen(client))
            stop = asyncio.create_task(stopping.wait())
            try:
                await asyncio.wait({listening, stop}, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    listening.result()
                else:
                    async with self._order:
                        await self._send(client, [self._session.node_death(at_ms=self._now_ms())])
            finally:
                listening.cancel()
                stop.cancel()
                await asyncio.gather(listening, stop, return_exceptions=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            try:
                wanted = asks_for_rebirth(payload)
            except SparkplugError as error:
                log.warning("command not understood", problem=error.detail)
                continue
            if wanted:
                await self._send_births(client, "rebirth")

    async def _send_births(self, client: aiomqtt.Client, cause: str) -> None:
        async with self._order:
            await self._send(client, self._session.births(self._birth_values(), at_ms=self._now_ms()))
        self._metrics.births.labels(cause).inc()

    async def report(self, part: MadePart, faults: Sequence[Fault]) -> None:
        """Send the DDATA of a weld that has just ended, as `faults` of the publisher have it."""
        async with self._order:
            at_ms = self._now_ms() + round(1000 * part.clock_offset_s)
            message = self._session.data(part.station, telemetry.of_part(part, at_ms), at_ms=at_ms)
            outbox = self._outboxes.get(part.station, Outbox())
            self._outboxes[part.station], messages = publish(outbox, faults, part.number, message)
            if part.loses_birth:
                messages = [self._session.node_death(at_ms=at_ms), *messages]
            await self._send_or_lose(messages)

    async def flush(self) -> None:
        """Send what is still held back: the campaign is over."""
        async with self._order:
            held = [message for outbox in self._outboxes.values() for message in flush(outbox)]
            self._outboxes.clear()
            await self._send_or_lose(held)

    async def _send_or_lose(self, messages: Sequence[Message]) -> None:
        client = self._client
        if client is None:
            self._metrics.messages.labels("lost").inc(len(messages))
            return
        try:
            await self._send(client, messages)
        except aiomqtt.MqttError:  # the session is over; `run` says so and connects again
            self._metrics.messages.labels("lost").inc(len(messages))

    async def _send(self, client: aiomqtt.Client, messages: Sequence[Message]) -> None:
        for message in messages:
            await client.publish(message.topic, message.payload, qos=message.qos)
            self._metrics.messages.labels("sent").inc()

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
