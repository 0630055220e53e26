"""What the field worker tells over HTTP, and what a station's agent makes of records of vehicles."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from support.weldloop import ASSET, SHIPPED, joint

from twinloop.audit.errors import AuditAway
from twinloop.contracts.codec import Message, decode, message
from twinloop.contracts.events import Alarm, AlarmCode, Event
from twinloop.contracts.field import (
    BuiltJoint,
    BuiltModule,
    BuiltPack,
    FieldFinding,
    VehicleBuilt,
    VehicleScore,
)
from twinloop.contracts.topics import ALARMS, CHANGES, FIELD_EVIDENCE, GENEALOGY, Topic
from twinloop.controller.agents import Agent, Record
from twinloop.controller.field.api import make_api
from twinloop.controller.field.known import Known
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.metrics import Metrics
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.state import Station
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.settings import load_toml
from twinloop.trust.bearer import Access
from twinloop.trust.people import token_sha256

START = datetime(2026, 1, 5, tzinfo=UTC)
VEHICLE_1 = "vehicle." + "1" * 32


def built() -> VehicleBuilt:
    made = BuiltJoint(
        cell_group=3,
        part_id="weld1-7",
        station=ASSET,
        sequence=7,
        welded_at=START,
        recipe="tab-a",
        resistance_uohm=42.0,
        baseline_uohm=0.0,
        baseline_se_uohm=1.0,
    )
    pack = BuiltPack(pack_id="p", modules=(BuiltModule(module_id="m", joints=(made,)),))
    return VehicleBuilt(
        event_id="b", asset=VEHICLE_1, at=START, observed_at=START, trace_id="t", packs=(pack,)
    )


def finding() -> FieldFinding:
    return FieldFinding(
        event_id="finding",
        asset=ASSET,
        at=START,
        observed_at=START,
        trace_id="t",
        window_from=START,
        window_to=START + timedelta(days=2),
        vehicles=9,
        built=30,
        expected=0.5,
        p=1e-6,
        p_fixed=1e-8,
        q=0.01,
        more=4.0,
        more_low=2,
        more_high=8,
        until_km=5000.0,
        evidence=("a", "b"),
        limit_uohm=49.0,
        text="9 of 30",
    )


class Kept:
    """An audit store in memory."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.away = False

    def problem(self) -> str | None:
        return None

    async def append(self, **what: Any) -> object:
        if self.away:
            raise AuditAway("the disk is full")
        self.entries.append(what)
        return None


class Desk:
    """The API, and who asks."""

    def __init__(self, folder: Path) -> None:
        people = folder / "people.toml"
        people.write_text(
            "".join(
                f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
                for name, role in (("oli", "operator"), ("vic", "viewer"))
            )
        )
        self.kept = Kept()
        self.known: Known | None = Known(FieldRules(origin=START))
        self.known.take(built(), START)
        self.known.take(finding(), START)
        self.api = make_api(Access(people, None), lambda: self.known, self.kept, ManualClock(START))

    async def get(self, path: str, who: str = "oli", **query: str) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.api), base_url="http://controller"
        ) as http:
            return await http.get(path, params=query, headers={"Authorization": f"Bearer {who}"})


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


WINDOW = {"station": ASSET, "from": "2026-01-05T00:00:00Z", "to": "2026-01-06T00:00:00Z"}


async def test_findings_are_told_with_their_figures(desk: Desk) -> None:
    (told,) = (await desk.get("/findings", "vic", station=ASSET)).json()
    assert (told["finding_id"], told["vehicles"], told["built"]) == ("finding", 9, 30)
    assert (told["more_low"], told["more_high"], told["limit_uohm"], told["q"]) == (2, 8, 49.0, 0.01)
    assert told["change_id"] is not None
    assert (await desk.get("/findings", "vic", station="other")).json() == []
    assert (await desk.get("/findings", "nobody")).status_code == 401


async def test_a_recall_is_for_operators_and_written_down(desk: Desk) -> None:
    assert (await desk.get("/recall", "vic", **WINDOW)).status_code == 403
    assert not desk.kept.entries
    told = (await desk.get("/recall", **WINDOW)).json()
    assert told["vehicles"] == [{"vehicle": "1" * 32, "part_ids": ["weld1-7"], "cell_groups": [3]}]
    (entry,) = desk.kept.entries
    assert (entry["who"], entry["what"], entry["asset"]) == ("person:oli", "listed vehicles", ASSET)
    assert entry["result"] == "1 vehicles"
    later = WINDOW | {"from": "2026-01-05T00:00:01Z"}
    assert (await desk.get("/recall", **later)).json()["vehicles"] == []


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"station": ASSET + "0"}, 404, f"of {ASSET}"),
        ({"station": ""}, 404, f"of {ASSET}"),
        ({"from": WINDOW["to"], "to": WINDOW["from"]}, 422, "before"),
        ({"to": WINDOW["from"]}, 422, "before"),
    ],
)
async def test_a_wrong_question_is_not_answered_with_nobody(
    wrong: dict[str, str], status: int, said: str, desk: Desk
) -> None:
    answer = await desk.get("/recall", **(WINDOW | wrong))
    assert answer.status_code == status
    assert said in answer.json()["problem"]
    assert not desk.kept.entries


async def test_of_many_stations_some_are_named(desk: Desk) -> None:
    one = built()
    joints = [replace(one, cell_group=n, station=f"s{n:02d}") for one in one.joints() for n in range(25)]
    pack = BuiltPack(pack_id="p", modules=(BuiltModule(module_id="m", joints=tuple(joints)),))
    assert desk.known is not None
    desk.known.take(replace(one, packs=(pack,), event_id="c", at=START + timedelta(hours=1)), START)
    answer = await desk.get("/recall", **(WINDOW | {"station": "s99"}))
    assert answer.json()["problem"].endswith("s18, s19 and 5 more")
    assert (
        await desk.get("/recall", **(WINDOW | {"station": "s24", "to": "2026-01-06T00:00:00Z"}))
    ).is_success


async def test_a_recall_that_cannot_be_written_down_is_not_told(desk: Desk) -> None:
    desk.kept.away = True
    answer = await desk.get("/recall", **WINDOW)
    assert answer.status_code == 503
    assert "vehicles" not in answer.json()


async def test_times_need_a_zone_and_who_does_no_field_work_says_so(desk: Desk) -> None:
    assert (await desk.get("/recall", **(WINDOW | {"to": "2026-01-06T00:00:00"}))).status_code == 422
    desk.known = None
    answer = await desk.get("/findings")
    assert answer.status_code == 503
    assert "no field work" in answer.json()["problem"]


# ---- the agent of the stations


class Wire:
    """Kafka in memory."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        self.messages.extend(messages)

    def of(self, topic: Topic) -> list[Any]:
        return [decode(topic, one.value) for one in self.messages if one.topic is topic]


async def test_records_of_vehicles_are_counted_and_make_no_station() -> None:
    wire, kept, registry, table = Wire(), Kept(), CollectorRegistry(), dict[bytes, bytes]()
    agent = Agent(
        policy=load_toml(SHIPPED, ControllerPolicy),
        table=table,
        publisher=wire,
        auditor=kept,
        clock=ManualClock(START),
        metrics=Metrics(registry),
        stopping=asyncio.Event(),
        dead_letter_limit=3,
    )

    async def tell(topic: Topic, event: Event) -> None:
        one = message(topic, event, source="test")
        await agent.handle(Record(topic, 0, 0, one.key, one.value))

    score = VehicleScore(
        event_id="s",
        asset=VEHICLE_1,
        at=START,
        observed_at=START,
        trace_id="t",
        distance_km=1.0,
        snippets=1,
        worst_cell_group=0,
        worst_z=0.0,
        model="cells",
        model_version=1,
    )
    await tell(GENEALOGY, built())
    await tell(FIELD_EVIDENCE, score)
    assert not table
    assert not wire.messages
    for topic in ("genealogy", "field-evidence"):
        labels = {"topic": topic, "fate": "vehicle"}
        assert registry.get_sample_value("twinloop_controller_records_total", labels) == 1
    await tell(GENEALOGY, joint(1, START, 42.0, 1000.0))
    await tell(FIELD_EVIDENCE, finding())
    await tell(FIELD_EVIDENCE, finding())
    (call,) = wire.of(ALARMS)
    assert isinstance(call, Alarm)
    assert call.code is AlarmCode.FIELD_EVIDENCE
    assert not wire.of(CHANGES)  # it is in shadow
    station = msgspec.json.decode(table[ASSET.encode()], type=Station)
    assert [one.finding.event_id for one in station.field_asking] == ["finding"]
    await asyncio.sleep(0)
    await agent.tick()
    assert "found field evidence" in [one["what"] for one in kept.entries]
    assert registry.get_sample_value("twinloop_controller_field_findings_total") == 1
