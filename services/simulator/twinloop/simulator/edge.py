"""The MQTT side of the plant: one Sparkplug B edge node, its stations as devices.

Connects with its NDEATH as will, sends its births, answers rebirth commands, and connects again, with the
next `bdSeq`, when the broker went away. With a primary host it sends births and data only while that host
is online, and declares its death when it goes.

What is reported while nobody listens is stored (`backlog`) and sent in order, as historical, after the next
births and before what is new; so is what was sent last and may have been lost on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import aiomqtt

from twinloop.runtime.clock import Clock
from twinloop.runtime.mqtt import MqttAccess
from twinloop.runtime.observability.logging import logger
from twinloop.simulator import telemetry
from twinloop.simulator.backlog import Backlog, Report
from twinloop.simulator.faults import Fault
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.plant import MadePart
from twinloop.simulator.publisher import Outbox, flush, publish
from twinloop.sparkplug import (
    Act,
    EdgeSession,
    Message,
    NodeId,
    Primary,
    SparkplugError,
    Value,
    asks_for_rebirth,
    parse_state,
    state_topic,
)

log = logger(__name__)

_KEEPALIVE_S = 10
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_STORED_AT_ONCE = 10
"""Parts of a station sent from the store before a pause: few, so that not too many are on their way."""
_STORED_PAUSE_S = 0.05

BirthValues = Callable[[], Mapping[str, Mapping[str, Value]]]


class EdgeNode:
    """The edge node `node` at the broker `address` (`host:port`).

    `birth_values` gives the values of a birth by station. `bd_seq` is the number of the first session: it
    should differ from that of the process before, so that a late NDEATH of it is not taken for this one's.
    `primary_host` is the id of the host that has to be online, `None` when none has to.
    """

    def __init__(
        self,
        broker: MqttAccess,
        node: NodeId,
        stations: Sequence[str],
        birth_values: BirthValues,
        clock: Clock,
        metrics: Metrics,
        bd_seq: int,
        primary_host: str | None,
        backlog: Backlog,
    ) -> None:
        self._broker = broker
        self._node = node
        self._session = EdgeSession(node, dict.fromkeys(stations, telemetry.METRICS), bd_seq)
        self._birth_values = birth_values
        self._clock = clock
        self._metrics = metrics
        self._state_topic = None if primary_host is None else state_topic(primary_host)
        self._primary = Primary()
        self._backlog = backlog
        self._stored_at_once = _STORED_AT_ONCE * len(stations)
        self._outboxes: dict[str, Outbox] = {}
        self._client: aiomqtt.Client | None = None
        self._awaited = "the MQTT broker"
        # Set while something may be stored that somebody listens for; when nothing is, all is `_live`.
        self._behind = asyncio.Event()
        self._live = False
        # Sequence numbers must leave in the order in which they were given, births before data.
        self._order = asyncio.Lock()
        metrics.stored_parts.set_function(lambda: len(backlog))

    def problem(self) -> str | None:
        """Whom it waits for; `None` while the births of this session are out."""
        return None if self._client is not None else f"waits for {self._awaited}"

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
            self._session.next_session()
        if self._backlog.unsent:
            log.warning("stored parts are lost", parts=self._backlog.unsent)

    async def _one_session(self, stopping: asyncio.Event) -> None:
        """Connect, and return when the primary host went or `stopping` is set."""
        will = self._session.will(at_ms=self._now_ms())
        self._awaited = "the MQTT broker"
        async with aiomqtt.Client(
            **self._broker.client(),
            identifier=f"twinloop-simulator-{self._node.group}-{self._node.node}",
            will=aiomqtt.Will(will.topic, will.payload, qos=will.qos),
            keepalive=_KEEPALIVE_S,
        ) as client:
            self._primary = self._primary.connected()
            await client.subscribe(self._session.command_topic, qos=1)
            if self._state_topic is None:
                await self._be_born(client, "connect")
            else:
                await client.subscribe(self._state_topic, qos=1)
                self._awaited = f"a host that says on {self._state_topic} that it is online"
            log.info("connected", broker=self._broker.address, bd_seq=self._session.bd_seq)
            working = [
                asyncio.create_task(self._listen(client)),
                asyncio.create_task(self._catch_up(client)),
            ]
            stop = asyncio.create_task(stopping.wait())
            try:
                await asyncio.wait({*working, stop}, return_when=asyncio.FIRST_COMPLETED)
                for task in working:
                    if task.done():
                        task.result()
                await self._die(client)
            finally:
                self._forget_births()
                for one in (*working, stop):
                    one.cancel()
                await asyncio.gather(*working, stop, return_exceptions=True)

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Do what hosts ask for; return when the primary one went."""
        async for message in client.messages:
            topic = str(message.topic)
            payload = message.payload if isinstance(message.payload, bytes) else b""
            try:
                if topic == self._session.command_topic:
                    if asks_for_rebirth(payload) and self._client is not None:
                        await self._send_births(client, "rebirth")
                elif topic == self._state_topic:
                    self._primary, act = self._primary.heard(parse_state(payload))
                    log.debug("primary host", online=self._primary.online, act=act.name)
                    if act is Act.DEATH:
                        return
                    if act is Act.BIRTH:
                        await self._be_born(client, "host")
            except SparkplugError as error:
                log.warning("a host is not understood", topic=topic, problem=error.detail)

    async def _be_born(self, client: aiomqtt.Client, cause: str) -> None:
        """Births; then what is stored goes out, and then what is new."""
        self._forget_births()
        await self._send_births(client, cause)
        self._client = client
        self._behind.set()

    async def _die(self, client: aiomqtt.Client) -> None:
        """Declare the node's death, where it was born."""
        born = self._client is not None
        self._forget_births()
        if born:
            async with self._order:
                await self._send(client, [self._session.node_death(at_ms=self._now_ms())])

    def _forget_births(self) -> None:
        """Nobody listens: nothing goes out before the next births."""
        self._client = None
        self._behind.clear()
        self._fall_behind()

    def _fall_behind(self) -> None:
        """What was sent last may not have arrived. It is stored again, with what is still held back of it."""
        self._live = False
        self._outboxes.clear()
        self._lose(self._backlog.doubt(self._now_ms()))

    async def _send_births(self, client: aiomqtt.Client, cause: str) -> None:
        async with self._order:
            await self._send(client, self._session.births(self._birth_values(), at_ms=self._now_ms()))
        self._metrics.births.labels(cause).inc()

    async def report(self, part: MadePart, faults: Sequence[Fault]) -> None:
        """Tell of a weld that has just ended, as `faults` of the publisher have it; store it when nobody
        listens, or others are stored before it."""
        async with self._order:
            report = Report(part, self._now_ms())
            self._lose(self._backlog.add(report, report.made_ms))
            if self._live:
                self._backlog.take(report.made_ms)
                await self._send_now(self._news(report, faults))

    async def flush(self) -> None:
        """Send what is still held back: the campaign is over."""
        async with self._order:
            held = [message for outbox in self._outboxes.values() for message in flush(outbox)]
            self._outboxes.clear()
            await self._send_now(held)

    def _news(self, report: Report, faults: Sequence[Fault]) -> list[Message]:
        """What goes out at once with this part."""
        part = report.part
        outbox = self._outboxes.get(part.station, Outbox())
        message = self._data(report, at_ms=report.ended_ms)
        self._outboxes[part.station], messages = publish(outbox, faults, part.number, message)
        if part.loses_birth:
            return [self._session.node_death(at_ms=report.ended_ms), *messages]
        return messages

    async def _catch_up(self, client: aiomqtt.Client) -> None:
        """Send what is stored, oldest first, while somebody listens."""
        while True:
            await self._behind.wait()
            async with self._order:
                for _ in range(self._stored_at_once):
                    if self._behind.is_set():
                        await self._send_stored(client)
            await asyncio.sleep(_STORED_PAUSE_S)

    async def _send_stored(self, client: aiomqtt.Client) -> None:
        now_ms = self._now_ms()
        report = self._backlog.take(now_ms)
        if report is None:
            self._behind.clear()
            self._live = True
            return
        told_ms = now_ms + report.ended_ms - report.made_ms
        await self._send(client, [self._data(report, at_ms=told_ms, historical=True)])
        self._metrics.historical.inc()

    def _data(self, report: Report, *, at_ms: int, historical: bool = False) -> Message:
        return self._session.data(
            report.part.station,
            telemetry.of_part(report.part, report.ended_ms),
            at_ms=at_ms,
            captured_ms=report.ended_ms,
            historical=historical,
        )

    async def _send_now(self, messages: Sequence[Message]) -> None:
        client = self._client
        if client is None:
            return
        try:
            await self._send(client, messages)
        except aiomqtt.MqttError as error:  # when the session is over, `run` says so and connects again
            log.warning("a part was not sent", problem=str(error))
            if self._client is client:
                self._fall_behind()
                self._behind.set()

    async def _send(self, client: aiomqtt.Client, messages: Sequence[Message]) -> None:
        for message in messages:
            await client.publish(message.topic, message.payload, qos=message.qos)
            self._metrics.messages.labels("sent").inc()

    def _lose(self, parts: int) -> None:
        self._metrics.messages.labels("lost").inc(parts)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
