"""The plant: lockstep, counters that go on, commands that take effect with the next part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from twinloop.simulator.campaign import Campaign
from twinloop.simulator.commands import (
    FOCUS,
    LIMIT,
    POWER,
    Code,
    Command,
    Hold,
    Outcome,
    Resume,
    SetParameter,
    TakeControl,
)
from twinloop.simulator.faults import NotANumber, SensorDropOut, WindowStep, WrongRecipe
from twinloop.simulator.plant import MadePart, Plant, StationSpec
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.plc_state import Range
from twinloop.simulator.process import SIGNALS
from twinloop.simulator.telemetry import METRICS, at_birth, of_part

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPEC = StationSpec("cu-al-tab-7", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))


def plant() -> Plant:
    """Two stations whose control was taken."""
    made = Plant({"weld1": SPEC, "weld2": SPEC}, first_part=101)
    for station in made.stations:
        tell(made, station, TakeControl("take"))
    return made


def tell(one: Plant, station: str, command: Command) -> Outcome:
    return one.command(station, command, NOW, 0.0)


def campaign(welds: int = 5, **more: object) -> Campaign:
    defaults = {"name": "test", "rate_hz": 20.0, "seed": 7, "stations": ("weld1", "weld2")}
    return Campaign(welds=welds, **{**defaults, **more})  # type: ignore[arg-type]


def all_of(made: Plant) -> list[list[MadePart]]:
    rounds = []
    while parts := made.weld_next():
        rounds.append(parts)
    return rounds


def power(value: float, expected: float, sequence: int) -> SetParameter:
    return SetParameter(
        f"c{sequence}", POWER, value, expected, sequence, "cu-al-tab-7", NOW, NOW + timedelta(seconds=5)
    )


def hold(sequence: int) -> Hold:
    return Hold(f"c{sequence}", "gap", sequence, NOW, NOW + timedelta(seconds=5))


def test_nothing_is_welded_without_a_campaign() -> None:
    one = plant()
    assert one.run is None
    assert one.weld_next() == []


def test_stations_weld_in_lockstep_with_the_same_noise() -> None:
    one = plant()
    one.start(campaign())
    rounds = all_of(one)
    assert len(rounds) == 5
    for number, (left, right) in enumerate(rounds):
        assert (left.number, left.sequence, left.station, right.station) == (
            number,
            101 + number,
            "weld1",
            "weld2",
        )
        assert np.array_equal(left.signals, right.signals)
        assert left.resistance_uohm == right.resistance_uohm
    assert one.run is not None
    assert one.run.finished


def test_stations_have_noise_of_their_own_where_that_is_asked_for() -> None:
    one = plant()
    one.start(campaign(own_noise=True))
    first = all_of(one)
    assert not any(np.array_equal(left.signals, right.signals) for left, right in first)
    one.start(campaign(own_noise=True))
    for before, again in zip(first, all_of(one), strict=True):
        for left, right in zip(before, again, strict=True):
            assert np.array_equal(left.signals, right.signals)


def test_faults_and_setpoints_do_not_shift_the_noise() -> None:
    """Two stations stay comparable to the last bit of what the fault does not touch."""
    one = plant()
    one.start(campaign(faults={"weld1": (WindowStep(start=0, transmission=0.8),)}))
    tell(one, "weld2", power(1030, 1000, 1))
    for left, right in all_of(one):
        assert np.array_equal(left.signals[:, 4:], right.signals[:, 4:])
        assert not np.array_equal(left.signals[:, 3], right.signals[:, 3])


def test_the_same_seed_gives_the_same_campaign_again() -> None:
    one = plant()
    one.start(campaign())
    first = all_of(one)
    tell(one, "weld1", power(1030, 1000, 1))
    one.start(campaign())
    second = all_of(one)
    for before, after in zip(first, second, strict=True):
        assert np.array_equal(before[0].signals, after[0].signals)
        assert after[0].sequence == before[0].sequence + 5


def test_a_command_takes_effect_with_the_next_part() -> None:
    one = plant()
    one.start(campaign())
    assert one.weld_next()[0].power_w == 1000
    assert tell(one, "weld1", power(1020, 1000, 1)).code is Code.GOOD
    left, right = one.weld_next()
    assert (left.power_w, right.power_w) == (1020, 1000)


def test_a_held_station_makes_no_further_part_and_its_campaign_is_over() -> None:
    one = plant()
    one.start(campaign())
    one.weld_next()
    tell(one, "weld1", hold(1))
    rounds = all_of(one)
    assert [[part.station for part in parts] for parts in rounds] == [["weld2"]] * 4
    assert one.run is not None
    left, right = one.run.stations["weld1"], one.run.stations["weld2"]
    assert (left.welds_done, left.held, left.finished, left.last_sequence) == (1, True, True, 101)
    assert (right.welds_done, right.held, right.finished, right.first_sequence) == (5, False, True, 101)
    tell(one, "weld1", Resume("r"))
    assert one.weld_next() == []


def test_all_held_ends_the_campaign() -> None:
    one = plant()
    one.start(campaign())
    tell(one, "weld1", hold(1))
    tell(one, "weld2", hold(1))
    assert one.weld_next() == []
    assert one.run is not None
    assert one.run.finished


def test_a_new_campaign_resets_what_the_panel_resets_and_nothing_else() -> None:
    one = plant()
    one.start(campaign(plc={"weld1": PlcFaults(refuse_writes=True)}))
    one.weld_next()
    assert tell(one, "weld1", power(1020, 1000, 4)).code is Code.BAD_USER_ACCESS_DENIED
    tell(one, "weld1", hold(5))
    one.start(campaign())
    plc = one.plc("weld1")
    assert (plc.setpoints, plc.mode.value) == ({POWER: 1000, FOCUS: 0, LIMIT: 55}, "Execute")
    assert (plc.last_sequence, plc.faults) == (5, PlcFaults())
    assert one.weld_next()[0].sequence == 102


def test_a_campaign_leaves_other_stations_alone() -> None:
    one = plant()
    one.start(campaign(stations=("weld2",)))
    tell(one, "weld1", power(1020, 1000, 1))
    one.start(campaign(stations=("weld2",)))
    assert [[part.station for part in parts] for parts in all_of(one)] == [["weld2"]] * 5
    assert one.plc("weld1").setpoints[POWER] == 1020


def test_the_wrong_recipe_is_in_force_at_the_plc_too() -> None:
    one = plant()
    one.start(campaign(faults={"weld1": (WrongRecipe(start=1, until=2, recipe="other"),)}))
    recipes = []
    for parts in iter(one.weld_next, []):
        recipes.append((parts[0].recipe, one.plc("weld1").recipe))
        if recipes[-1][0] == "other":
            assert tell(one, "weld1", power(1020, 1000, 1)).code is Code.BAD_INVALID_STATE
    assert recipes == [(name, name) for name in ("cu-al-tab-7", "other", *["cu-al-tab-7"] * 3)]


def test_an_unknown_station_is_refused_before_anything_changes() -> None:
    one = plant()
    with pytest.raises(KeyError):
        one.start(campaign(stations=("weld1", "weld9")))
    assert one.run is None


def test_deadlines_do_not_drift() -> None:
    one = campaign(rate_hz=30.0)
    assert [one.due_s(number) for number in (0, 30, 3000)] == pytest.approx([0, 1, 100])


def test_a_part_is_reported_with_every_metric_of_its_station() -> None:
    one = plant()
    faults = (
        NotANumber(start=1, signal="plasma", samples=3),
        SensorDropOut(start=2, signal="gas_flow_l_min"),
    )
    one.start(campaign(faults={"weld1": faults}))
    (first, *_), (broken, *_), (without, *_), *_ = all_of(one)
    values = of_part(first, ended_ms=1_000_000)
    assert set(values) == {spec.name for spec in METRICS}
    assert set(at_birth(1000, 0, 55, "r")) < set(values)
    assert values["Part/WeldedAt"] == 1_000_000 - 300
    assert (values["Part/Counter"], values["Part/Id"]) == (101, "weld1-000000000101")
    for column, name in enumerate(SIGNALS):
        signal = values[f"Signals/{name}"]
        assert isinstance(signal, np.ndarray)
        assert np.array_equal(signal, first.signals[:, column])
    assert np.isnan(broken.signals[:, 0]).sum() == 3
    assert "Signals/gas_flow_l_min" not in of_part(without, 0)


def test_a_lying_plc_and_the_parts_that_tell_the_truth() -> None:
    one = plant()
    one.start(campaign(plc={"weld1": PlcFaults(apply_fraction=0.5, echo_read_back=True)}))
    assert tell(one, "weld1", power(1020, 1000, 1)) == Outcome(Code.GOOD, 1020)
    [part, other] = one.weld_next()
    assert one.plc("weld1").shown[POWER] == 1020
    assert (part.power_w, other.power_w) == (1010, 1000)
    assert of_part(part, 0)["Setpoint/Power"] == 1010


def test_the_faults_of_a_plc_come_and_go_with_the_welds() -> None:
    one = plant()
    one.start(campaign(4, plc={"weld1": PlcFaults(start=1, until=3, drop_answers=True)}))
    seen = [one.plc("weld1").faults.drop_answers]
    while one.weld_next():
        seen.append(one.plc("weld1").faults.drop_answers)
    assert seen == [False, False, True, True, False]


def test_the_watchdog_of_every_station_falls_by_itself() -> None:
    one = plant()
    one.start(campaign())
    tell(one, "weld1", power(1020, 1000, 1))
    one.tick(1.4)
    assert one.weld_next()[0].power_w == 1020
    one.tick(1.5)
    assert [one.plc(name).local_reason for name in one.stations] == ["watchdog", "watchdog"]
    assert one.weld_next()[0].power_w == 1000


def test_what_measures_above_the_gate_in_force_is_rejected() -> None:
    """The gate is a setpoint like the others: in its range, by steps, and it tells of itself on each part."""
    one = plant()
    one.start(campaign(60, faults={"weld1": (WindowStep(start=0, transmission=0.9),)}))
    first = one.weld_next()[0]
    assert (first.limit_uohm, first.rejected) == (55, False)
    for value, code in ((39.9, Code.BAD_OUT_OF_RANGE), (41.9, Code.BAD_OUT_OF_RANGE), (46, Code.GOOD)):
        command = SetParameter(
            f"to {value}", LIMIT, value, 55, int(value * 10), "cu-al-tab-7", NOW, NOW + timedelta(seconds=5)
        )
        assert tell(one, "weld1", command).code is code
    made = [parts[0] for parts in all_of(one)]
    assert {part.limit_uohm for part in made} == {46}
    assert 0 < sum(part.rejected for part in made) < len(made)
    assert all(part.rejected == (part.resistance_uohm > 46) for part in made)
    values = of_part(made[0], 0)
    assert (values["Setpoint/EndOfLineLimit"], values["Part/Rejected"]) == (46, made[0].rejected)
    one.start(campaign(keep_setpoints=True))
    assert one.plc("weld1").setpoints == {POWER: 1000, FOCUS: 0, LIMIT: 46}
    one.start(campaign())
    assert one.plc("weld1").setpoints[LIMIT] == 55
