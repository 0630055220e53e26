"""The deciding half of the slow loop as a process on a real Kafka: from minutes of vehicles to a question."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace
from support.controller_scene import ASSET, Bus, applied, bus, controller, joint
from support.waiting import until

from twinloop.audit.store import verify_file
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.changes import Diagnosis, Parameter, Proposed, SetParameter, Verified
from twinloop.contracts.codec import message
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly, Event
from twinloop.contracts.field import (
    VEHICLE,
    BuiltJoint,
    BuiltModule,
    BuiltPack,
    FieldFinding,
    VehicleAnomaly,
    VehicleBuilt,
    VehicleScore,
)
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ALARMS, ANOMALIES, AUDIT, CHANGES, FIELD_EVIDENCE, GENEALOGY, Topic
from twinloop.trust.people import token_sha256

START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=200)
STATIONS = (ASSET, "acme.berlin.packs.line1.weld2", "acme.berlin.packs.line1.weld3")
VEHICLES = 60
BAD = range(18, 30)
GROUPS = 6


def built(vehicle: int) -> VehicleBuilt:
    """Two joints from each of three stations; three vehicles a day, those of four days from a bad spell."""
    at = START + timedelta(hours=8 * vehicle)
    joints = tuple(
        BuiltJoint(
            cell_group=group,
            part_id=f"weld{group % 3 + 1}-{vehicle}-{group}",
            station=STATIONS[group % 3],
            sequence=2 * vehicle + group // 3,
            welded_at=at,
            recipe="tab-a",
            resistance_uohm=44.0 + (vehicle % 5) * 0.5 + (6.0 if group % 3 == 0 and vehicle in BAD else 0.0),
            baseline_uohm=0.0,
            baseline_se_uohm=1.0,
        )
        for group in range(GROUPS)
    )
    pack = BuiltPack(pack_id=f"p{vehicle}", modules=(BuiltModule(module_id=f"m{vehicle}", joints=joints),))
    return VehicleBuilt(**head("built", vehicle, at), packs=(pack,))


def head(kind: str, vehicle: int, at: datetime) -> dict[str, Any]:
    return {
        "event_id": event_id(kind, vehicle, at),
        "asset": f"{VEHICLE}{vehicle:032x}",
        "at": at,
        "observed_at": at,
        "trace_id": "4" * 32,
    }


def minute(vehicle: int, day: float) -> Anomaly:
    """From some day on a group of a vehicle of the bad spell grows."""
    grown = vehicle in BAD and day >= 42 + 7 * (vehicle - BAD.start)
    features = {"distance_km": 50.0 * day}
    for group in range(GROUPS):
        features |= {
            f"delta_r_uohm.{group}": 60.0 if grown and group == 3 * (vehicle % 2) else 0.0,
            f"standard_error_uohm.{group}": 2.8,
            f"noise.{group}": 1.0,
        }
    return Anomaly(
        **head("minute", vehicle, START + timedelta(days=day)),
        signal_set="vehicle.cells.v1",
        part_id="",
        sequence=int(day),
        row=59,
        score=1.0,
        threshold=0.0,
        features=features,
        deviations={},
        model="cells",
        model_version=2,
        input_digest="00",
    )


MINUTES = [minute(vehicle, day + vehicle / 1000) for day in range(21, 147, 7) for vehicle in range(VEHICLES)]


def environment(folder: Path) -> dict[str, str]:
    """The slow loop switched on, and who may ask."""
    rules, people = folder / "field.toml", folder / "people.toml"
    rules.write_text(
        f"origin = {START.isoformat()}\nbin_h = 24.0\nbins = 20\nlengths = [1, 2, 4]\nlook_s = 0.2\n"
        "least_at_risk = 5\n"
    )
    people.write_text(
        "".join(
            f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
            for name, role in (("oli", "operator"), ("vic", "viewer"))
        )
    )
    return {"TWINLOOP_CONTROLLER_FIELD": str(rules), "TWINLOOP_ACCESS_PEOPLE": str(people)}


async def tell(on: Bus, topic: Topic, events: list[Any]) -> None:
    for event in events:
        one = message(topic, event, source="test")
        await on.producer.send(topic.named(on.prefix), one.value, key=one.key)
    await on.producer.flush()


class Line:
    """The welding station goes on making parts."""

    def __init__(self, on: Bus) -> None:
        self.on = on
        self.number = 0
        self.limit_uohm = 55.0

    async def make(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            await self.on.publish(GENEALOGY, replace(joint(self.number), limit_uohm=self.limit_uohm))


def once(events: list[Any]) -> list[Event]:
    """Each once: a crash may repeat one, with the same id."""
    return list({one.event_id: one for one in events}.values())


async def test_from_vehicles_to_a_question_across_a_crash_and_everything_twice(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    env = environment(tmp_path)
    async with bus(kafka, topic_prefix) as on:
        line = Line(on)

        async def proposals() -> list[Proposed]:
            await line.make(1)
            return await on.changes(Proposed)

        async with controller(kafka, topic_prefix, tmp_path / "first", period_s=30.0, **env) as first:
            await line.make(15)
            await on.promote(Mode.SUPERVISED, Mode.AUTO)
            await tell(on, GENEALOGY, [built(vehicle) for vehicle in range(VEHICLES)])
            await tell(on, ANOMALIES, MINUTES)
            (proposed,) = await until(proposals, problem="not seen: a proposal")
            assert isinstance(proposed.action, SetParameter)
            assert proposed.action.parameter is Parameter.END_OF_LINE_LIMIT_UOHM
            assert (proposed.action.value, proposed.action.expected) == (46.0, 55.0)
            assert (proposed.mode, proposed.diagnosis) == (Mode.SUPERVISED, Diagnosis.MARGINAL_JOINTS)
            assert proposed.expires_at - proposed.at == timedelta(days=7)
            assert (proposed.model, proposed.model_version) == ("cells", 2)
            (finding,) = await on.events(FIELD_EVIDENCE, FieldFinding)
            assert finding.asset == ASSET
            assert proposed.evidence == finding.evidence
            assert proposed.reason.startswith(finding.text)
            (call,) = [one for one in await on.events(ALARMS, Alarm) if one.code is AlarmCode.FIELD_EVIDENCE]
            assert finding.text in call.text

            async def all_said() -> bool:
                scores = await on.events(FIELD_EVIDENCE, VehicleScore)
                copies = await on.events(AUDIT, AuditEntry)
                return len(scores) == VEHICLES * 18 and "proposed" in {one.what for one in copies}

            await until(
                all_said, problem="not seen: a score of each vehicle and week, and the audit's copies"
            )
            first.kill()
        said = len(await on.records(FIELD_EVIDENCE))

        async with controller(kafka, topic_prefix, tmp_path / "second", period_s=30.0, **env) as second:
            await tell(on, ANOMALIES, MINUTES)
            await tell(on, GENEALOGY, [built(vehicle) for vehicle in range(VEHICLES)])

            await until(
                lambda: (
                    second.metric("field_records_total", fate="repeated", topic="anomalies") >= len(MINUTES)
                ),
                problem="not seen: everything was read twice",
            )
            for event in applied(proposed, line.number):
                await on.publish(CHANGES, event)
            line.limit_uohm = proposed.action.value

            async def verdicts() -> list[Verified]:
                await line.make(1)
                return await on.changes(Verified)

            (verified, *_) = await until(verdicts, problem="not seen: a verdict")
            assert (verified.change_id, verified.parts) == (proposed.change_id, 10)
            await asked(second.url, finding, proposed)
            assert second.stop() == 0

        assert len(await on.records(FIELD_EVIDENCE)) == said
        assert once(await on.changes(Proposed)) == [proposed]
        alarms = [one for one in await on.events(ALARMS, Alarm) if one.code is AlarmCode.FIELD_EVIDENCE]
        assert len(once(alarms)) == 1
        evidence = await on.events(FIELD_EVIDENCE, VehicleAnomaly)
        assert {one.event_id for one in evidence} >= set(finding.evidence)
        assert len(await on.events(FIELD_EVIDENCE, VehicleScore)) == VEHICLES * 18
        entries = await on.events(AUDIT, AuditEntry)
        assert {"found field evidence", "proposed", "verified", "listed vehicles"} <= {
            one.what for one in entries
        }
    for folder in ("first", "second"):
        assert not list(verify_file(tmp_path / folder / "audit" / "controller.jsonl"))


async def asked(url: str, finding: FieldFinding, proposed: Proposed) -> None:
    """What people are told over HTTP."""
    window = {"from": finding.window_from.isoformat(), "to": finding.window_to.isoformat()}
    async with httpx.AsyncClient(base_url=url, timeout=5) as http:
        viewer, operator = ({"Authorization": f"Bearer {name}"} for name in ("vic", "oli"))
        assert (await http.get("/findings")).status_code == 401
        (told,) = (await http.get("/findings", params={"station": ASSET}, headers=viewer)).json()
        assert (told["finding_id"], told["change_id"]) == (finding.event_id, proposed.change_id)
        assert (await http.get("/findings", params={"station": "other"}, headers=viewer)).json() == []
        wanted = {"station": ASSET, **window}
        assert (await http.get("/recall", params=wanted, headers=viewer)).status_code == 403
        assert (await http.get("/recall", params={"station": ASSET}, headers=operator)).status_code == 422
        recall = (await http.get("/recall", params=wanted, headers=operator)).json()
        listed = {one["vehicle"] for one in recall["vehicles"]}
        assert {f"{vehicle:032x}" for vehicle in BAD} & listed
        assert len(listed) == finding.built
        assert all(part.startswith("weld1-") for one in recall["vehicles"] for part in one["part_ids"])
