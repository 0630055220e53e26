"""The field worker in memory: whatever it reads in whatever order, and however often, it says all once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs

from twinloop.contracts.codec import Message, decode, message
from twinloop.contracts.deadletters import DeadLetter, Reason
from twinloop.contracts.events import Anomaly
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
from twinloop.contracts.topics import ANOMALIES, DEAD_LETTERS, FIELD_EVIDENCE, GENEALOGY, Topic
from twinloop.controller.agents import Record
from twinloop.controller.field.known import Fate, Known
from twinloop.controller.field.metrics import FieldMetrics
from twinloop.controller.field.policy import FieldPolicy, Grid
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.field.worker import Worker
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.runtime.settings import load_toml

START = datetime(2026, 1, 5, tzinfo=UTC)
NOW = START + timedelta(days=200)
RULES = FieldRules(origin=START, bin_h=24.0, bins=20, lengths=(1, 2, 4), least_at_risk=5)
STATIONS = tuple(f"acme.berlin.packs.line1.weld{number}" for number in (1, 2, 3))
VEHICLES = 60
BAD = range(18, 30)
CELLS = 6


def built(vehicle: int) -> VehicleBuilt:
    """Two joints from each of three stations; three vehicles a day. On days 6 to 9 weld2 is in a bad way."""
    at = START + timedelta(hours=8 * vehicle)
    joints = tuple(
        BuiltJoint(
            cell_group=group,
            part_id=f"weld{group // 2 + 1}-{vehicle}-{group % 2}",
            station=STATIONS[group // 2],
            sequence=2 * vehicle + group % 2,
            welded_at=at,
            recipe="tab-a",
            resistance_uohm=42.0 + (vehicle % 5) * 0.5 + (7.0 if group // 2 == 1 and vehicle in BAD else 0.0),
            baseline_uohm=0.0,
            baseline_se_uohm=1.0,
        )
        for group in range(CELLS)
    )
    pack = BuiltPack(pack_id=f"p{vehicle}", modules=(BuiltModule(module_id=f"m{vehicle}", joints=joints),))
    return VehicleBuilt(
        event_id=event_id("built", vehicle),
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        packs=(pack,),
    )


def minute(vehicle: int, day: float, grown: frozenset[int] = frozenset()) -> Anomaly:
    at = START + timedelta(days=day)
    features = {"distance_km": 50.0 * day}
    for group in range(CELLS):
        features |= {
            f"delta_r_uohm.{group}": 60.0 if group in grown else 0.0,
            f"standard_error_uohm.{group}": 2.8,
            f"noise.{group}": 1.0,
        }
    return Anomaly(
        event_id=event_id("minute", vehicle, day),
        asset=f"{VEHICLE}{vehicle:032x}",
        at=at,
        observed_at=at,
        trace_id="t",
        signal_set="vehicle.cells.v1",
        part_id="",
        sequence=int(day),
        row=59,
        score=1.0,
        threshold=0.0,
        features=features,
        deviations={},
        model="cells",
        model_version=1,
        input_digest="00",
    )


def minutes() -> list[Anomaly]:
    """In the order of time: each vehicle weekly; of the bad ones a group of weld2 grows in the end."""
    made = []
    for day in range(21, 147, 7):
        for vehicle in range(VEHICLES):
            grown = vehicle in BAD and day >= 42 + 7 * (vehicle - BAD.start)
            made.append(minute(vehicle, day + vehicle / 1000, frozenset({2 + vehicle % 2} if grown else ())))
    return made


MINUTES = minutes()
BUILT = [built(vehicle) for vehicle in range(VEHICLES)]


class Shelf:
    """Topics that outlive processes, and a process that reads them from the beginning."""

    def __init__(self, rules: FieldRules = RULES) -> None:
        self.rules = rules
        self.log: list[tuple[Topic, bytes]] = []
        self.out = MemoryPublisher()
        self.clock = ManualClock(NOW)
        self.kept = 0
        self.start()

    def start(self) -> None:
        self.keep()
        self.registry = CollectorRegistry()
        self.worker = Worker(self.rules, self.out, self.clock, FieldMetrics(self.registry), asyncio.Event())
        for offset, (topic, value) in enumerate(self.log):
            self.worker.take(Record(topic, 0, offset, None, value))

    def keep(self) -> None:
        """What was published is on the topic."""
        new: Sequence[Message] = self.out.messages[self.kept :]
        self.log.extend((one.topic, one.value) for one in new if one.topic is FIELD_EVIDENCE)
        self.kept = len(self.out.messages)

    def tell(self, *events: VehicleBuilt | Anomaly) -> None:
        for event in events:
            topic = GENEALOGY if isinstance(event, VehicleBuilt) else ANOMALIES
            one = message(topic, event, source="test")
            self.log.append((topic, one.value))
            self.worker.take(Record(topic, 0, len(self.log) - 1, one.key, one.value))

    async def further(self) -> None:
        self.clock.advance(60)
        await self.worker.further()

    def said(self) -> list[VehicleScore | VehicleAnomaly | FieldFinding]:
        assert {one.topic for one in self.out.messages} <= {FIELD_EVIDENCE, DEAD_LETTERS}
        return [decode(FIELD_EVIDENCE, one.value) for one in self.out.messages if one.topic is FIELD_EVIDENCE]

    def letters(self) -> list[DeadLetter]:
        return [decode(DEAD_LETTERS, one.value) for one in self.out.messages if one.topic is DEAD_LETTERS]

    def count(self, topic: Topic, fate: str) -> float:
        labels = {"topic": topic.name, "fate": fate}
        return self.registry.get_sample_value("twinloop_controller_field_records_total", labels) or 0.0

    def findings(self) -> list[FieldFinding]:
        return [one for one in self.said() if isinstance(one, FieldFinding)]


def marks(shelf: Shelf) -> list[tuple[str, ...]]:
    """What was said, without when it was written."""
    return sorted(
        (str(type(one).__name__), one.event_id, one.asset, one.observed_at.isoformat())
        for one in shelf.said()
    )


async def test_from_minutes_to_a_finding_with_all_that_a_person_needs() -> None:
    shelf = Shelf()
    shelf.tell(*BUILT, *MINUTES)
    await shelf.further()
    (finding,) = shelf.findings()
    assert finding.asset == STATIONS[1]
    assert finding.window_from <= START + timedelta(days=6)
    assert finding.window_to >= START + timedelta(days=9)
    assert finding.vehicles >= 10
    assert finding.q <= RULES.alpha
    assert (finding.model, finding.model_version, len(finding.input_digest)) == ("cells", 1, 32)
    assert finding.remedies[0] == "inspect_station"
    assert finding.limit_uohm is not None
    assert 44.0 <= finding.limit_uohm < 49.0
    assert finding.caught > 0.9
    assert "more are expected" in finding.text
    assert "q = " in finding.text
    said = [one for one in shelf.said() if isinstance(one, VehicleAnomaly)]
    assert {one.event_id for one in said} >= set(finding.evidence)
    weeks = {(one.asset, one.observed_at) for one in shelf.said() if isinstance(one, VehicleScore)}
    assert len(weeks) == VEHICLES * 18


async def test_a_restart_says_nothing_again_and_goes_on() -> None:
    shelf = Shelf()
    half = len(MINUTES) // 2
    shelf.tell(*BUILT, *MINUTES[:half])
    await shelf.further()
    before = len(shelf.out.messages)
    shelf.start()
    await shelf.further()
    assert len(shelf.out.messages) == before
    shelf.tell(*MINUTES[half:])
    await shelf.further()
    assert len(shelf.findings()) == 1
    whole = Shelf()
    whole.tell(*BUILT, *MINUTES)
    await whole.further()
    told = [one for one in marks(shelf) if one[0] != "FieldFinding"]
    assert told == [one for one in marks(whole) if one[0] != "FieldFinding"]
    for _ in range(2):
        shelf.start()
        await shelf.further()
    assert len(shelf.findings()) == 1
    assert marks(shelf) == sorted(set(marks(shelf)))


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), crashes=st.integers(0, 4))
def test_any_interleaving_repetition_and_crash_say_the_same_once(seed: int, crashes: int) -> None:
    """Topics are read in any order to each other, records come twice, and what was published before a crash
    may be known or not yet."""

    async def play() -> list[tuple[str, ...]]:
        draw = random.Random(seed)
        shelf = Shelf()
        place = np.random.default_rng(seed).random(len(BUILT) + len(MINUTES))
        order = sorted(range(len(place)), key=lambda at: place[at])
        queues: list[list[VehicleBuilt | Anomaly]] = [list(BUILT), list(MINUTES)]
        stops = {draw.randrange(len(order)) for _ in range(crashes)}
        for step, at in enumerate(order):
            queue = queues[0] if at < len(BUILT) and queues[0] else queues[1] or queues[0]
            event = queue.pop(0)
            shelf.tell(event)
            if draw.random() < 0.1:
                shelf.tell(event)
            if step in stops:
                await shelf.further()
                shelf.start()
        await shelf.further()
        said = [one for one in marks(shelf) if one[0] != "FieldFinding"]
        assert len(said) == len(set(said))
        found = shelf.findings()
        assert [one.asset for one in found] == [STATIONS[1]]
        return said

    whole = Shelf()
    whole.tell(*BUILT, *MINUTES)
    asyncio.run(whole.further())
    assert asyncio.run(play()) == [one for one in marks(whole) if one[0] != "FieldFinding"]


def rebuilt(vehicle: int, day: float = 70.0) -> VehicleBuilt:
    """It got another pack: every joint is another station's, each group 60 µΩ more than before."""
    made = built(vehicle)
    joints = tuple(
        replace(one, station=STATIONS[(one.cell_group // 2 + 1) % 3], baseline_uohm=60.0)
        for one in made.joints()
    )
    at = START + timedelta(days=day)
    pack = BuiltPack(pack_id=f"q{vehicle}", modules=(BuiltModule(module_id=f"n{vehicle}", joints=joints),))
    return replace(made, event_id=event_id("rebuilt", vehicle), at=at, observed_at=at, packs=(pack,))


def of_another_pack(day: float, grown: frozenset[int]) -> Anomaly:
    """A minute of vehicle 0 with its new pack."""
    seen = minute(0, day)
    more = {f"delta_r_uohm.{group}": 120.0 if group in grown else 60.0 for group in range(CELLS)}
    return replace(seen, features=seen.features | more)


def counted(known: Known) -> list[tuple[str, int]]:
    """What vehicles' anomalies accuse, and in which week."""
    table = known.evidence.table(known.genealogy, RULES.grid, NOW)
    return [(table.stations[at], week) for at, week in zip(table.station, table.week.tolist(), strict=True)]


async def test_a_replaced_pack_accuses_nobody_any_more_and_the_new_one_is_judged_by_itself() -> None:
    shelf = Shelf()
    grown = frozenset({0})
    shelf.tell(built(0), *(minute(0, day, grown) for day in (60, 61)))
    await shelf.further()
    assert [station for station, _ in counted(shelf.worker.known)] == [STATIONS[0]]
    shelf.tell(rebuilt(0))
    await shelf.further()
    assert not counted(shelf.worker.known)
    shelf.tell(*(of_another_pack(day, frozenset()) for day in (100, 101)))
    await shelf.further()
    assert not counted(shelf.worker.known)
    shelf.tell(*(of_another_pack(day, grown) for day in (102, 103)))
    await shelf.further()
    assert [station for station, _ in counted(shelf.worker.known)] == [STATIONS[1]]
    told = [one for one in shelf.said() if isinstance(one, VehicleAnomaly)]
    assert [one.built_at for one in told] == [built(0).observed_at, rebuilt(0).observed_at]
    before = len(shelf.out.messages)
    shelf.start()
    await shelf.further()
    assert len(shelf.out.messages) == before


@settings(max_examples=40)
@given(data=st.data(), grown=st.sampled_from([frozenset[int](), frozenset({0}), frozenset({3})]))
def test_whenever_another_pack_becomes_known_only_its_own_joints_are_accused(
    data: st.DataObject, grown: frozenset[int]
) -> None:
    """The old pack's group 0 grows, of the new one's `grown`. The genealogy may lag behind the minutes.

    What the new pack's first minutes say is lost on the old one, so that it may be told of so many later.
    """

    async def play() -> None:
        minutes = [minute(0, day, frozenset({0})) for day in (21, 28, 35, 42, 49, 56, 63)]
        minutes += [of_another_pack(day, grown) for day in (77, 84, 91, 98, 105)]
        whole = Shelf()
        whole.tell(built(0), rebuilt(0), *minutes)
        await whole.further()
        shelf = Shelf()
        queues: list[list[VehicleBuilt | Anomaly]] = [[built(0), rebuilt(0)], list(minutes)]
        late = 0  # minutes of the new pack, one a week, that were judged by the old one
        while any(queues):
            queue = data.draw(st.sampled_from([one for one in queues if one]))
            event = queue.pop(0)
            late += event in minutes[-5:] and bool(queues[0])
            shelf.tell(event)
            if data.draw(st.booleans()):
                await shelf.further()
        await shelf.further()
        accused = {station for station, _ in counted(shelf.worker.known)}
        assert accused <= {STATIONS[(group // 2 + 1) % 3] for group in grown}
        shelf.keep()
        shelf.log.sort(key=lambda one: one[0] is not GENEALOGY)  # as a restart reads it
        shelf.start()
        await shelf.further()
        shelf.keep()
        found, due = counted(shelf.worker.known), counted(whole.worker.known)
        assert [station for station, _ in found] == [station for station, _ in due]
        for (_, week), (_, its) in zip(found, due, strict=True):
            assert its <= week <= its + late
        assert len(marks(shelf)) == len(set(marks(shelf)))

    asyncio.run(play())


async def test_what_is_kept_no_more_is_not_said_again() -> None:
    """`anomalies` are kept for a month, `field-evidence` for ever."""
    shelf = Shelf()
    shelf.tell(*BUILT, *MINUTES)
    await shelf.further()
    before = len(shelf.out.messages)
    shelf.keep()
    old = [value for topic, value in shelf.log if topic is ANOMALIES][: len(MINUTES) // 2]
    shelf.log = [(topic, value) for topic, value in shelf.log if value not in set(old)]
    shelf.start()
    await shelf.further()
    assert len(shelf.out.messages) == before


async def test_late_evidence_is_looked_at_though_time_does_not_move() -> None:
    """A fleet that sends its months vehicle by vehicle is as good as one that sends them day by day."""
    shelf = Shelf()
    shelf.tell(*BUILT)
    for vehicle in range(VEHICLES):
        shelf.tell(*(one for one in MINUTES if one.asset.endswith(f"{vehicle:032x}")))
        await shelf.further()
    assert [one.asset for one in shelf.findings()] == [STATIONS[1]]


async def test_joints_outside_of_the_windows_are_counted_and_warned_of_once_a_look() -> None:
    def outside(shelf: Shelf) -> float | None:
        return shelf.registry.get_sample_value("twinloop_controller_field_joints_outside")

    def welded(vehicle: int, day: float) -> VehicleBuilt:
        made = built(vehicle)
        joints = tuple(replace(one, welded_at=START + timedelta(days=day)) for one in made.joints())
        pack = BuiltPack(pack_id="p", modules=(BuiltModule(module_id="m", joints=joints),))
        return replace(
            made, packs=(pack,), event_id=f"{vehicle}-{day}", observed_at=START + timedelta(days=20)
        )

    shelf = Shelf()
    with capture_logs() as logs:
        shelf.tell(*BUILT, *MINUTES[:60])
        await shelf.further()
    assert outside(shelf) == 0
    assert not [one for one in logs if one["log_level"] == "warning"]
    with capture_logs() as logs:
        shelf.tell(welded(0, -0.01), welded(1, 20.0), welded(2, 19.99), welded(0, -0.01), *MINUTES[60:])
        await shelf.further()
        await shelf.further()
    assert outside(shelf) == 2 * CELLS
    (warning,) = [one for one in logs if one["log_level"] == "warning"]
    assert warning["joints"] == 2 * CELLS
    assert warning["windows_to"] == (START + timedelta(days=20)).isoformat()
    again = replace(welded(1, 10.0), observed_at=START + timedelta(days=30))
    shelf.tell(again)
    assert outside(shelf) == CELLS


@settings(max_examples=50)
@given(hours=st.floats(-50, 550))
def test_a_joint_is_in_the_grid_when_it_has_a_bin(hours: float) -> None:
    grid, at = RULES.grid, START + timedelta(hours=hours)
    assert grid.holds(at) == (0 <= grid.bin_of(at) < grid.bins)


async def test_looks_are_not_made_more_often_than_allowed() -> None:
    shelf = Shelf()
    shelf.tell(*BUILT, *MINUTES[:60])
    await shelf.further()
    shelf.tell(*MINUTES[60:])
    await shelf.worker.further()
    assert not shelf.findings()
    shelf.clock.advance(RULES.look_s)
    await shelf.worker.further()
    assert len(shelf.findings()) == 1


def test_what_cannot_be_judged_is_left_and_counted() -> None:
    known = Known(RULES)
    known.take(BUILT[0], NOW)
    whole = minute(0, 21)
    assert known.take(minute(0, 300), NOW) is Fate.UNUSABLE  # from the future
    assert known.take(replace(whole, features={"distance_km": float("nan")}), NOW) is Fate.UNUSABLE
    assert known.take(replace(whole, features={}), NOW) is Fate.UNUSABLE
    assert known.take(replace(whole, model="weld"), NOW) is Fate.OTHERS
    assert known.take(replace(whole, asset=STATIONS[0]), NOW) is Fate.OTHERS
    assert known.take(minute(1, 21), NOW) is Fate.WAITING
    assert known.take(minute(0, -1), NOW) is Fate.REPLACED
    assert known.take(whole, NOW) is Fate.FOLDED
    assert known.take(whole, NOW) is Fate.REPEATED
    assert known.take(BUILT[0], NOW) is Fate.REPEATED


def test_a_vehicle_whose_clock_is_ahead_is_judged_as_far_as_ingest_lets_it_in() -> None:
    for ahead_s, fate in ((61.0, Fate.FOLDED), (66.0, Fate.UNUSABLE)):
        known = Known(RULES)
        known.take(BUILT[0], NOW)
        seen = minute(0, 21)
        assert known.take(seen, seen.observed_at - timedelta(seconds=ahead_s)) is fate


def test_a_clock_that_is_ahead_brings_no_look_forward() -> None:
    known = Known(RULES)
    known.take(BUILT[0], NOW)
    seen = minute(0, 28)  # when a look is due
    known.take(seen, seen.observed_at - timedelta(seconds=30))
    assert known.look_due(seen.observed_at - timedelta(seconds=30)) == START + timedelta(days=21)
    assert known.look_due(seen.observed_at) == START + timedelta(days=28)


def test_of_a_vehicle_that_nobody_built_not_all_is_kept() -> None:
    known = Known(RULES.model_copy(update={"waiting": 3}))
    for day in range(21, 70, 7):
        known.take(minute(0, day), NOW)
    assert known.evicted == 4
    known.take(BUILT[0], NOW)
    assert len(known.unsaid()) == 3


def test_of_all_vehicles_that_nobody_built_the_longest_waiting_make_room() -> None:
    known = Known(RULES.model_copy(update={"waiting_in_all": 10}))
    for day in (21, 28):
        for vehicle in range(12):
            assert known.take(minute(vehicle, day), NOW) is Fate.WAITING
    assert known.evicted == 14
    for vehicle in range(12):
        known.take(BUILT[vehicle], NOW)
    said = [(int(one.vehicle, 16), (one.observed_at - START).days) for one in known.unsaid()]
    assert said == [(vehicle, 28) for vehicle in range(2, 12)]
    for vehicle in range(12, 22):  # those that are built wait no more
        known.take(minute(vehicle, 21), NOW)
    assert known.evicted == 14


def test_evictions_are_counted() -> None:
    shelf = Shelf(RULES.model_copy(update={"waiting_in_all": 10}))
    shelf.tell(*(minute(vehicle, 21) for vehicle in range(12)))
    assert shelf.count(ANOMALIES, "waiting") == 12
    assert shelf.count(ANOMALIES, "evicted") == 2


def test_bytes_that_are_no_record_are_counted() -> None:
    shelf = Shelf()
    shelf.worker.take(Record(GENEALOGY, 0, 0, None, b"{"))
    assert shelf.count(GENEALOGY, "undecodable") == 1


def test_what_a_station_welded_is_passed_over_without_reading_it() -> None:
    shelf = Shelf()
    shelf.worker.take(Record(GENEALOGY, 0, 0, STATIONS[0].encode(), b"{"))
    assert shelf.count(GENEALOGY, "others") == 1


async def test_what_cannot_be_used_goes_to_dead_letters_once() -> None:
    shelf = Shelf()
    shelf.tell(built(0), replace(minute(0, 21), features={}))
    await shelf.further()
    assert not shelf.letters()  # read while catching up: who was at work then has told of it
    unusable = replace(minute(0, 22), features={})
    shelf.tell(unusable)
    for _ in range(2):
        await shelf.further()
    (letter,) = shelf.letters()
    assert (letter.reason, letter.source, letter.service) == (
        Reason.UNPROCESSABLE,
        "anomalies/0/2",
        "controller",
    )
    assert (letter.asset, decode(ANOMALIES, letter.payload)) == (unusable.asset, unusable)
    assert "without a distance" in letter.detail
    shelf.start()
    await shelf.further()
    assert len(shelf.letters()) == 1
    assert shelf.count(ANOMALIES, "unusable") == 2


async def test_a_record_that_cannot_be_folded_does_not_keep_the_others_from_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = Shelf()
    await shelf.further()

    def fails(*_: object) -> Fate:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(shelf.worker.known, "take", fails)
        shelf.tell(BUILT[0])
    shelf.tell(BUILT[1])
    assert shelf.worker.known.genealogy.vehicles == (f"{1:032x}",)
    assert shelf.count(GENEALOGY, "unusable") == 1
    await shelf.further()
    assert [one.detail for one in shelf.letters()] == ["ZeroDivisionError()"]


def test_looks_are_made_at_the_same_moments_whenever_it_was_started() -> None:
    at = START + timedelta(days=30)
    assert RULES.look_before(at) == START + timedelta(days=28)
    assert RULES.look_before(START) == START
    assert RULES.look_before(START - timedelta(hours=1)) == START - timedelta(days=7)


@pytest.mark.parametrize(
    "wrong",
    [{"bins": 3, "lengths": [4]}, {"alpha": 1.0}, {"ratios": [1.0]}, {"look_h": 0}, {"colour": "red"}],
)
def test_wrong_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FieldRules.model_validate({"origin": START, **wrong})
    with pytest.raises(ValidationError):
        FieldRules.model_validate({"origin": START.replace(tzinfo=None)})


def test_the_file_of_the_local_stack_has_the_figures_that_were_measured() -> None:
    root = next(one for one in Path(__file__).parents if (one / "deploy/local/config").is_dir())
    shipped = load_toml(root / "deploy/local/config/field.toml", FieldRules)
    assert shipped == FieldRules(origin=shipped.origin)
    assert shipped.policy == FieldPolicy()
    assert shipped.grid == Grid(shipped.origin)
