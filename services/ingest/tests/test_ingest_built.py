"""Vehicles that were built: under a pseudonym, checked, and the same event whenever they are sent."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path as File
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import DEAD_LETTERS, GENEALOGY
from twinloop.ingest import signal_sets
from twinloop.ingest.edge import main as edge
from twinloop.ingest.http import api
from twinloop.ingest.intake import MAX_RECORD_BYTES, Intake
from twinloop.ingest.metrics import Metrics
from twinloop.ingest.normalize import Ages
from twinloop.ingest.path import Path
from twinloop.ingest.pseudonyms import pseudonym
from twinloop.ingest.rebirths import Rebirths
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.trust.bearer import Access

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KEY = b"0123456789abcdef"
VIN = "WVWZZZ1JZXW000001"
OTHER = "1M8GDM9AXKP042788"

Vehicle = dict[str, Any]


def joint(group: int, **changed: Any) -> dict[str, Any]:
    return {
        "cell_group": group,
        "part_id": f"weld1-{group:012d}",
        "station": "acme.berlin.packs.line1.weld1",
        "sequence": group,
        "welded_at": (NOW - timedelta(days=200)).isoformat(),
        "recipe": "cu-al-tab-7",
        "resistance_uohm": 42.0,
        "baseline_uohm": -3.0,
        "baseline_se_uohm": 1.3,
    } | changed


def vehicle(*joints: dict[str, Any], **changed: Any) -> Vehicle:
    modules = [{"module_id": "m1", "joints": list(joints) or [joint(0), joint(1)]}]
    return {
        "vin": VIN,
        "built_at": (NOW - timedelta(days=199)).isoformat(),
        "packs": [{"pack_id": "p1", "modules": modules}],
    } | changed


class Scene:
    """The API over a publisher in memory."""

    def __init__(self, access: Access | None = None) -> None:
        clock = ManualClock(NOW)
        self.out = MemoryPublisher()
        self.registry = CollectorRegistry()
        path = Path(self.out, clock, Metrics(self.registry), asyncio.create_task)
        app = api(self.intake(), path, asyncio.Event(), timeout_s=5, max_bytes=1_000_000, access=access)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")

    @staticmethod
    def intake() -> Intake:
        return Intake(signal_sets.load(None), Ages(3600, 60), KEY, Rebirths(1.0))

    async def post(self, *vehicles: Vehicle) -> tuple[int, Any]:
        answer = await self.http.post("/genealogy/vehicles", content=json.dumps({"vehicles": vehicles}))
        return answer.status_code, answer.json()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    one = Scene()
    async with one.http:
        yield one


async def test_a_vehicle_is_known_by_its_pseudonym_from_here_on(scene: Scene) -> None:
    status, answer = await scene.post(vehicle())
    assert (status, answer["accepted"], answer["refused"]) == (202, 1, 0)
    [item] = answer["items"]
    [record] = scene.out.messages
    built = decode(GENEALOGY, record.value)
    assert item["vehicle"] == built.vehicle == pseudonym(VIN, KEY)
    assert item["event_id"] == built.event_id
    assert (record.topic, record.key) == (GENEALOGY, built.asset.encode())
    assert VIN.encode() not in record.value
    assert built.at == NOW
    assert built.observed_at == NOW - timedelta(days=199)
    assert [one.part_id for one in built.joints()] == ["weld1-000000000000", "weld1-000000000001"]
    assert scene.registry.get_sample_value(
        "twinloop_ingest_inputs_total", {"source": "vehicles", "fate": "vehicle_built"}
    )


async def test_sent_again_it_is_the_same_event_and_rebuilt_it_is_another(scene: Scene) -> None:
    again = vehicle(vin=VIN.lower())
    rebuilt = vehicle(built_at=(NOW - timedelta(days=100)).isoformat())
    ids = [(await scene.post(one))[1]["items"][0]["event_id"] for one in (vehicle(), again, rebuilt)]
    assert ids[0] == ids[1] != ids[2]


async def test_what_is_told_again_with_other_content_is_another_event(scene: Scene) -> None:
    first = vehicle(joint(0), joint(1))
    same = vehicle(
        joint(0), joint(1, welded_at=(NOW - timedelta(days=200)).isoformat().replace("+00:00", "Z"))
    )
    corrected = vehicle(joint(0), joint(1, station="acme.berlin.packs.line1.weld2"))
    ids = [(await scene.post(one))[1]["items"][0]["event_id"] for one in (first, same, corrected)]
    assert ids[0] == ids[1] != ids[2]


def edit(**changed: Any) -> Callable[[], Vehicle]:
    return lambda: vehicle(**changed)


def of_joint(**changed: Any) -> Callable[[], Vehicle]:
    return lambda: vehicle(joint(0), joint(1, **changed))


BAD: list[tuple[Callable[[], Vehicle], Reason, str]] = [
    (edit(vin="WVWZZZ1JZXW00000"), Reason.UNPROCESSABLE, "vin"),
    (edit(vin="WVWZZZ1JZXWO00001"), Reason.UNPROCESSABLE, "vin"),
    (edit(vin="WVW ZZZ 1JZ XW 000001"), Reason.UNPROCESSABLE, "vin"),
    (edit(VIN=OTHER), Reason.UNDECODABLE, "VIN"),
    (edit(WVWZZZ1JZXWO00001="red"), Reason.UNDECODABLE, "an unknown field"),
    (edit(vin=17), Reason.UNDECODABLE, "$.vin"),
    (edit(built_at=(NOW + timedelta(hours=1)).isoformat()), Reason.IN_FUTURE, "built_at"),
    (edit(built_at="2029-01-01T00:00:00"), Reason.UNDECODABLE, "$.built_at"),
    (edit(packs=[]), Reason.UNDECODABLE, "$.packs"),
    (edit(colour="red"), Reason.UNDECODABLE, "colour"),
    (of_joint(cell_group=0), Reason.UNPROCESSABLE, "cell_group: 0 is there 2 times"),
    (of_joint(part_id="weld1-000000000000"), Reason.UNPROCESSABLE, "part_id"),
    (of_joint(part_id=OTHER), Reason.VIN_IN_CLEAR, "part_id"),
    (of_joint(recipe=OTHER), Reason.VIN_IN_CLEAR, "recipe"),
    (of_joint(part_id=f"pack.{VIN}"), Reason.VIN_IN_CLEAR, "part_id"),
    (of_joint(station=f"acme.{OTHER}.weld1"), Reason.VIN_IN_CLEAR, "station"),
    (of_joint(recipe="WVWZZZ1JZXWO00001"), Reason.VIN_IN_CLEAR, "recipe"),
    (of_joint(part_id="tab\x07"), Reason.UNPROCESSABLE, "part_id: a character that cannot be printed"),
    (of_joint(recipe="W\u200bVWZZZ"), Reason.UNPROCESSABLE, "recipe: a character that cannot be printed"),
    (of_joint(station="weld 1"), Reason.UNPROCESSABLE, "station"),
    (of_joint(welded_at=NOW.isoformat()), Reason.UNPROCESSABLE, "welded_at"),
    (of_joint(welded_at="1969-01-01T00:00:00Z"), Reason.TOO_OLD, "welded_at"),
    (of_joint(resistance_uohm=0), Reason.UNDECODABLE, "resistance_uohm"),
    (of_joint(baseline_se_uohm=-1), Reason.UNDECODABLE, "baseline_se_uohm"),
    (of_joint(sequence="17"), Reason.UNDECODABLE, "sequence"),
]


@pytest.mark.parametrize(("make", "reason", "said"), BAD)
async def test_what_is_wrong_is_said_and_kept_without_its_vin(
    make: Callable[[], Vehicle], reason: Reason, said: str, scene: Scene
) -> None:
    sent = make()
    status, answer = await scene.post(sent)
    assert status == 422
    [item] = answer["items"]
    assert (item["outcome"], item["reason"]) == ("refused", reason)
    assert said in item["detail"]
    [record] = scene.out.messages
    letter = decode(DEAD_LETTERS, record.value)
    assert (letter.reason, letter.source) == (reason, "http/vehicles")
    for vin in (VIN, OTHER, "WVWZZZ1JZXWO00001", str(sent["vin"])):
        assert vin not in (letter.payload + record.value).decode()
        assert vin not in json.dumps(answer) + letter.detail


async def test_a_bad_one_does_not_hold_up_the_others(scene: Scene) -> None:
    status, answer = await scene.post(vehicle(vin="short"), vehicle(), vehicle(vin=OTHER))
    assert (status, answer["accepted"], answer["refused"]) == (202, 2, 1)
    topics = [record.topic.name for record in scene.out.messages]
    assert topics == ["dead-letters", "genealogy", "genealogy"]


async def test_of_a_refused_vehicle_is_kept_what_helps_to_mend_its_sender(scene: Scene) -> None:
    await scene.post(vehicle(joint(0, colour=[1, 2]), vin=VIN, Note=OTHER, built_at="soon"))
    [record] = scene.out.messages
    letter = decode(DEAD_LETTERS, record.value)
    kept = json.loads(letter.payload)
    assert kept["packs"][0]["modules"][0]["joints"] == [joint(0, colour="(2 entries)")]
    assert (kept["vin"], kept["Note"]) == (pseudonym(VIN, KEY), "(17 characters)")
    assert kept["built_at"] == "(4 characters)"


@pytest.mark.parametrize(
    ("junk", "kept"),
    [
        (b"", b""),
        (b"[]", b"[]"),
        (b'{"vehicles": []}', b'{"vehicles":[]}'),
        (b'{"frames": [{}]}', b'{"frames":"(1 entries)"}'),
        (json.dumps(vehicle()).encode()[:-1], b""),
        (b"[" * 5000 + b"]" * 5000, b""),
    ],
    ids=["nothing", "list", "none", "frames", "cut off", "deep"],
)
async def test_what_is_no_batch_is_kept_as_far_as_it_is_json(junk: bytes, kept: bytes, scene: Scene) -> None:
    answer = await scene.http.post("/genealogy/vehicles", content=junk)
    assert answer.status_code == 400
    [record] = scene.out.messages
    letter = decode(DEAD_LETTERS, record.value)
    assert (letter.source, letter.payload) == ("http/vehicles", kept)
    assert ("nothing of it is kept" in letter.detail) == (bool(junk) and not kept)


async def test_inputs_of_which_nothing_is_kept_have_letters_of_their_own(scene: Scene) -> None:
    await scene.post(vehicle(vin="WVWZZZ1JZXWO00001"), vehicle(vin="WVWZZZ1JZXWO00002"))
    letters = [decode(DEAD_LETTERS, one.value) for one in scene.out.messages]
    assert letters[0].payload == letters[1].payload
    assert letters[0].event_id != letters[1].event_id


# ---- no request ends the service


def large(text: str) -> Vehicle:
    """As many joints as allowed, each in a module of its own, with names of `text` as long as allowed."""
    modules = [
        {
            "module_id": f"{at:04d}" + 252 * text,
            "joints": [joint(at, part_id=f"{at:04d}" + 252 * text, recipe=256 * text, station="s" * 256)],
        }
        for at in range(2048)
    ]
    packs = [{"pack_id": f"p{at}", "modules": modules[at : at + 256]} for at in range(0, 2048, 256)]
    return vehicle(packs=packs)


@pytest.mark.parametrize(
    ("text", "said"),
    [("x", None), ("\U0001f697", "a record of"), ("\x01", "a character that cannot be printed")],
)
def test_a_vehicle_too_large_for_kafka_is_refused_by_itself(text: str, said: str | None) -> None:
    outcome = Scene.intake().built(msgspec.json.encode(large(text)), NOW)
    [record] = outcome.messages
    assert len(record.value) <= MAX_RECORD_BYTES
    if said is None:
        assert outcome.refused is None
    else:
        assert outcome.refused is not None
        assert outcome.refused.reason is Reason.UNPROCESSABLE
        assert said in outcome.refused.detail


async def test_what_is_said_of_a_long_name_is_short(scene: Scene) -> None:
    status, answer = await scene.post(vehicle(**{"x" * 900_000: 1}))
    assert status == 422
    told = json.dumps(answer)
    assert len(told) < 3000
    assert len(scene.out.messages[0].value) < 10_000


async def test_the_documentation_shows_what_is_asked_for(scene: Scene) -> None:
    paths = (await scene.http.get("/openapi.json")).json()["paths"]
    content = paths["/genealogy/vehicles"]["post"]["requestBody"]["content"]["application/json"]
    assert set(content["schema"]["properties"]["vehicles"]["items"]["required"]) == {
        "vin",
        "built_at",
        "packs",
    }


# ---- the way back, at the edge


def resolve(tmp_path: File, *vins: str, recall: str | None = None) -> int:
    (tmp_path / "vins").write_text("\n".join(vins) + "\n")
    arguments = ["resolve", "--vins", str(tmp_path / "vins")]
    if recall is not None:
        (tmp_path / "recall").write_text(recall)
        arguments += ["--recall", str(tmp_path / "recall")]
    return edge(arguments)


def test_the_edge_finds_its_vins_on_a_recall_list(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", KEY.decode())
    mine = pseudonym(VIN, KEY)
    assert resolve(tmp_path, VIN, OTHER, recall=f"recall:\n  vehicle.{mine}  3 joints\n") == 0
    assert capsys.readouterr().out == f"{VIN} {mine}\n"
    assert resolve(tmp_path, OTHER, recall=mine) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "1 pseudonyms belong to none" in captured.err
    assert resolve(tmp_path, VIN, OTHER) == 0
    assert capsys.readouterr().out == f"{OTHER} {pseudonym(OTHER, KEY)}\n{VIN} {mine}\n"


@pytest.mark.parametrize(("key", "vin"), [("", VIN), ("short", VIN), (KEY.decode(), "no vin")])
def test_the_edge_refuses_what_is_wrong(
    key: str, vin: str, tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", key)
    with pytest.raises(SystemExit) as caught:
        resolve(tmp_path, vin)
    assert caught.value.code == 2


def test_a_pseudonym_in_capitals_is_found(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", KEY.decode())
    mine = pseudonym(VIN, KEY)
    assert resolve(tmp_path, VIN, recall=mine.upper()) == 0
    assert capsys.readouterr().out == f"{VIN} {mine}\n"


@pytest.mark.parametrize(
    ("vins", "recall"),
    [
        ((VIN,), ""),
        ((VIN,), "the controller cannot do it now (503): no field work"),
        ((VIN,), '{"vehicles": []}'),
        ((VIN,), VIN + " " + "f" * 33),
        ((), "f" * 32),
        ((), None),
    ],
)
def test_the_edge_says_so_when_a_list_names_nobody(
    vins: tuple[str, ...],
    recall: str | None,
    tmp_path: File,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", KEY.decode())
    with pytest.raises(SystemExit) as caught:
        resolve(tmp_path, *vins, recall=recall)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no " in said.err
    assert VIN not in said.err


def test_one_input_cannot_be_both_lists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", KEY.decode())
    monkeypatch.setattr("sys.stdin", io.StringIO(VIN))
    with pytest.raises(SystemExit) as caught:
        edge(["resolve", "--vins", "-", "--recall", "-"])
    assert caught.value.code == 2
    assert "both" in capsys.readouterr().err


def test_a_vin_in_place_of_a_file_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_INGEST_PSEUDONYM_KEY", KEY.decode())
    with pytest.raises(SystemExit) as caught:
        edge(["resolve", "--vins", VIN])
    assert caught.value.code == 2
    assert VIN not in capsys.readouterr().err
