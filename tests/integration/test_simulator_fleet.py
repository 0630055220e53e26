"""A fleet from the panel to Kafka: welded, scrapped, built, told of, and driven, over real parts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.ports import free_endpoint
from support.processes import ServiceProcess
from support.topics import events, records
from support.waiting import until

from twinloop.contracts.field import VehicleBuilt
from twinloop.contracts.frames import decode_frame
from twinloop.contracts.times import utc
from twinloop.contracts.topics import DEAD_LETTERS, GENEALOGY, TELEMETRY_VEHICLE
from twinloop.features.cells import against_baseline, slopes
from twinloop.ingest.edge import resolve
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.fleets.order import FleetOrder
from twinloop.trust.people import new_token, token_sha256

KEY = "a key of this test and no other"
VEHICLES, DAYS = 30, 120
PLANT = """
group = "{group}"
node = "packs.line1"
[stations.weld1]
recipe = "cu-al-tab-7"
power_w = {{ nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }}
focus_mm = {{ nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }}
[stations.weld2]
recipe = "cu-al-tab-7"
power_w = {{ nominal = 1000.0, low = 850.0, high = 1350.0, max_step = 30.0 }}
focus_mm = {{ nominal = 0.0, low = -2.0, high = 2.0, max_step = 0.25 }}
"""
ORDER: dict[str, Any] = {
    "name": "spring",
    "vehicles": VEHICLES,
    "stations": ["weld1", "weld2"],
    "seed": 3,
    "days": DAYS,
    "days_per_s": 60,
    "snippets_per_week": 1,
    "faults": {"weld1": [{"kind": "window_step", "start": 240, "until": 960, "transmission": 0.87}]},
}


@dataclass
class Scene:
    """Ingest and a simulator that tells it of vehicles."""

    kafka: str
    prefix: str
    ingest: ServiceProcess
    simulator: ServiceProcess

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with httpx.AsyncClient(base_url=self.simulator.url) as http:
            answer = await http.post(path, json=body)
        assert answer.status_code in (200, 202), answer.text
        return answer.json()

    async def fleet(self, order: dict[str, Any]) -> dict[str, Any]:
        """Build and drive it; the last that the panel shows."""
        await self.post("/fleets", order)
        told: dict[str, Any] = {}

        def over() -> bool:
            answer = self.simulator.get("/fleets/current")
            told.update(answer.json() if answer is not None else {})
            return bool(told.get("finished"))

        await until(over, 120)
        return told


@pytest.fixture
def scene(mqtt: str, kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[Scene]:
    asyncio.run(provision(kafka, topic_prefix))
    (tmp_path / "plant.toml").write_text(PLANT.format(group=topic_prefix.strip(".")))
    token = new_token()
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "people.toml").write_text(
        f'[[people]]\nname = "plant"\nrole = "sender"\ntoken_sha256 = "{token_sha256(token)}"\n'
    )
    ingest = ServiceProcess(
        "ingest",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_MQTT": mqtt,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_INGEST_PSEUDONYM_KEY": KEY,
            "TWINLOOP_INGEST_VEHICLE_MAX_AGE_S": str((DAYS + 1) * 86_400),
            "TWINLOOP_ACCESS_PEOPLE": str(tmp_path / "people.toml"),
        },
        tmp_path / "ingest.log",
    )
    ingest.start()
    asyncio.run(until(lambda: ingest.ready))
    endpoint = free_endpoint()
    simulator = ServiceProcess(
        "simulator",
        {
            "TWINLOOP_MQTT": mqtt,
            "TWINLOOP_OPCUA": endpoint,
            "TWINLOOP_SIMULATOR_OPCUA_SECURITY": "none",
            "TWINLOOP_SIMULATOR_STATIONS": str(tmp_path / "plant.toml"),
            "TWINLOOP_SIMULATOR_INGEST": ingest.url,
            "TWINLOOP_SIMULATOR_INGEST_TOKEN_FILE": str(tmp_path / "token"),
        },
        tmp_path / "simulator.log",
    )
    simulator.start()
    asyncio.run(until(lambda: simulator.ready))
    yield Scene(kafka, topic_prefix, ingest, simulator)
    for one in (simulator, ingest):
        assert one.stop() == 0


async def test_a_fleet_is_traced_from_its_minutes_to_its_welds(scene: Scene) -> None:
    told = await scene.fleet(ORDER)
    assert (told["stage"], told["told"], told["refused"], told["problem"]) == ("finished", VEHICLES, 0, "")
    built: dict[str, VehicleBuilt] = {
        one.asset: one for one in await events(scene.kafka, scene.prefix, GENEALOGY)
    }
    assert len(built) == VEHICLES

    async def arrived() -> list[Any]:
        found = await records(scene.kafka, scene.prefix, TELEMETRY_VEHICLE)
        return found if len(found) >= told["minutes_sent"] else []

    frames = [decode_frame(one.value) for one in await until(arrived)]  # ingest is behind the broker
    assert len(frames) == told["minutes"] == told["minutes_sent"] > 8 * VEHICLES
    assert await records(scene.kafka, scene.prefix, DEAD_LETTERS) == []

    # Every joint is of a weld that its station made, and of one vehicle.
    joints = [(one, joint) for one in built.values() for joint in one.joints()]
    assert len({joint.part_id for _, joint in joints}) == 96 * VEHICLES
    for name, station in told["stations"].items():
        mine = [joint for _, joint in joints if joint.station == station["asset"]]
        assert len(mine) == station["welds"] - station["rejected"] == 48 * VEHICLES
        assert {joint.part_id for joint in mine} == {f"{name}-{joint.sequence:012d}" for joint in mine}
        assert station["first_sequence"] <= min(joint.sequence for joint in mine)
        assert max(joint.sequence for joint in mine) == station["last_sequence"]
    assert all(joint.welded_at < vehicle.observed_at for vehicle, joint in joints)
    assert all(joint.resistance_uohm <= 55 for _, joint in joints)
    [spell] = told["spells"]
    start, end = (datetime.fromisoformat(spell[name]) for name in ("welded_from", "welded_to"))
    inside = [(vehicle, joint) for vehicle, joint in joints if start <= joint.welded_at < end]
    dirty = [(v, joint) for v, joint in inside if joint.station == spell["station"]]
    assert len(dirty) == spell["joints"]
    assert len({vehicle.asset for vehicle, _ in dirty}) == spell["vehicles"]

    # The minutes come in the order of event time, up to now, and show which joints have grown.
    assert max(utc(one.observed_at_ns) for one in frames) <= datetime.now(UTC)
    assert {one.asset for one in frames} <= built.keys()
    for asset in built:
        mine = [one for one in frames if one.asset == asset]
        assert [one.sequence for one in mine] == list(range(len(mine)))
        gaps = np.diff([one.observed_at_ns for one in mine]) / 1e9
        assert gaps == pytest.approx(timedelta(days=7).total_seconds(), abs=1)
    last = {one.asset: one for one in frames}
    found = slopes(np.stack([one.samples[:, :-1] for one in last.values()]))
    grown = set()
    for row, asset in enumerate(last):
        mine = sorted(built[asset].joints(), key=lambda joint: joint.cell_group)
        _, _, z = against_baseline(
            found.delta_r_uohm[row],
            found.se_uohm[row],
            np.array([joint.baseline_uohm for joint in mine]),
            np.array([joint.baseline_se_uohm for joint in mine]),
        )
        grown |= {mine[group].part_id for group in np.flatnonzero(z > 8)}
    of_the_spell = {joint.part_id for _, joint in dirty}
    assert len(grown) >= 3
    assert len(grown & of_the_spell) >= len(grown) - 1


async def test_the_gate_in_force_keeps_marginal_joints_out_of_vehicles(scene: Scene) -> None:
    gate = {"parameter": "end_of_line_limit_uohm", "value": 46.0}
    await scene.post("/stations/weld1/operator", gate)
    small = ORDER | {"vehicles": 10, "days": 40, "days_per_s": 1000}
    told = await scene.fleet(small)
    weld1, weld2 = (told["stations"][name] for name in ("weld1", "weld2"))
    assert (weld1["limit_uohm"], weld2["limit_uohm"]) == (46, 55)
    assert weld1["rejected"] > 100
    assert weld2["rejected"] == 0
    built = await events(scene.kafka, scene.prefix, GENEALOGY)
    mine = [joint for one in built for joint in one.joints() if joint.station == weld1["asset"]]
    assert len(mine) == 480
    assert max(joint.resistance_uohm for joint in mine) <= 46
    # And only the edge knows which cars these are.
    order = FleetOrder(**{**small, "faults": {}, "stations": ("weld1",)})
    start = datetime.fromisoformat(told["start"])
    vins = [order.vin(one, start) for one in range(10)]
    wanted = [one.vehicle for one in built[:3]]
    assert {name for _, name in resolve(vins, KEY.encode(), wanted)} == set(wanted)
