"""The kill switch: at once, on the disk, in the log when Kafka lets it, and through the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka.errors import KafkaError
from support.line import ASSET, LIMITS, NOW, Line, MemoryAudit, head, promotion
from support.waiting import until

from twinloop.contracts.codec import Message, decode
from twinloop.contracts.controls import KillSwitchCleared, KillSwitchSet
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.line.api import api
from twinloop.line.errors import NotKilled
from twinloop.line.kill import KillSwitch
from twinloop.line.ledger import Ledger
from twinloop.line.limits import LineLimits
from twinloop.line.plc import LOCAL
from twinloop.line.vigil import Vigil
from twinloop.runtime.clock import ManualClock
from twinloop.trust.bearer import Access
from twinloop.trust.people import token_sha256

OTHER = "acme.berlin.packs.line1.weld2"
ASSETS = [ASSET, OTHER]


def opened(path: Path, clock: ManualClock | None = None) -> KillSwitch:
    return KillSwitch.open(path / "kill.json", ASSETS, clock or ManualClock(NOW))


def set_of(kill: KillSwitch) -> list[bool]:
    return [kill.in_force(asset) is not None for asset in ASSETS]


@dataclass
class Kafka:
    """A publisher that can be away."""

    away: bool = False
    told: list[Any] = field(default_factory=list)

    async def publish(self, messages: Iterable[Message]) -> None:
        if self.away:
            raise KafkaError("away")
        self.told += [decode(CHANGES, one.value) for one in messages]


async def published(kill: KillSwitch, kafka: Kafka, ledger: Ledger | None = None) -> None:
    """Let it publish until there is nothing left."""
    task = asyncio.create_task(kill.publish(kafka, lambda _: ledger))
    try:
        await until(lambda: not kill._untold and not opened(kill._path.parent)._untold)  # nor on disk
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_is_in_force_before_anything_was_written(tmp_path: Path) -> None:
    kill = opened(tmp_path)
    assert set_of(kill) == [False, False]
    assert kill.set("person:ada", "smoke", ASSET) == [ASSET]
    assert set_of(kill) == [True, False]
    assert kill.set("person:ada", "fire", None) == ASSETS
    assert set_of(kill) == [True, True]
    assert not list(tmp_path.iterdir())


async def test_it_survives_a_process_that_dies_at_once_and_says_so_later(tmp_path: Path) -> None:
    kill = opened(tmp_path)
    kill.set("person:ada", "smoke", None)
    await kill.save()
    again = opened(tmp_path)
    assert set_of(again) == [True, True]
    kafka = Kafka()
    await published(again, kafka)
    assert [(type(one), one.asset, one.by, one.reason) for one in kafka.told] == [
        (KillSwitchSet, asset, "person:ada", "smoke") for asset in ASSETS
    ]
    assert set_of(opened(tmp_path)) == [True, True]
    await published(opened(tmp_path), kafka)
    assert len(kafka.told) == 2  # and only once


@pytest.mark.parametrize("content", ["", "{", '{"everything": 3}', "[]"])
async def test_a_file_that_cannot_be_read_counts_as_set(tmp_path: Path, content: str) -> None:
    (tmp_path / "kill.json").write_text(content)
    assert set_of(opened(tmp_path)) == [True, True]


async def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    kill = opened(tmp_path)
    for number in range(5):
        kill.set("person:ada", f"{number}", ASSET)
        await kill.save()
        assert [one.name for one in tmp_path.iterdir()] == ["kill.json"]


async def test_what_kafka_does_not_take_is_published_when_it_is_back(tmp_path: Path) -> None:
    kill, kafka = opened(tmp_path), Kafka(away=True)
    kill.set("person:ada", "smoke", ASSET)
    await kill.clear("person:bob", "safe", ASSET)
    assert set_of(kill) == [True, False]  # until the log has it, nobody knows what follows
    task = asyncio.create_task(kill.publish(kafka, lambda _: None))
    await asyncio.sleep(0)
    kafka.away = False
    await until(lambda: set_of(kill) == [False, False])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [type(one) for one in kafka.told] == [KillSwitchSet, KillSwitchCleared]


async def test_clearing_all_leaves_an_assets_own_switch_set(tmp_path: Path) -> None:
    kill, kafka = opened(tmp_path), Kafka()
    kill.set("person:ada", "smoke", None)
    kill.set("person:ada", "leak", ASSET)
    assert await kill.clear("person:bob", "safe", None) == [OTHER]
    await published(kill, kafka)
    assert set_of(kill) == [True, False]
    assert [one.asset for one in kafka.told if isinstance(one, KillSwitchCleared)] == [OTHER]


async def test_a_clear_that_cannot_be_saved_has_not_happened(tmp_path: Path) -> None:
    kill = opened(tmp_path / "gone")
    kill.set("person:ada", "smoke", ASSET)
    (tmp_path / "gone").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="exists"):
        await kill.save()
    assert kill.problem() is not None
    with pytest.raises(OSError, match="exists"):
        await kill.clear("person:bob", "safe", ASSET)
    kill._untold.clear()
    assert set_of(kill) == [True, False]


async def test_what_is_not_set_cannot_be_cleared_unless_the_log_has_it(tmp_path: Path) -> None:
    kill = opened(tmp_path)
    with pytest.raises(NotKilled):
        kill.check_set(ASSET, lambda _: False)
    kill.check_set(ASSET, lambda _: True)
    assert await kill.clear("person:bob", "safe", ASSET) == [ASSET]


async def test_a_switch_that_the_log_does_not_have_is_said_again(tmp_path: Path) -> None:
    clock, kafka, ledger = ManualClock(NOW), Kafka(), Ledger()
    kill = opened(tmp_path, clock)
    kill.set("person:ada", "smoke", ASSET)
    await published(kill, kafka, ledger)
    for one in (*promotion(), *kafka.told):
        ledger.fold(one)
    kill.remind(ledger)
    assert not kill._untold
    ledger.fold(KillSwitchCleared(**head("elsewhere"), by="person:bob", reason="another member's"))
    clock.advance(1.0)
    kill.remind(ledger)
    await published(kill, kafka, ledger)
    assert ledger.governance(ASSET).killed


# ---- the API


@dataclass
class Desk:
    """The API of a line with one station, and somebody of each role."""

    line: Line
    kill: KillSwitch
    audit: MemoryAudit
    client: httpx.AsyncClient

    async def post(self, path: str, who: str = "op", **body: Any) -> httpx.Response:
        return await self.client.post(path, json=body, headers={"Authorization": f"Bearer {who}-token"})


ROLES = {"view": "viewer", "op": "operator", "eng": "engineer"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    people = "".join(
        f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(f"{name}-token")}"\n'
        for name, role in ROLES.items()
    )
    (tmp_path / "people.toml").write_text(people)
    kill = KillSwitch.open(tmp_path / "kill.json", [ASSET], ManualClock(NOW))
    line = Line()
    line.vigil = Vigil(
        line.plc,
        {ASSET: LIMITS},
        line.admission.of,
        stops=kill,
        audit=line.audit,
        notices=line.notices,
        clock=line.clock,
        metrics=line.metrics,
    )
    await line.take()
    app = api(
        Access(tmp_path / "people.toml", None),
        LineLimits(assets={ASSET: LIMITS}),
        kill,
        line.vigil,
        line.audit,
        line.admission.of,
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://line") as client:
        yield Desk(line, kill, line.audit, client)


async def test_an_operator_stops_everything_at_once(desk: Desk) -> None:
    answer = await desk.post("/kill", reason="smoke")
    assert (answer.status_code, answer.json()) == (
        200,
        {"assets": [ASSET], "saved": True, "released": {ASSET: True}},
    )
    assert desk.line.plc.device.control_source == LOCAL
    (entry,) = desk.audit.of("set the kill switch")
    assert (entry["who"], entry["reason"], entry["asset"]) == ("person:op", "smoke", ASSET)
    await desk.line.take()
    assert desk.line.plc.device.control_source == LOCAL


async def test_stopping_needs_neither_the_audit_store_nor_the_disk_nor_the_device(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.audit.away = True
    desk.line.plc.faults.away = True

    async def full() -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(desk.kill, "save", full)
    answer = await desk.post("/kill", reason="smoke", asset=ASSET)
    assert answer.json() == {"assets": [ASSET], "saved": False, "released": {ASSET: False}}
    assert desk.kill.in_force(ASSET) is not None
    desk.line.plc.faults.away = False
    await desk.line.take()  # and it is asked again at the next beat
    assert desk.line.plc.device.control_source == LOCAL


async def test_an_engineer_clears_and_the_asset_is_in_shadow(desk: Desk) -> None:
    await desk.post("/kill", reason="smoke")
    answer = await desk.post("/kill/clear", "eng", reason="repaired")
    assert (answer.status_code, answer.json()) == (200, {"assets": [ASSET]})
    kafka = Kafka()
    await published(desk.kill, kafka, desk.line.ledger)
    assert desk.kill.in_force(ASSET) is None
    state = desk.line.ledger.governance(ASSET)
    assert (state.killed, state.actual, state.requested) == (False, Mode.SHADOW, Mode.AUTO)


async def test_what_cannot_be_written_down_is_not_cleared(desk: Desk) -> None:
    await desk.post("/kill", reason="smoke")
    desk.audit.away = True
    answer = await desk.post("/kill/clear", "eng", reason="repaired")
    assert answer.status_code == 503
    assert desk.kill.everything is not None


@pytest.mark.parametrize(
    ("path", "who", "body", "status"),
    [
        ("/kill", "view", {"reason": "smoke"}, 403),
        ("/kill", "nobody", {"reason": "smoke"}, 401),
        ("/kill", "op", {"reason": "  "}, 422),
        ("/kill", "op", {}, 422),
        ("/kill", "op", {"reason": "smoke", "assets": []}, 422),
        ("/kill", "op", {"reason": "smoke", "asset": "x"}, 404),
        ("/kill/clear", "op", {"reason": "safe"}, 403),
        ("/kill/clear", "eng", {"reason": "safe"}, 409),
        ("/kill/clear", "eng", {"reason": "safe", "asset": "x"}, 404),
    ],
)
async def test_others_and_other_requests_change_nothing(
    desk: Desk, path: str, who: str, body: dict[str, Any], status: int
) -> None:
    answer = await desk.post(path, who, **body)
    assert answer.status_code == status
    assert answer.json().keys() == {"problem"}
    assert desk.kill.in_force(ASSET) is None
    assert len(desk.audit.entries) == 1  # that control was taken


async def test_the_stations_are_shown_to_whoever_may_look(desk: Desk) -> None:
    url, token = "/stations", {"Authorization": "Bearer view-token"}
    assert (await desk.client.get(url)).status_code == 401
    seen = (await desk.client.get(url, headers=token)).json()
    (station,) = seen["stations"]
    assert seen["kill_switch"] is None
    assert (station["asset"], station["mode"], station["holds_control"]) == (ASSET, "auto", True)
    assert (station["control_source"], station["device"]["power_w"]) == ("Remote", 1000.0)
    await desk.post("/kill", reason="smoke")
    desk.line.plc.faults.away = True
    await desk.line.vigil.beat(ASSET)
    seen = (await desk.client.get(url, headers=token)).json()
    assert "smoke" in seen["kill_switch"]
    assert "smoke" in seen["stations"][0]["kill_switch"]
    assert seen["stations"][0]["device"] is None
