"""The panel: what it accepts, and that it names everything that is wrong."""

from __future__ import annotations

import json

import httpx
import pytest

from twinloop.simulator.faults import WindowDrift
from twinloop.simulator.panel import BadCampaign, panel, parse_campaign
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_state import Range

KNOWN = ("weld1", "weld2")
GOOD = {
    "name": "window-drift",
    "welds": 800,
    "rate_hz": 20,
    "seed": 7,
    "faults": {"weld1": [{"kind": "window_drift", "start": 0, "per_weld": -0.0004}]},
    "plc": {"weld1": {"refuse_writes": True}},
    "stations": ["weld1", "weld2"],
}


def body(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def client() -> tuple[httpx.AsyncClient, Plant]:
    spec = StationSpec("r", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
    plant = Plant(dict.fromkeys(KNOWN, spec), first_part=1)

    async def refresh(_: str) -> None:
        pass

    app = panel(plant, plant.start, refresh)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://panel"), plant


def test_a_good_body() -> None:
    campaign = parse_campaign(body(), KNOWN)
    assert campaign.faults == {"weld1": (WindowDrift(start=0, per_weld=-0.0004),)}
    assert campaign.plc["weld1"].refuse_writes
    assert (campaign.welds, campaign.rate_hz, campaign.seed) == (800, 20, 7)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "window_drift"},
        {"kind": "window_step", "transmission": 0.8},
        {"kind": "defocus", "offset_mm": 0.8},
        {"kind": "gap", "gap_um": 140.0},
        {"kind": "local_gap", "gap_um": 140.0, "until": 9},
        {"kind": "power_error", "factor": 1.2},
        {"kind": "sensor_bias", "signal": "plasma", "offset": 0.2},
        {"kind": "sensor_freeze", "signal": "plasma", "value": 0.2},
        {"kind": "not_a_number", "signal": "plasma", "samples": 5, "infinite": True},
        {"kind": "sensor_drop_out", "signal": "plasma"},
        {"kind": "wrong_recipe", "recipe": "other"},
        {"kind": "duplicate", "every": 2},
        {"kind": "late", "every": 10, "by": 3},
        {"kind": "reordered", "every": 10},
        {"kind": "garbled", "every": 10},
        {"kind": "clock_error", "offset_s": -864000},
        {"kind": "data_before_birth"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_every_kind_of_fault_can_be_asked_for(fault: dict[str, object]) -> None:
    [parsed] = parse_campaign(body(faults={"weld1": [{"start": 3, **fault}]}), KNOWN).faults["weld1"]
    assert (parsed.kind, parsed.start) == (fault["kind"], 3)


def test_every_bad_field_is_named_at_once() -> None:
    with pytest.raises(BadCampaign) as caught:
        parse_campaign(
            body(
                welds=0,
                rate_hz="fast",
                colour="red",
                faults={"weld1": [{"kind": "gap", "start": -1, "gap_um": 1}, {"kind": "rust", "start": 0}]},
                plc={"weld1": {"refuse_write": True}},
            ),
            KNOWN,
        )
    assert {one["field"] for one in caught.value.problems} == {
        "welds",
        "rate_hz",
        "colour",
        "faults.weld1.0.gap.start",
        "faults.weld1.1",
        "plc.weld1.refuse_write",
    }


def test_every_unknown_station_is_named_at_once() -> None:
    with pytest.raises(BadCampaign) as caught:
        parse_campaign(body(stations=["weld1", "weld8"], faults={"weld9": []}, plc={"weld7": {}}), KNOWN)
    assert [one["field"] for one in caught.value.problems] == ["stations", "faults", "plc"]


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"null", b"\xff", b'{"name": NaN}'])
def test_what_is_no_campaign_at_all(junk: bytes) -> None:
    with pytest.raises(BadCampaign):
        parse_campaign(junk, KNOWN)


async def test_start_and_follow() -> None:
    http, plant = client()
    async with http:
        assert (await http.get("/campaigns/current")).status_code == 404
        refused = await http.post("/campaigns", content=body(welds=-1))
        assert refused.status_code == 422
        assert [one["field"] for one in refused.json()["problems"]] == ["welds"]
        assert plant.run is None
        begun = await http.post("/campaigns", content=body(welds=2))
        assert begun.status_code == 202
        none_yet = {
            "welds_done": 0,
            "first_sequence": None,
            "last_sequence": None,
            "held": False,
            "finished": False,
        }
        assert begun.json() == {
            "name": "window-drift",
            "welds": 2,
            "finished": False,
            "stations": {"weld1": none_yet, "weld2": none_yet},
        }
        plant.weld_next()
        plant.weld_next()
        done = (await http.get("/campaigns/current")).json()
    assert done["finished"]
    assert done["stations"]["weld2"] == {
        "welds_done": 2,
        "first_sequence": 1,
        "last_sequence": 2,
        "held": False,
        "finished": True,
    }
