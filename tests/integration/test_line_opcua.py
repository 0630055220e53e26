"""The line as a process between a real broker and a real, secured OPC UA server."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from support.line import ASSET, head, hold, names, power, proposal
from support.line_scene import Scene, new_line
from support.plant import SharedPlc, break_plc, line_security, serving
from support.processes import ServiceProcess
from support.waiting import until

from twinloop.audit.store import verify_file
from twinloop.contracts.changes import Issued
from twinloop.contracts.codec import Message
from twinloop.contracts.controls import Overridden
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.topics import ALARMS, AUDIT, CHANGES, DEAD_LETTERS
from twinloop.line.metrics import Metrics
from twinloop.line.opcua import plc
from twinloop.line.plc import Command
from twinloop.runtime.kafka.clients import publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator import by_hand
from twinloop.trust.keys import Signer

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def line(kafka: str, topic_prefix: str, tmp_path: Path, certs: Path) -> Iterator[ServiceProcess]:
    one = new_line(kafka, topic_prefix, tmp_path, certs)
    yield one
    if one.running:
        one.stop()


@pytest.fixture
def second(kafka: str, topic_prefix: str, tmp_path: Path, certs: Path) -> Iterator[ServiceProcess]:
    one = new_line(kafka, topic_prefix, tmp_path, certs, "second")
    yield one
    if one.running:
        one.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def scene(
    kafka: str, topic_prefix: str, line: ServiceProcess, shared_plc: SharedPlc, certs: Path
) -> AsyncIterator[Scene]:
    line.settings["TWINLOOP_OPCUA"] = shared_plc.endpoint
    server = await shared_plc.renew(watchdog_s=20.0)  # no stall of this machine trips it
    await provision(kafka, topic_prefix)
    async with publisher(kafka, topic_prefix, asyncio.Event()) as out:
        yield Scene(
            kafka,
            topic_prefix,
            line,
            certs,
            shared_plc.endpoint,
            shared_plc.plant,
            server,
            shared_plc.stop,
            out,
        )
        if line.running:
            await asyncio.to_thread(line.stop)


async def test_a_released_change_reaches_the_device_once_and_is_read_back(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.start()
    await scene.release("c1", power(1020.0))
    told = await scene.ended("c1")
    assert names(told) == ["issued", "applied"]
    assert told[1].actual == 1020.0
    state = scene.plant.plc("weld1")
    assert (state.setpoints["laser_power_w"], state.last_sequence, state.last_command_id) == (1020.0, 1, "c1")
    # Everything said again, and a new process that reads all of it: nothing happens, and nobody acts for it.
    await scene.release("c1", power(1020.0))
    await asyncio.to_thread(scene.line.kill)
    scene.line.start()
    await until(scene.ready, timeout_s=60)
    await until(partial(shed, scene, "line restarted"))
    await scene.promote()
    await scene.release("c2", power(1200.0, expected=1020.0))  # far beyond a step: only to see it pass by
    assert names(await scene.ended("c2")) == ["failed"]
    assert names(await scene.told("c1")) == ["issued", "applied"]
    assert scene.plant.plc("weld1").last_sequence == 1
    # What was done is written down, and copied.
    audit = tmp_path / "line-audit" / "line.jsonl"
    assert verify_file(audit) == []

    async def copied() -> bool:
        whats = [one.what for one in await scene.read(AUDIT)]
        return {"took control", "issued", "applied", "mode_shed", "refused"} <= set(whats)

    await until(copied)


async def shed(scene: Scene, reason: str) -> bool:
    return any(reason in getattr(one, "reason", "") for one in await scene.controls())


@pytest.mark.parametrize(
    ("faults", "guard", "holds"),
    [
        ({"refuse_writes": True}, "plc", 1000.0),
        ({"ignore_writes": True}, "read_back", 1000.0),
        ({"apply_fraction": 0.5}, "read_back", 1010.0),
        ({"read_back_offset": {"laser_power_w": 9.0}}, "read_back", 1029.0),
        ({"drop_commands": True}, "outcome", 1000.0),
        ({"drop_answers": True}, None, 1020.0),
        ({"drop_answers": True, "ignore_writes": True}, "read_back", 1000.0),
        ({"act_after_s": 11.0}, "outcome", 1000.0),
        ({"answer_after_s": 3.0}, None, 1020.0),
    ],
)
async def test_whatever_the_plc_does_the_outcome_is_true(
    scene: Scene, faults: dict[str, Any], guard: str | None, holds: float
) -> None:
    """Refuses, ignores, goes half way or elsewhere, loses commands or answers, comes too late."""
    await scene.start()
    break_plc(scene.plant, **faults)
    await scene.release("c1", power(1020.0), valid_s=10.0)
    told = await scene.ended("c1")
    assert names(told) == ["issued", "applied" if guard is None else "failed"]
    assert getattr(told[1], "guard", None) == guard
    assert scene.plant.plc("weld1").setpoints["laser_power_w"] == holds


async def test_a_lie_is_told_as_it_was_read_and_only_the_parts_know(scene: Scene) -> None:
    await scene.start()
    break_plc(scene.plant, ignore_writes=True, echo_read_back=True)
    await scene.release("c1", power(1020.0))
    assert names(await scene.ended("c1")) == ["issued", "applied"]
    assert scene.plant.plc("weld1").setpoints["laser_power_w"] == 1000.0


async def test_issued_before_a_crash_it_is_concluded_by_reading_and_not_sent_again(scene: Scene) -> None:
    """Two changes were issued by a process that died: the device took the one and not the other."""
    lost = await scene.release("lost", power(1010.0), valid_s=1.0)
    await scene.publish(issued_by_hand("lost"))
    scene.line.start()
    told = await scene.ended("lost")
    assert (names(told), told[0].guard) == (["failed"], "outcome")
    assert told[0].at > lost.at
    assert scene.plant.plc("weld1").last_sequence == 0
    await asyncio.to_thread(scene.line.kill)

    taken = await scene.release("taken", hold())
    await scene.publish(issued_by_hand("taken"))
    async with plc(
        scene.endpoint,
        ["weld1"],
        asyncio.Event(),
        timeout_s=2.0,
        metrics=Metrics(CollectorRegistry()),
        security=line_security(scene.certs),
    ) as hand:
        await until(lambda: hand.problem() is None)
        await hand.command("weld1", Command("taken", hold(), 1, "", taken.at, taken.expires_at))
    scene.line.start()
    assert names(await scene.ended("taken")) == ["applied"]
    assert scene.plant.plc("weld1").last_sequence == 1


def issued_by_hand(change_id: str) -> Issued:
    return Issued(**head("by-hand"), change_id=change_id, command_sequence=1)


async def test_without_a_plc_it_is_alive_not_ready_and_changes_expire(scene: Scene) -> None:
    await scene.stop_server()
    scene.line.start()
    await until(lambda: scene.line.status("/health/live") == 200)
    await scene.release("c1", power(1020.0), valid_s=2.0)
    assert names(await scene.ended("c1")) == ["expired"]
    assert scene.line.status("/health/ready") == 503


async def test_a_plc_that_goes_away_sheds_the_mode_and_may_be_promoted_when_it_is_back(scene: Scene) -> None:
    await scene.start()
    await scene.stop_server()
    await until(partial(shed, scene, "no sign of life"))
    await until(lambda: scene.line.status("/health/ready") == 503)
    await scene.release("c1", power(1020.0), valid_s=60.0)
    assert await scene.told("c1") == []
    async with serving(scene.endpoint, scene.plant, scene.certs):
        told = await scene.ended("c1")
        assert (names(told), told[0].guard) == (["failed"], "mode")
        await until(scene.ready)
        await scene.promote()
        await scene.release("c2", power(1020.0))
        assert names(await scene.ended("c2")) == ["issued", "applied"]
        await asyncio.to_thread(scene.line.stop)
    assert AlarmCode.WATCHDOG in [one.code for one in await scene.read(ALARMS)]


def impatient(scene: Scene) -> None:
    """From now on the PLC waits for a heartbeat no longer than that of the reference plant."""
    scene.plant.operate("weld1", lambda state: dataclasses.replace(state, watchdog_s=1.5))


async def test_a_line_that_dies_leaves_the_plc_to_its_own_setpoints(scene: Scene) -> None:
    await scene.start()
    await scene.release("c1", power(1020.0))
    await scene.ended("c1")
    await asyncio.to_thread(scene.line.kill)
    impatient(scene)
    await until(lambda: not scene.remote)
    state = scene.plant.plc("weld1")
    assert (state.local_reason, state.setpoints["laser_power_w"]) == ("watchdog", 1000.0)


async def test_a_line_that_stops_gives_control_back_and_leaves_the_setpoints(scene: Scene) -> None:
    await scene.start()
    await scene.release("c1", power(1020.0))
    await scene.ended("c1")
    assert await asyncio.to_thread(scene.line.stop) == 0
    state = scene.plant.plc("weld1")
    assert (state.local_reason, state.setpoints["laser_power_w"]) == ("released", 1020.0)


@pytest.mark.parametrize("faults", [{"freeze_beat": True}, {"lose_heartbeats": True}])
async def test_a_plc_that_is_not_heard_is_shed(scene: Scene, faults: dict[str, Any]) -> None:
    await scene.start()
    impatient(scene)
    break_plc(scene.plant, **faults)
    await until(lambda: not scene.remote)

    async def alarmed() -> bool:
        return AlarmCode.WATCHDOG in [one.code for one in await scene.read(ALARMS)]

    await until(alarmed)


async def test_an_operator_at_the_panel_wins(scene: Scene) -> None:
    await scene.start()
    scene.plant.operate("weld1", lambda state: by_hand.set_setpoint(state, "laser_power_w", 1015.0))
    await until(partial(shed, scene, "set at the machine"))
    (found,) = [one for one in await scene.controls() if isinstance(one, Overridden)]
    assert (found.value, found.expected) == (1015.0, 1000.0)
    await scene.release("c1", power(1030.0, 1015.0))
    told = await scene.ended("c1")
    assert told[0].guard == "mode"
    assert scene.plant.plc("weld1").setpoints["laser_power_w"] == 1015.0
    assert AlarmCode.OVERRIDDEN in [one.code for one in await scene.read(ALARMS)]


async def test_a_forged_release_moves_nothing_and_calls_a_person(scene: Scene) -> None:
    await scene.start()
    await scene.release("c1", power(1020.0), signer=Signer.generate())
    told = await scene.ended("c1")
    assert (names(told), told[0].guard) == (["failed"], "envelope")

    async def alarmed() -> bool:
        return AlarmCode.FORGED_COMMAND in [one.code for one in await scene.read(ALARMS)]

    await until(alarmed)
    assert scene.plant.plc("weld1").last_sequence == 0


async def test_what_is_released_too_late_is_never_issued(scene: Scene) -> None:
    await scene.release("c1", power(1020.0), valid_s=0.001)
    scene.line.start()
    assert names(await scene.ended("c1")) == ["expired"]
    state = scene.plant.plc("weld1")
    assert (state.setpoints["laser_power_w"], state.last_command_id) == (1000.0, "")


async def test_another_member_takes_over_what_a_first_one_left(scene: Scene, second: ServiceProcess) -> None:
    """The second one reads the log of the partitions that it is given, repeats nothing, and sheds."""
    await scene.start()
    await scene.release("c1", power(1020.0))
    assert names(await scene.ended("c1")) == ["issued", "applied"]
    second.settings["TWINLOOP_OPCUA"] = scene.endpoint
    second.start()
    await until(lambda: second.ready, timeout_s=60)
    await asyncio.to_thread(scene.line.stop)
    scene.line = second
    await scene.release("c1", power(1020.0))

    async def taken_over() -> bool:
        return bool((await scene.station())["actual"] == "shadow")

    await until(taken_over)
    await scene.promote()
    await scene.release("c2", power(1040.0, expected=1020.0))
    assert [(one.guard, names([one])) for one in await scene.ended("c2")] == [("cooldown", ["failed"])]
    assert names(await scene.told("c1")) == ["issued", "applied"]
    assert scene.plant.plc("weld1").last_sequence == 1


async def test_what_is_no_change_goes_to_dead_letters_and_the_rest_goes_on(scene: Scene) -> None:
    await scene.start()
    zoneless = proposal("c0")
    zoneless = msgspec.structs.replace(zoneless, expires_at=zoneless.expires_at.replace(tzinfo=None))
    refused = [b'{"type": "proposed"', msgspec.json.encode(zoneless)]
    await scene.out.publish([Message(CHANGES, ASSET.encode(), one, ()) for one in refused])
    await scene.release("c1", power(1020.0))
    assert names(await scene.ended("c1")) == ["issued", "applied"]
    letters = await scene.read(DEAD_LETTERS)
    assert [(one.reason, one.payload, one.service) for one in letters] == [
        ("undecodable", payload, "line") for payload in refused
    ]
