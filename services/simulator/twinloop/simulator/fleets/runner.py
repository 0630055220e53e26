"""Builds and drives a fleet: welds its joints, tells ingest of its vehicles, sends their minutes over MQTT.

    welding: production.produce, in a thread
    building: POST <ingest>/genealogy/vehicles, which answers with each vehicle's pseudonym
    driving: vehicles/<pseudonym>/telemetry, QoS 1, in the order of event time, `days_per_s`

Whoever is not there is waited for: a message is sent again until it is acknowledged. A repeat does no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiomqtt
import httpx
import numpy as np

from twinloop.runtime.clock import Clock
from twinloop.runtime.credentials import secret_of
from twinloop.runtime.mqtt import MqttAccess
from twinloop.runtime.observability.logging import logger
from twinloop.simulator.commands import FOCUS, LIMIT, POWER
from twinloop.simulator.fleets.built import as_json, at_h
from twinloop.simulator.fleets.fleet import FleetSpec
from twinloop.simulator.fleets.minutes import Plan, message, plan
from twinloop.simulator.fleets.order import FleetOrder
from twinloop.simulator.fleets.production import Production, Station, TooMuchScrap, produce
from twinloop.simulator.fleets.progress import FleetProgress, Stage, told_of
from twinloop.simulator.fleets.vehicle import frames
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.plant import Plant
from twinloop.simulator.process import Setpoints
from twinloop.sparkplug import NodeId

log = logger(__name__)

BATCH = 20
"""Vehicles told of in one request: half a megabyte."""
CHUNK = 32
"""Minutes made at once."""
IN_FLIGHT = 32
"""Minutes sent and not yet acknowledged."""
_PAUSE_S = 0.5
_TIMEOUT_S = 30.0


class FleetRefused(Exception):
    """Raised when ingest refuses what it is told of vehicles, for a reason that waiting does not mend.

    Operator action: read the reason; is TWINLOOP_SIMULATOR_INGEST the URL of ingest, and does
    TWINLOOP_SIMULATOR_INGEST_TOKEN_FILE hold the token of a sender, if it asks who sends?
    """


class FleetRunner:
    """The fleet at the panel. `monotonic`: seconds, for the pace of event time."""

    def __init__(
        self,
        plant: Plant,
        node: NodeId,
        mqtt: MqttAccess,
        ingest: str | None,
        clock: Clock,
        metrics: Metrics,
        monotonic: Callable[[], float],
        token_file: Path | None = None,
    ) -> None:
        """`token_file` holds what says to ingest who sends; it is read for each fleet."""
        self._plant = plant
        self._token_file = token_file
        self._node = node
        self._broker = mqtt
        self._ingest = ingest
        self._clock = clock
        self._metrics = metrics
        self._monotonic = monotonic
        self._order: FleetOrder | None = None
        self._wanted = asyncio.Event()
        self.progress: FleetProgress | None = None

    @property
    def can_build(self) -> bool:
        """True when there is somebody to tell of vehicles."""
        return self._ingest is not None

    def start(self, order: FleetOrder) -> FleetProgress:
        """Begin `order` now, in place of the one under way."""
        self._order = order
        self.progress = FleetProgress(
            order.name, Stage.WELDING, order.begins(self._clock.now()), order.days, order.vehicles
        )
        self._wanted.set()
        return self.progress

    async def run(self, stopping: asyncio.Event) -> None:
        """Build and drive what is asked for, until `stopping` is set."""
        stop = asyncio.create_task(stopping.wait())
        under_way: asyncio.Task[None] | None = None
        try:
            while not stopping.is_set():
                wanted = asyncio.create_task(self._wanted.wait())
                others = {under_way} if under_way is not None else set()
                await asyncio.wait({wanted, stop, *others}, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
                if under_way is not None and (under_way.done() or self._wanted.is_set()):
                    await _end(under_way)
                    under_way = None
                if self._wanted.is_set():
                    self._wanted.clear()
                    under_way = asyncio.create_task(self._one(), name="fleet")
        finally:
            stop.cancel()
            if under_way is not None:
                await _end(under_way)

    async def _one(self) -> None:
        order, progress = self._order, self.progress
        assert order is not None
        assert progress is not None
        log.info("fleet begins", name=order.name, vehicles=order.vehicles, start=progress.start.isoformat())
        try:
            generator = np.random.default_rng(order.seed)
            stations = self._stations(order)
            spec = FleetSpec(
                stations=tuple(one.asset for one in stations),
                vehicles=order.vehicles,
                vehicles_per_day=order.vehicles_per_day,
                buffer_h=order.buffer_h,
                recipe=self._plant.plc(order.stations[0]).recipe,
                start=progress.start,
                km_per_day=order.km_per_day,
                customers=order.customers,
            )
            made = await asyncio.to_thread(produce, spec, stations, generator)
            self._show(stage=Stage.BUILDING, **told_of(made, stations, order.stations))
            names = await self._tell(order, made)
            steps = plan(made.fleet.on_road_h, order.days * 24, order.snippets_per_week, generator)
            self._show(stage=Stage.DRIVING, minutes=len(steps.vehicle))
            await self._drive(order, made, names, steps, generator)
            self._show(stage=Stage.FINISHED)
        except (TooMuchScrap, FleetRefused, ValueError) as error:
            self._show(stage=Stage.FAILED, problem=str(error))
            log.warning("fleet failed", name=order.name, problem=str(error))
        else:
            log.info("fleet ends", name=order.name, minutes=len(steps.vehicle))

    def _show(self, **changed: object) -> None:
        assert self.progress is not None
        self.progress = replace(self.progress, **changed)  # type: ignore[arg-type]

    def _stations(self, order: FleetOrder) -> list[Station]:
        """The stations with the setpoints in force now, as if they had been when the joints were welded."""
        most = 3 * order.vehicles * 96 // len(order.stations) + 10_000
        made = []
        for name in order.stations:
            plc = self._plant.plc(name)
            made.append(
                Station(
                    asset=f"{self._node.group}.{self._node.node}.{name}",
                    setpoints=Setpoints(plc.setpoints[POWER], plc.setpoints[FOCUS]),
                    limit_uohm=plc.setpoints[LIMIT],
                    faults=tuple(order.faults.get(name, ())),
                    first_sequence=self._plant.past_parts(name, most),
                )
            )
        return made

    async def _tell(self, order: FleetOrder, made: Production) -> dict[int, str]:
        """Tell ingest of every vehicle; the pseudonyms of those that it has accepted."""
        assert self._ingest is not None
        assert self.progress is not None
        start, names = self.progress.start, dict[int, str]()
        who = {} if self._token_file is None else {"Authorization": f"Bearer {secret_of(self._token_file)}"}
        async with httpx.AsyncClient(base_url=self._ingest, timeout=_TIMEOUT_S, headers=who) as http:
            for first in range(0, order.vehicles, BATCH):
                batch = range(first, min(first + BATCH, order.vehicles))
                told = [
                    as_json(
                        made.fleet,
                        one,
                        order.vin(one, start),
                        made.baseline_uohm[one],
                        made.baseline_se_uohm[one],
                    )
                    for one in batch
                ]
                body = b'{"vehicles":[' + b",".join(told) + b"]}"
                for one, item in zip(batch, await self._post(http, body), strict=True):
                    if item["outcome"] == "refused":
                        log.warning("vehicle refused", vehicle=one, problem=item["detail"])
                    else:
                        names[one] = item["vehicle"]
                    self._metrics.vehicles.labels(item["outcome"]).inc()
                self._show(told=len(names), refused=batch.stop - len(names))
        return names

    async def _post(self, http: httpx.AsyncClient, body: bytes) -> list[dict[str, str]]:
        while True:
            try:
                answer = await http.post("/genealogy/vehicles", content=body)
            except httpx.TransportError as error:
                log.warning("ingest is away", problem=repr(error), again_in_s=_PAUSE_S)
            else:
                if answer.status_code in (202, 422):
                    items: list[dict[str, str]] = answer.json()["items"]
                    return items
                if answer.status_code != 503:
                    raise FleetRefused(f"ingest answers {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(_PAUSE_S)

    async def _drive(
        self,
        order: FleetOrder,
        made: Production,
        names: dict[int, str],
        steps: Plan,
        generator: np.random.Generator,
    ) -> None:
        """Send every minute when it is due."""
        first, begun_s = 0, self._monotonic()
        while first < len(steps.vehicle):
            try:
                async with self._client() as client:
                    while first < len(steps.vehicle):
                        part = slice(first, first + CHUNK)
                        await self._send(order, made, names, steps, part, generator, begun_s, client)
                        first += CHUNK
            except aiomqtt.MqttError as error:
                log.warning("no MQTT session for vehicles", problem=str(error), again_in_s=_PAUSE_S)
                await asyncio.sleep(_PAUSE_S)

    def _client(self) -> aiomqtt.Client:
        client = aiomqtt.Client(
            **self._broker.client(),
            identifier=f"twinloop-vehicles-{self._node.group}-{self._node.node}",
            max_inflight_messages=IN_FLIGHT,
        )
        client.pending_calls_threshold = IN_FLIGHT
        return client

    async def _send(
        self,
        order: FleetOrder,
        made: Production,
        names: dict[int, str],
        steps: Plan,
        part: slice,
        generator: np.random.Generator,
        begun_s: float,
        client: aiomqtt.Client,
    ) -> None:
        """Make the minutes `part` of `steps`, and send them when the last of them is due."""
        fleet, vehicles, hours = made.fleet, steps.vehicle[part], steps.at_h[part]
        messages = await asyncio.to_thread(_minutes, made, steps, part, generator)
        due_s = begun_s + (hours[-1] - steps.at_h[0]) / 24 / order.days_per_s
        late_s = self._monotonic() - due_s
        if late_s < 0:
            await asyncio.sleep(-late_s)
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one(vehicle: int, payload: bytes) -> None:
            async with places:
                topic = f"vehicles/{names[vehicle]}/telemetry"
                await client.publish(topic, payload, qos=1, timeout=_TIMEOUT_S)
            self._metrics.minutes.inc()

        known = [pair for pair in zip(vehicles.tolist(), messages, strict=True) if pair[0] in names]
        await asyncio.gather(*(one(*pair) for pair in known))
        assert self.progress is not None
        self._show(
            minutes_sent=self.progress.minutes_sent + len(known),
            event_time=at_h(fleet, float(hours[-1])),
            behind_s=round(max(0.0, self._monotonic() - due_s), 3),
        )


def _minutes(made: Production, steps: Plan, part: slice, generator: np.random.Generator) -> list[bytes]:
    fleet, vehicles, hours = made.fleet, steps.vehicle[part], steps.at_h[part]
    km = np.maximum(0.0, hours - fleet.on_road_h[vehicles]) / 24 * fleet.km_per_day[vehicles]
    samples = frames(generator, made.group_ohm(vehicles, km), km)
    return [
        message(one, int(number), at_h(fleet, float(hour)))
        for one, number, hour in zip(samples, steps.sequence[part], hours, strict=True)
    ]


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel and wait; what ended by an error of its own raises it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
