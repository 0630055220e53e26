"""The terminal against a real server that keeps to the contract of the APIs of twin and line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Body, FastAPI, HTTPException
from fastapi.responses import JSONResponse, PlainTextResponse

from twinloop.cli.__main__ import main
from twinloop.trust.bearer import Access, guarded, protect
from twinloop.trust.people import Person, Role, require, token_sha256

WELD1, WELD2 = "acme.berlin.packs.line1.weld1", "acme.berlin.packs.line1.weld2"
FIRST, SECOND = "3f2a9c1e-0000-5000-8000-000000000001", "3f2b9c1e-0000-5000-8000-000000000002"

Operator = Annotated[Person, guarded(Role.OPERATOR)]
Engineer = Annotated[Person, guarded(Role.ENGINEER)]
Because = Annotated[dict[str, Any], Body()]


def change(change_id: str, asset: str, **other: Any) -> dict[str, Any]:
    """As the twin shows it."""
    return {
        "change_id": change_id,
        "asset": asset,
        "action": {"type": "set_parameter", "parameter": "laser_power_w", "value": 1030, "expected": 1000},
        "mode": "supervised",
        "rollback_of": None,
        "diagnosis": "dirty_window",
        "reason": "depth is 3.1 sigma low [bold]\x1b[31m",
        "expires_at": "2025-03-01T12:10:00Z",
        "state": "simulated",
        "states": [{"state": "proposed", "at": "2025-03-01T12:00:00Z"}],
        "do_nothing": {"expected_uohm": 54.1, "low_uohm": 52.0, "high_uohm": 56.2},
        "do_this": {"expected_uohm": 51.0, "low_uohm": 49.5, "high_uohm": 52.5},
        "waits_for": "a person: the mode is supervised",
        "endorsed": [],
        "decided_by": None,
        "decision": None,
        **other,
    }


@dataclass
class Plant:
    """Both services at one address, and what they were told."""

    url: str = ""
    said: list[tuple[str, str, Any]] = field(default_factory=list)
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=lambda: {WELD1: "shadow", WELD2: "supervised"})
    saved: bool = True
    """Whether the kill switch survives."""


def _reason(because: dict[str, Any]) -> str:
    if not str(because.get("reason", "")).strip():
        raise HTTPException(422, "reason: say why")
    return str(because["reason"])


def api_of(plant: Plant, people: Path) -> FastAPI:
    api = FastAPI()
    protect(api, Access(people, None))
    viewer = guarded(Role.VIEWER)

    def shadow(asset: str) -> dict[str, Any]:
        mode = plant.modes[asset]
        governed = {"requested": mode, "actual": mode, "killed": False, "manual": asset == WELD2, "why": "so"}
        return {"asset": asset, "model": "m", "shadow": {"asset": asset, "mode": governed}}

    def known(asset: str | None) -> None:
        if asset is not None and asset not in plant.modes:
            raise HTTPException(404, f"there is no asset {asset}")

    @api.get("/assets", dependencies=[viewer])
    async def assets() -> Any:
        return [shadow(one) for one in plant.modes] + [{"asset": "acme.other.weld9", "shadow": None}]

    @api.get("/assets/{asset}", dependencies=[viewer])
    async def one_asset(asset: str) -> Any:
        known(asset)
        return shadow(asset)

    @api.get("/changes", dependencies=[viewer])
    async def changes(asset: str | None = None, state: str | None = None, limit: int = 50) -> Any:
        found = [one for one in plant.changes.values() if asset in (None, one["asset"])]
        return [one for one in found if state in (None, one["state"])][:limit]

    @api.get("/changes/{change_id}", dependencies=[viewer])
    async def one_change(change_id: str) -> Any:
        if change_id not in plant.changes:
            raise HTTPException(404, f"there is no change {change_id}")
        return plant.changes[change_id]

    @api.post("/changes/{change_id}/{verb}")
    async def decide(change_id: str, verb: str, because: Because, person: Operator) -> Any:
        plant.said.append((person.who, f"{verb} {change_id}", _reason(because)))
        found = plant.changes[change_id]
        if found["state"] != "simulated":
            raise HTTPException(409, f"the change is {found['state']}, and not simulated")
        found |= {"state": {"approve": "approved", "veto": "rejected"}[verb], "waits_for": None}
        found |= {"decided_by": person.who, "decision": because["reason"]}
        return found

    @api.post("/assets/{asset}/mode")
    async def mode(asset: str, wanted: Because, person: Operator) -> Any:
        known(asset)
        if wanted["mode"] in ("auto", "supervised"):
            require(person, Role.ENGINEER)
        plant.said.append((person.who, f"mode {asset} {wanted['mode']}", _reason(wanted)))
        return {"asset": asset, "requested": wanted["mode"], "actual": plant.modes[asset]}

    @api.post("/assets/{asset}/hand-back")
    async def hand_back(asset: str, because: Because, person: Operator) -> Any:
        plant.said.append((person.who, f"hand-back {asset}", _reason(because)))
        return {"asset": asset, "actual": plant.modes[asset]}

    @api.get("/stations", dependencies=[viewer])
    async def stations() -> Any:
        device = {"power_w": 1000.0, "focus_mm": 0.5, "mode": "Execute", "high_alarm": True, "beat": 7}
        rows = [
            {"asset": WELD1, "mode": "shadow", "control_source": "Remote", "kill_switch": None},
            {"asset": WELD2, "mode": "shadow", "control_source": None, "kill_switch": "by person:oli"},
        ]
        return {
            "kill_switch": None,
            "stations": [{**rows[0], "device": device}, {**rows[1], "device": None, "manual": True}],
        }

    @api.post("/kill")
    async def kill(order: Because, person: Operator) -> Any:
        known(order.get("asset"))
        stopped = [order["asset"]] if "asset" in order else [*plant.modes]
        plant.said.append((person.who, f"kill {order.get('asset')}", _reason(order)))
        return {"assets": stopped, "saved": plant.saved, "released": {one: one == WELD1 for one in stopped}}

    @api.post("/kill/clear")
    async def clear(order: Because, person: Engineer) -> Any:
        plant.said.append((person.who, f"clear {order.get('asset')}", _reason(order)))
        return {"assets": [order["asset"]] if "asset" in order else []}

    return api


class Server(uvicorn.Server):
    def install_signal_handlers(self) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves an API until the test ends; returns its address."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(api: Any) -> str:
        server = Server(uvicorn.Config(api, port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive()
        return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith("TWINLOOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def plant(tmp_path: Path, serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch) -> Plant:
    people = tmp_path / "people.toml"
    people.write_text(
        "".join(
            f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
            for name, role in (("ada", "engineer"), ("oli", "operator"), ("vic", "viewer"))
        )
    )
    plant = Plant(
        changes={
            FIRST: change(FIRST, WELD1),
            SECOND: change(
                SECOND,
                WELD2,
                action={"type": "hold", "reason": "a gap"},
                state="approved",
                waits_for=None,
                do_nothing=None,
                do_this=None,
                decided_by="policy:reference",
                decision="stop",
            ),
        }
    )
    plant.url = serve(api_of(plant, people))
    monkeypatch.setenv("TWINLOOP_TWIN_URL", plant.url)
    monkeypatch.setenv("TWINLOOP_LINE_URL", plant.url)
    monkeypatch.setenv("TWINLOOP_TOKEN", "ada")
    return plant


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Says it to Twinloop, and returns what is answered: on standard output when all is well, else on the
    other; never on both."""

    def said(*words: str, status: int = 0) -> str:
        ended = main(words)
        told = capsys.readouterr()
        assert ended == status, told
        assert not (told.err if status == 0 else told.out), told
        return told.out if status == 0 else told.err

    return said


Say = Callable[..., str]


def test_changes_are_listed(plant: Plant, say: Say) -> None:
    told = say("changes", "list")
    assert [line.split()[0] for line in told.splitlines()] == ["id", "3f2a9c1e", "3f2b9c1e"]
    assert "laser_power_w 1000 → 1030 W" in told
    assert "hold: a gap" in told
    assert SECOND[:8] not in say("changes", "list", "--waiting")
    assert FIRST[:8] not in say("changes", "list", "--state", "approved")
    assert FIRST[:8] not in say("changes", "list", "--asset", "weld2")
    assert "no such changes" in say("changes", "list", "--state", "verified")


def test_a_change_is_shown_with_its_forecasts_beside_it(plant: Plant, say: Say) -> None:
    told = say("changes", "show", "3f2a")
    assert f"Change {FIRST} at {WELD1}: simulated" in told
    rows = {line[:10].strip(): line for line in told.splitlines()}
    assert "54.10 µΩ" in rows["do nothing"]
    assert "52.00 to 56.20 µΩ" in rows["do nothing"]
    assert "51.00 µΩ" in rows["do this"]
    assert "49.50 to 52.50 µΩ" in rows["do this"]
    assert "-3.10 µΩ" in rows["difference"]
    assert "decide before 2025-03-01 12:10:00.000+00:00" in told
    assert "policy:reference: stop" in say("changes", "show", SECOND)
    assert "no forecast" in say("changes", "show", SECOND)


def test_text_from_elsewhere_does_not_command_the_terminal(plant: Plant, say: Say) -> None:
    told = say("changes", "show", FIRST)
    assert "\x1b" not in told
    assert "3.1 sigma low [bold]\N{REPLACEMENT CHARACTER}[31m" in told


def test_persons_decide(plant: Plant, say: Say) -> None:
    assert f"{FIRST} is now approved" in say("changes", "approve", FIRST, "--reason", " seen the window ")
    assert plant.said == [("person:ada", f"approve {FIRST}", "seen the window")]
    told = say("changes", "veto", "3f2a", "--reason", "too late", status=1)
    assert told == "twinloop: the twin refuses: the change is approved, and not simulated.\n"
    plant.changes[FIRST] |= {"state": "simulated"}
    assert "is now rejected" in say("changes", "veto", "3f2a", "--reason", "no")


def test_a_change_is_named_by_as_much_of_its_id_as_tells_it(plant: Plant, say: Say) -> None:
    assert "2 changes begin with 3f2: give more" in say("changes", "show", "3f2", status=2)
    assert "No change begins with 9: see `twinloop changes list`" in say("changes", "show", "9", status=2)
    unknown = "9" * 36
    assert f"there is no change {unknown}" in say("changes", "show", unknown, status=1)


def test_modes_are_shown_and_asked_for(plant: Plant, say: Say) -> None:
    told = say("modes")
    assert [line.split()[0] for line in told.splitlines()] == ["asset", WELD1, WELD2, "acme.other.weld9"]
    assert "in hand" in told
    assert "another twin decides" in told
    assert WELD2 not in say("modes", "weld1")
    assert "supervised is requested, shadow was in force" in say(
        "mode", "weld1", "supervised", "--reason", "the shift is here"
    )
    assert "handed back" in say("hand-back", WELD2, "--reason", "done")
    assert plant.said == [
        ("person:ada", f"mode {WELD1} supervised", "the shift is here"),
        ("person:ada", f"hand-back {WELD2}", "done"),
    ]
    assert "There is no asset weld3: there are" in say("modes", "weld3", status=2)


def test_an_ambiguous_name_is_no_name(plant: Plant, say: Say) -> None:
    plant.modes["acme.berlin.packs.line2.weld1"] = "off"
    assert "could be" in say("modes", "weld1", status=2)
    assert WELD1 in say("modes", "line1.weld1")


def test_it_is_stopped_and_cleared(plant: Plant, say: Say) -> None:
    told = say("kill", "--reason", "smoke")
    assert f"Nothing is commanded any more at {WELD1}, {WELD2}." in told
    assert f"No device has confirmed yet that it has control at {WELD2}" in told
    plant.saved = False
    told = say("kill", "--asset", "weld1", "--reason", "smoke")
    assert "could not be saved" in told
    assert "confirmed" not in told
    assert "may be promoted again" in say("kill", "--clear", "--asset", WELD1, "--reason", "aired")
    assert "another kill switch is still set" in say("kill", "--clear", "--reason", "aired")
    assert [what for _, what, _ in plant.said] == [
        "kill None",
        f"kill {WELD1}",
        f"clear {WELD1}",
        "clear None",
    ]


def test_stations_are_shown(plant: Plant, say: Say) -> None:
    first, second = say("stations").splitlines()[1:]
    assert "Execute, 1000 W, 0.5 mm, high alarm" in first
    assert "by person:oli" in second
    assert "does not answer" in second
    assert "in hand" in second


@pytest.mark.parametrize(
    "words",
    [
        ("changes", "list"),
        ("changes", "show", FIRST),
        ("changes", "approve", FIRST, "--reason", "r"),
        ("modes",),
        ("modes", "weld1"),
        ("mode", "weld1", "off", "--reason", "r"),
        ("hand-back", "weld1", "--reason", "r"),
        ("kill", "--reason", "r"),
        ("stations",),
    ],
)
def test_scripts_are_given_json(plant: Plant, say: Say, words: tuple[str, ...]) -> None:
    assert json.loads(say(*words, "--json"))


def test_waiting_changes_are_given_to_scripts_too(plant: Plant, say: Say) -> None:
    assert [one["change_id"] for one in json.loads(say("changes", "list", "--waiting", "--json"))] == [FIRST]


def test_whose_role_does_not_reach_is_told(
    plant: Plant, say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TWINLOOP_TOKEN", "oli")
    told = say("mode", "weld1", "supervised", "--reason", "r", status=1)
    assert told == "twinloop: You may not do that: oli is operator, and this needs engineer.\n"
    monkeypatch.setenv("TWINLOOP_TOKEN", "somebody")
    told = say("modes", status=1)
    assert "does not know who you are" in told
    assert "set TWINLOOP_TOKEN or TWINLOOP_TOKEN_FILE" in told
    (tmp_path / "ada.token").write_text("ada\n")
    say("--token-file", str(tmp_path / "ada.token"), "modes")


def test_the_state_folder_of_a_stack_says_the_rest(
    plant: Plant, say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TWINLOOP_TWIN_URL", "TWINLOOP_LINE_URL", "TWINLOOP_TOKEN"):
        monkeypatch.delenv(name)
    told = say("modes", status=2)
    assert "set TWINLOOP_TWIN_URL" in told
    assert ".twinloop" in told
    token = tmp_path / "vic.token"
    token.write_text("vic")
    for folder in (tmp_path / ".twinloop", tmp_path / "other"):
        folder.mkdir()
        (folder / "endpoints.env").write_text(
            f"TWINLOOP_TWIN_URL={plant.url}\nTWINLOOP_LINE_URL={plant.url}/\nTWINLOOP_TOKEN_FILE={token}\n"
        )
    assert WELD1 in say("modes")
    assert WELD1 in say("--state", str(tmp_path / "other"), "stations")
    monkeypatch.setenv("TWINLOOP_STATE", str(tmp_path / "nowhere"))
    say("modes", status=2)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TWINLOOP_TWIN_URL", "127.0.0.1:80", "must begin with http://"),
        ("TWINLOOP_TWIN_URL", "http://127.0.0.1:1", "the twin does not answer at http://127.0.0.1:1"),
        ("TWINLOOP_TOKEN", "", "It is not known who you are"),
        ("TWINLOOP_TOKEN_FILE", "missing", "cannot be read from missing: No such file"),
        ("TWINLOOP_TOKEN_FILE", "two words", "holds no token"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(
    plant: Plant, say: Say, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    if variable == "TWINLOOP_TOKEN_FILE":
        monkeypatch.delenv("TWINLOOP_TOKEN")
    Path("two words").write_text("two words")
    monkeypatch.setenv(variable, value)
    told = say("modes", status=2)
    assert said in told
    assert told.count("\n") == 1


def test_another_server_is_not_taken_for_a_twin(
    plant: Plant, say: Say, serve: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        answers: dict[str, Any] = {
            "/assets": PlainTextResponse("welcome"),
            "/changes": JSONResponse([{"id": 1}]),
            "/stations": PlainTextResponse("broken", status_code=500),
        }
        answer = answers.get(scope["path"], PlainTextResponse("Not Found", status_code=404))
        await answer(scope, receive, send)

    url = serve(page)
    monkeypatch.setenv("TWINLOOP_TWIN_URL", url)
    monkeypatch.setenv("TWINLOOP_LINE_URL", url)
    assert "answers no JSON: is that its address?" in say("modes", status=2)
    assert "this version does not understand" in say("changes", "list", status=2)
    assert "line cannot do it now (500): look at its log." in say("stations", status=1)
    assert "is it the address of line?" in say("kill", "--reason", "r", status=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "required: VERB"),
        (("changes", "approve", FIRST), "required: --reason"),
        (("kill", "--reason", "  "), "invalid text value"),
        (("mode", "weld1", "manual", "--reason", "r"), "invalid choice: 'manual'"),
        (("changes", "list", "--limit", "0"), "invalid number from 1 to 1000"),
    ],
)
def test_what_cannot_be_said_ends_with_2(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_it_is_a_program(plant: Plant) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twinloop.cli", "modes"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert WELD1 in done.stdout
