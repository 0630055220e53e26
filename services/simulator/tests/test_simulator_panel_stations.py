"""What an operator does at a station through the panel, and what the panel says to what cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest

from twinloop.simulator.commands import POWER, TakeControl
from twinloop.simulator.panel import panel
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_state import Range

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))


@dataclass
class Panel:
    http: httpx.AsyncClient
    plant: Plant
    refreshed: list[str]


@pytest.fixture
async def at() -> AsyncIterator[Panel]:
    plant, refreshed = Plant({"weld1": SPEC, "weld2": SPEC}, first_part=1), list[str]()

    async def refresh(station: str) -> None:
        refreshed.append(station)

    transport = httpx.ASGITransport(panel(plant, plant.start, refresh))
    async with httpx.AsyncClient(transport=transport, base_url="http://panel") as http:
        yield Panel(http, plant, refreshed)


async def test_a_value_set_by_hand_takes_control_away(at: Panel) -> None:
    at.plant.command("weld1", TakeControl("t"), NOW, 0.0)
    answer = await at.http.post("/stations/weld1/operator", json={"parameter": POWER, "value": 905})
    assert answer.status_code == 200
    assert answer.json() == {
        "station": "weld1",
        "control_source": "Local",
        "local_reason": "operator",
        "setpoints": {"laser_power_w": 905, "focus_mm": 0, "end_of_line_limit_uohm": 55},
        "shown_setpoints": {"laser_power_w": 905, "focus_mm": 0, "end_of_line_limit_uohm": 55},
        "local_setpoints": {"laser_power_w": 905, "focus_mm": 0, "end_of_line_limit_uohm": 55},
        "mode": "Execute",
        "recipe": "r",
        "maintenance_lock": False,
        "high_alarm": False,
        "beat": 0,
    }
    assert at.refreshed == ["weld1"]
    assert (await at.http.get("/stations/weld1")).json() == answer.json()
    assert at.plant.plc("weld2").setpoints[POWER] == 1000


async def test_the_key_is_given_back_once(at: Panel) -> None:
    await at.http.post("/stations/weld1/operator", json={"parameter": "focus_mm", "value": -0.5})
    answer = await at.http.post("/stations/weld1/release")
    assert (answer.status_code, answer.json()["local_reason"]) == (200, "released")
    again = await at.http.post("/stations/weld1/release")
    assert again.status_code == 409
    assert again.json() == {"problem": "the key is not turned: control is Local released"}


async def test_the_lock_and_the_alarm(at: Panel) -> None:
    for path, body, field, value in (
        ("lock", None, "maintenance_lock", True),
        ("lock", None, "maintenance_lock", True),
        ("unlock", None, "maintenance_lock", False),
        ("alarm", {"active": True}, "high_alarm", True),
        ("alarm", {"active": False}, "high_alarm", False),
    ):
        answer = await at.http.post(f"/stations/weld2/{path}", json=body)
        assert (answer.status_code, answer.json()[field]) == (200, value)
    assert at.refreshed == ["weld2"] * 5


@pytest.mark.parametrize("path", ["operator", "release", "lock", "unlock", "alarm"])
async def test_a_station_of_another_plant(at: Panel, path: str) -> None:
    answer = await at.http.post(f"/stations/weld9/{path}", json={})
    assert answer.status_code == 404
    assert answer.json() == {"problem": "'weld9' is no station of this plant: weld1, weld2"}
    assert (await at.http.get("/stations/weld9")).status_code == 404
    assert (await at.http.get(f"/stations/weld1/{path}")).status_code == 405


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("operator", b"", [""]),
        ("operator", b"[]", [""]),
        ("operator", b"{}", ["parameter", "value"]),
        ("operator", b'{"parameter": "speed", "value": "fast", "x": 1}', ["parameter", "value", "x"]),
        ("operator", b'{"parameter": "laser_power_w", "value": 1350.5}', ["value"]),
        ("operator", b'{"parameter": "laser_power_w", "value": NaN}', ["value"]),
        ("operator", b'{"parameter": "laser_power_w", "value": true}', ["value"]),
        ("alarm", b"{}", ["active"]),
        ("alarm", b'{"active": "yes"}', ["active"]),
    ],
)
async def test_every_bad_field_is_named_and_nothing_is_done(
    at: Panel, path: str, body: bytes, fields: list[str]
) -> None:
    before = at.plant.plc("weld1")
    answer = await at.http.post(f"/stations/weld1/{path}", content=body)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["problems"]] == fields
    assert at.plant.plc("weld1") == before
    assert at.refreshed == []


async def test_a_campaign_shows_the_stations_that_it_reset(at: Panel) -> None:
    campaign = {"name": "x", "welds": 1, "rate_hz": 1, "seed": 1, "stations": ["weld2"]}
    assert (await at.http.post("/campaigns", json=campaign)).status_code == 202
    assert at.refreshed == ["weld2"]
