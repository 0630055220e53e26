"""Fleets at the panel: what is accepted, and that every bad field is named."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from twinloop.ingest.pseudonyms import is_vin
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.mqtt import MqttAccess
from twinloop.simulator import panel_fleets
from twinloop.simulator.fleets.minutes import message
from twinloop.simulator.fleets.order import FleetOrder
from twinloop.simulator.fleets.progress import Stage
from twinloop.simulator.fleets.runner import FleetRunner
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.panel import panel
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_state import Range
from twinloop.sparkplug import NodeId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {
    "name": "spring",
    "vehicles": 600,
    "stations": ["weld1", "weld2"],
    "seed": 7,
    "days": 240,
    "days_per_s": 3,
    "snippets_per_week": 1,
    "faults": {"weld1": [{"kind": "window_step", "start": 9600, "until": 13440, "transmission": 0.9}]},
}


def scene(ingest: str | None = "http://127.0.0.1:1") -> tuple[httpx.AsyncClient, FleetRunner]:
    spec = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
    plant = Plant({"weld1": spec, "weld2": spec}, first_part=10_000_000)
    clock = ManualClock(NOW)

    async def refresh(_: str) -> None:
        pass

    runner = FleetRunner(
        plant,
        NodeId("acme", "line1"),
        MqttAccess("127.0.0.1", 1),
        ingest,
        clock,
        Metrics(CollectorRegistry()),
        asyncio.get_running_loop().time,
    )
    app = panel(plant, plant.start, refresh, panel_fleets.routes(plant, runner, clock))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://panel"), runner


async def test_a_fleet_is_begun_so_long_ago_that_its_last_day_is_now() -> None:
    http, _ = scene()
    async with http:
        assert (await http.get("/fleets/current")).status_code == 404
        begun = await http.post("/fleets", json=GOOD)
        assert begun.status_code == 202
        told = (await http.get("/fleets/current")).json()
    assert told == begun.json()
    assert (told["name"], told["stage"], told["finished"]) == ("spring", "welding", False)
    assert datetime.fromisoformat(told["start"]) == NOW - timedelta(days=240)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"vehicles": 0}, "vehicles"),
        ({"colour": "red"}, "colour"),
        ({"stations": ["weld9"]}, "stations"),
        ({"stations": ["weld1", "weld1"]}, "stations"),
        ({"stations": ["weld2"]}, "faults"),
        ({"faults": {"weld7": []}}, "faults"),
        ({"faults": {"weld1": [{"kind": "sensor_bias", "start": 0}]}}, "faults.weld1.0"),
        ({"days": 40}, "days"),
        ({"start": "2029-12-01T00:00:00Z"}, "start"),
        ({"start": "2029-01-01T00:00:00"}, "start"),
    ],
)
async def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    http, runner = scene()
    async with http:
        refused = await http.post("/fleets", json=GOOD | changed)
    assert refused.status_code == 422
    assert field in [one["field"] for one in refused.json()["problems"]]
    assert runner.progress is None


async def test_without_anybody_to_tell_no_vehicle_is_built() -> None:
    http, _ = scene(ingest=None)
    async with http:
        refused = await http.post("/fleets", json=GOOD)
    assert refused.status_code == 409
    assert "TWINLOOP_SIMULATOR_INGEST" in refused.json()["problem"]


async def test_a_fleet_that_cannot_be_welded_says_so_and_the_next_one_begins() -> None:
    http, runner = scene()
    stopping = asyncio.Event()
    running = asyncio.create_task(runner.run(stopping))
    scrap = {"weld1": [{"kind": "window_step", "start": 0, "transmission": 0.5}]}
    async with http, asyncio.timeout(60):
        await http.post("/fleets", json=GOOD | {"vehicles": 10, "faults": scrap})
        while not (told := (await http.get("/fleets/current")).json())["finished"]:
            await asyncio.sleep(0.01)
        assert told["stage"] == Stage.FAILED
        assert "weld1: 0 of" in told["problem"]
        await http.post("/fleets", json=GOOD | {"vehicles": 10})
        while (told := (await http.get("/fleets/current")).json())["stage"] == Stage.WELDING:
            await asyncio.sleep(0.01)
        stopping.set()
        await running
    assert told["stage"] == Stage.BUILDING  # and waits for an ingest that is away
    assert told["stations"]["weld1"]["welds"] == 480
    assert told["stations"]["weld1"]["last_sequence"] < 10_000_000


def test_vins_are_vins_and_differ() -> None:
    orders = [FleetOrder(**{**GOOD, "faults": {}, "stations": ("weld1",), "seed": seed}) for seed in (1, 2)]
    vins = {one.vin(vehicle, NOW) for one in orders for vehicle in range(500)}
    assert len(vins) == 1000
    assert all(map(is_vin, vins))


def test_parts_of_the_past_are_counted_before_those_of_today() -> None:
    spec = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
    plant = Plant({"weld1": spec}, first_part=101)
    assert plant.past_parts("weld1", 60) == 41
    assert plant.past_parts("weld1", 40) == 1
    assert plant.counter("weld1") == 100
    with pytest.raises(ValueError, match="only made 0 parts"):
        plant.past_parts("weld1", 1)


def test_a_message_is_what_ingest_reads() -> None:
    told = json.loads(message(np.ones((60, 98), np.float32), 3, NOW))
    assert (told["signal_set"], told["sequence"], told["period_us"]) == ("vehicle.cells.v1", 3, 1_000_000)
    assert datetime.fromisoformat(told["first_at"]) == NOW - timedelta(seconds=59)
