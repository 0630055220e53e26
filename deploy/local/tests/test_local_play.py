"""A play is played again where a busy machine has shed the asset, and only there."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from twinloop.contracts.events import AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.local.demo import play as module
from twinloop.local.demo.play import PLAYS, play_led
from twinloop.local.demo.record import Record
from twinloop.local.demo.report import Report, count
from twinloop.local.demo.scenarios import SCENARIOS

SCENARIO = SCENARIOS["defocus"]


class Plant:
    """People, the panel and the reader in one: what is done, in order."""

    def __init__(self, *plays: Report) -> None:
        self.done: list[str] = []
        self.said: list[str] = []
        self._plays = list(plays)
        self._mode = Mode.SHADOW

    async def modes(self, _: str) -> dict[str, Any]:
        return {"actual": self._mode}

    async def lead_up(self, _: str, to: Mode, why: str) -> None:
        assert why
        self._mode = to
        self.done.append("led up")

    async def forget(self) -> None:
        self.done.append("forgot")

    async def set_up(self) -> None:
        self._mode = Mode.SHADOW
        self.done.append("set up")

    async def play(self) -> tuple[Report, dict[str, int]]:
        self.done.append("played")
        return self._plays.pop(0), {}


def report(problem: str = "", *alarms: AlarmCode) -> Report:
    made = count(SCENARIO, Record(), dict.fromkeys(SCENARIO.stations, 1))
    problems = (problem,) if problem else ()
    return msgspec.structs.replace(made, problems=problems, alarms=dict.fromkeys(map(str, alarms), 1))


async def played(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(module, "play", lambda *_: plant.play())
    monkeypatch.setattr(module, "set_up_again", lambda *_: plant.set_up())
    one = cast(Any, plant)
    found, _ = await play_led(SCENARIO, one, one, one, plant.said.append, lambda _: None)
    return found


CLOSED = report()
OPEN = report("no change was verified")
LATE = report("no change was verified", AlarmCode.INPUT_INVALID)
SILENT = report("no change was verified", AlarmCode.WATCHDOG, AlarmCode.SCRAP)


@pytest.mark.parametrize("one", [CLOSED, OPEN, report("", AlarmCode.INPUT_INVALID)])
async def test_a_play_that_says_something_about_the_loop_is_played_once(
    one: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = Plant(one, CLOSED)
    assert await played(plant, monkeypatch) is one
    assert plant.done == ["led up", "played"]


async def test_what_a_busy_machine_has_shed_is_set_up_led_up_and_played_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant = Plant(LATE, SILENT, CLOSED)
    assert await played(plant, monkeypatch) is CLOSED
    again = ["set up", "forgot", "led up", "played"]
    assert plant.done == ["led up", "played", *again, *again]
    assert [one for one in plant.said if "busy" in one] == [
        "this machine was too busy (input_invalid): weld1 was shed, and it is played again",
        "this machine was too busy (watchdog): weld1 was shed, and it is played again",
    ]


async def test_a_machine_that_is_always_too_busy_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(*[LATE] * PLAYS)
    assert await played(plant, monkeypatch) is LATE
    assert plant.done.count("played") == PLAYS
