"""The slow loop's verdict can fail: a record that passes is spoilt in each way, and the verdict names it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
import pytest

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Diagnosis,
    Envelope,
    Issued,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
    Verified,
)
from twinloop.contracts.field import BuiltJoint, BuiltModule, BuiltPack, FieldFinding, VehicleBuilt
from twinloop.contracts.modes import Mode
from twinloop.local.demo.field_verdict import Fleet, Spell, judge
from twinloop.local.demo.record import Record
from twinloop.local.demo.scenarios import CLOSED, OPEN, asset

START = datetime(2025, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
SPELL = Spell(station=asset(CLOSED), welded_from=START + 3 * DAY, welded_to=START + 5 * DAY)
TIGHTER = SetParameter(parameter=Parameter.END_OF_LINE_LIMIT_UOHM, value=48.5, expected=55.0)
VEHICLES = 10


class Played(NamedTuple):
    """What the verdict is given."""

    record: Record
    first: Fleet
    second: Fleet
    recalled: frozenset[str]


def head(kind: str, station: str) -> dict[str, object]:
    return {
        "event_id": kind,
        "asset": station,
        "at": START + 90 * DAY,
        "observed_at": START + 90 * DAY,
        "trace_id": "t",
    }


def vehicle(number: int) -> VehicleBuilt:
    """Built on one day each; every joint of a day is of one station."""
    joint = BuiltJoint(
        cell_group=0,
        part_id=f"p{number}",
        station=asset(CLOSED),
        sequence=number,
        welded_at=START + number * DAY,
        recipe="r",
        resistance_uohm=42.0,
        baseline_uohm=0.0,
        baseline_se_uohm=1.0,
    )
    return VehicleBuilt(
        **head(f"built{number}", f"vehicle.{number:02d}"),  # type: ignore[arg-type]
        packs=(BuiltPack(pack_id="b", modules=(BuiltModule(module_id="m", joints=(joint,)),)),),
    )


def finding(station: str = asset(CLOSED), start: float = 3, end: float = 5) -> FieldFinding:
    return FieldFinding(
        **head("finding", station),  # type: ignore[arg-type]
        window_from=START + start * DAY,
        window_to=START + end * DAY,
        vehicles=2,
        built=2,
        expected=0.1,
        p=0.001,
        q=0.002,
        p_fixed=0.0001,
        more=1.0,
        more_low=0,
        more_high=2,
        until_km=5000.0,
        evidence=("a1", "a2"),
        remedies=("clean window",),
        text="it was dirty",
        limit_uohm=48.5,
        caught=0.1,
        model="cells",
        model_version=1,
        input_digest="",
    )


def change(action: SetParameter = TIGHTER, approver: str = "person:olga") -> list[AnyChange]:
    def of(kind: str) -> dict[str, object]:
        return {**head(kind, asset(CLOSED)), "change_id": "c"}

    return [
        Proposed(
            **of("proposed"),  # type: ignore[arg-type]
            action=action,
            diagnosis=Diagnosis.MARGINAL_JOINTS,
            recipe="r",
            reason="it was dirty",
            evidence=("a1", "a2"),
            expires_at=START + 100 * DAY,
            model="cells",
            model_version=1,
            input_digest="",
            mode=Mode.SUPERVISED,
        ),
        Simulated(**of("simulated"), do_nothing=None, do_this=None),  # type: ignore[arg-type]
        Approved(
            **of("approved"),  # type: ignore[arg-type]
            approver=approver,
            reason="",
            envelope=Envelope(
                command_id="c",
                asset=asset(CLOSED),
                action=action,
                unit="",
                recipe="r",
                sequence=1,
                issued_at=START,
                expires_at=START,
                model="cells",
                model_version=1,
                input_digest="",
                mode=Mode.SUPERVISED,
                approver=approver,
            ),
            signature="",
            key_id="",
        ),
        Issued(**of("issued"), command_sequence=1),  # type: ignore[arg-type]
        Applied(**of("applied"), actual=action.value, part_counter=1),  # type: ignore[arg-type]
        Verified(**of("verified"), parts=20, before_uohm=42.0, after_uohm=42.0),  # type: ignore[arg-type]
    ]


def good() -> Played:
    return Played(
        record=Record(
            vehicles=tuple(vehicle(number) for number in range(VEHICLES)),
            findings=(finding(),),
            changes=tuple(change()),
        ),
        first=Fleet(spells=(SPELL,), rejected={CLOSED: 0}),
        second=Fleet(spells=(SPELL,), rejected={CLOSED: 30}),
        recalled=frozenset({"03", "04"}),
    )


def problems(played: Played) -> tuple[str, ...]:
    return judge(*played, VEHICLES).problems


def test_a_loop_that_ended_as_it_must_has_no_problem() -> None:
    report = judge(*good(), VEHICLES)
    assert report.closed, report.problems
    assert (report.change, report.approver) == ("end-of-line limit 55 → 48.5 µΩ", "person:olga")
    assert (report.recalled, report.rejected_before, report.rejected_after) == (2, 0, 30)


def among(played: Played, **changed: object) -> Played:
    return played._replace(record=msgspec.structs.replace(played.record, **changed))


def proposing(played: Played, **changed: object) -> Played:
    proposed, *rest = played.record.changes
    return among(played, changes=(msgspec.structs.replace(proposed, **changed), *rest))


SPOILT: dict[str, tuple[Callable[[Played], Played], str]] = {
    "vehicles are missing": (lambda one: among(one, vehicles=one.record.vehicles[:-1]), "only 9 of 10"),
    "nothing is named": (lambda one: among(one, findings=()), "named were none"),
    "another station is named, too": (
        lambda one: among(one, findings=(finding(), finding(asset(OPEN)))),
        "named were",
    ),
    "the window is beside the spell": (
        lambda one: among(one, findings=(finding(start=6, end=8),)),
        "was none",
    ),
    "the window is much longer": (lambda one: among(one, findings=(finding(start=2, end=7),)), "was none"),
    "the window is much shorter": (lambda one: among(one, findings=(finding(end=3.9),)), "was none"),
    "another window is named, too": (
        lambda one: among(one, findings=(finding(), finding(start=7, end=9))),
        "was none",
    ),
    "nothing is proposed": (lambda one: among(one, changes=()), "0 changes were proposed"),
    "two changes are proposed": (
        lambda one: among(
            one,
            changes=(*one.record.changes, msgspec.structs.replace(one.record.changes[0], change_id="d")),
        ),
        "2 changes were proposed",
    ),
    "a setpoint of the process is touched": (
        lambda one: among(
            one,
            changes=tuple(
                change(SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0))
            ),
        ),
        "a setpoint of the process was touched",
    ),
    "it may act by itself": (lambda one: proposing(one, mode=Mode.AUTO), "it was proposed in auto"),
    "it says no evidence": (lambda one: proposing(one, evidence=()), "its evidence is not"),
    "it says other evidence": (lambda one: proposing(one, evidence=("a1", "b")), "its evidence is not"),
    "no person releases it": (
        lambda one: among(one, changes=tuple(change(approver="policy:auto"))),
        "released by policy:auto",
    ),
    "it is not verified": (
        lambda one: among(one, changes=one.record.changes[:-1]),
        "the change went through",
    ),
    "a vehicle is not called back": (
        lambda one: one._replace(recalled=frozenset({"03"})),
        "the recall names 1 vehicles, the genealogy 2",
    ),
    "the gate stops no more": (
        lambda one: one._replace(second=Fleet(spells=(SPELL,), rejected={CLOSED: 0})),
        "it is not tighter",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_must_not_be_is_named(name: str) -> None:
    spoil, told = SPOILT[name]
    assert any(told in one for one in problems(spoil(good()))), problems(spoil(good()))
