"""`twinloop models ...` against modelops itself, over memory and a folder."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from support.artefacts import SIGNAL_SET, artefact_of
from support.modelops import Ops

from twinloop.cli import client, people
from twinloop.cli.__main__ import main
from twinloop.cli.client import Api
from twinloop.cli.models import _pack
from twinloop.modelops import desk
from twinloop.modelops.upload import files_of
from twinloop.tritonio.artefact import write

Say = Callable[..., str]


class Served(httpx.BaseTransport):
    """An API, asked without a network."""

    def __init__(self, api: FastAPI) -> None:
        self._api = api

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content = request.read()

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._api)) as asking:
                return await asking.request(
                    request.method, request.url, content=content, headers=request.headers
                )

        answer = asyncio.run(ask())
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def ops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ops:
    """`level:1` serves, `level:2` is there."""
    ops = Ops(tmp_path)

    async def two() -> None:
        await ops.two()
        await ops.look()
        await ops.look(11.0)

    asyncio.run(two())
    monkeypatch.setattr(desk, "_LOOK_S", 0.001)

    real, asked = httpx.Client, list[float]()

    def served(*, timeout: httpx.Timeout, **given: Any) -> httpx.Client:
        asked.append(timeout.read or 0)
        assert timeout.connect == min(15, asked[-1])
        return real(transport=Served(ops.api), timeout=timeout, **given)

    monkeypatch.setattr(client.httpx, "Client", served)
    monkeypatch.setattr(ops, "asked", asked, raising=False)
    monkeypatch.setenv("TWINLOOP_MODELOPS_URL", "http://modelops")
    monkeypatch.setenv("TWINLOOP_TOKEN", "dana")
    return ops


@pytest.fixture
def say(ops: Ops, capsys: pytest.CaptureFixture[str]) -> Say:
    def said(*words: str, status: int = 0) -> str:
        capsys.readouterr()  # what modelops logs
        ended = main(["models", *words])
        told = capsys.readouterr()
        out = "\n".join(line for line in told.out.splitlines() if not line.startswith("20"))
        assert ended == status, told
        return out if status == 0 else told.err

    return said


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "trained", artefact_of("level", 3.0))
    return tmp_path / "trained"


def test_a_model_comes_into_service_and_goes(say: Say, ops: Ops, folder: Path) -> None:
    because = ("--reason", "because")
    assert "level:3 has passed and serves nobody yet: `twinloop models shadow level:3`" in say(
        "stage", str(folder), *because
    )
    assert "level:3 is this model: nothing was to be done." in say("stage", str(folder), *because)
    told = say("shadow", "level:3", "--auto", "--more-alarms", "0.002", *because)
    assert f"{SIGNAL_SET}: level:1 serves, level:3 is on trial and decides for nobody." in told
    assert ops.route.trial is not None
    assert (ops.route.trial.auto, ops.route.trial.more_alarms) == (True, 0.002)
    told = say(
        "canary", "--scope", SIGNAL_SET, "--share", "0.25", "--asset", "x.a", "--asset", "x.b", *because
    )
    assert "decides for 25% of the assets, x.a, x.b." in told
    assert ops.route.trial.auto
    told = say("promote", *because)
    assert "level:3 serves, level:1 is ready to serve again." in told
    assert "level:1 serves." in say("rollback", SIGNAL_SET, *because)
    assert "level:3 serves" in say("promote", "level:3", *because)
    assert (ops.route.by, ops.route.reason) == ("person:dana", "because")
    asyncio.run(ops.look())
    asyncio.run(ops.look(11.0))
    assert "level:2 is unloaded" in say("retire", "level:2", *because)
    assert "level:2" not in say("list")


def test_an_asset_of_a_canary_may_be_named_by_the_last_part_of_its_name_and_must_be_there(
    say: Say, ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people, "twin", lambda places: Api("the twin", "http://twin", "dana", timeout_s=180))
    monkeypatch.setattr(people, "assets", lambda api: ["acme.line1.weld1", "acme.line1.weld2"])
    words = ("canary", "level:2", "--reason", "because", "--asset")
    assert "There is no asset weld9: there are acme.line1.weld1" in say(*words, "weld9", status=2)
    assert ops.route.trial is None
    assert "decides for acme.line1.weld2." in say(*words, "weld2")


def test_one_waits_for_a_load_as_long_as_it_may_take_and_no_longer_than_one_likes(
    say: Say, ops: Ops, folder: Path
) -> None:
    say("stage", str(folder), "--reason", "new")
    say("shadow", "level:3", "--reason", "try it", "--wait", "1800")
    say("rollback", SIGNAL_SET, "--reason", "back")
    say("list")
    assert ops.asked == [1200, 1800, 180, 180]  # type: ignore[attr-defined]


def test_one_that_has_no_verdict_yet_serves_only_if_that_is_said(say: Say, ops: Ops, tmp_path: Path) -> None:
    made = artefact_of("level", 4.0)
    quiet = dataclasses.replace(made, contract=msgspec.structs.replace(made.contract, quiet=391))
    write(tmp_path / "quiet", quiet)
    say("stage", str(tmp_path / "quiet"), "--reason", "new")
    because = ("--reason", "because")
    told = say("promote", "level:3", *because, status=1)
    assert "has no verdict before it has seen 391 windows of an asset, and has judged none on trial" in told
    assert "has no verdict" in say("canary", "level:3", "--share", "0.5", *because, status=1)
    assert "level:3 is on trial" in say("canary", "level:3", "--share", "0.5", "--cold", *because)
    assert "level:3 serves" in say("promote", "--scope", SIGNAL_SET, "--cold", *because)
    assert "level:1 serves" in say("rollback", SIGNAL_SET, *because)


def test_the_list_shows_routes_and_versions(say: Say, ops: Ops, folder: Path) -> None:
    say("stage", str(folder), "--reason", "new")
    say("shadow", "level:3", "--reason", "try it")
    ops.watch.sync()
    asyncio.run(ops.watch.judge())
    told = say("list")
    rows = {line.split()[0]: line for line in told.splitlines() if line.strip()}
    assert "nobody" in rows[SIGNAL_SET]
    assert "level:3 has 0 alarms" in " ".join(told.split())
    assert rows["level:1"].split()[1:4] == ["serving", SIGNAL_SET, "yes"]
    assert rows["level:2"].split()[1:3] == ["staged", "yes"]
    assert "F1 on a test 0.9 (0.85 to 0.95)" in " ".join(told.split())
    assert "There is no version" in say("list", "--model", "other")


def test_two_versions_are_shown_side_by_side(say: Say, folder: Path, tmp_path: Path) -> None:
    say("stage", str(folder), "--reason", "new")
    write(tmp_path / "other", artefact_of("level", 4.0))
    say("stage", str(tmp_path / "other"), "--reason", "new")
    told = say("diff", "level:3", "level:4")
    assert "digest" in told
    assert "Their cards say the same." in told
    assert "F1 on a test" in told
    golden = [line for line in told.splitlines() if line.startswith("level:")]
    assert [line.split()[:2] for line in golden] == [["level:3", "16"], ["level:4", "16"]]
    assert "Golden windows tell nothing of both: neither brought golden windows." in say(
        "diff", "level:1", "level:2"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("list",),
        ("shadow", "level:2", "--reason", "r"),
        ("diff", "level:1", "level:2"),
        ("promote", "level:2", "--reason", "r"),
    ],
)
def test_scripts_are_given_json(say: Say, words: tuple[str, ...]) -> None:
    assert json.loads(say(*words, "--json"))


def test_what_is_refused_is_told_in_one_sentence(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bad", artefact_of("level", 3.0, error=0.5))
    told = say("stage", str(tmp_path / "bad"), "--reason", "new", status=1)
    assert told.startswith("twinloop: modelops refuses: compare: it answers otherwise than the trainer's")
    assert "level:9" in say("shadow", "level:9", "--reason", "r", status=1)
    told = say("retire", "level:1", "--reason", "r", status=1)
    assert "level:1 serves level.v1" in told
    monkeypatch.setenv("TWINLOOP_TOKEN", "olaf")
    told = say("promote", "level:2", "--reason", "r", status=1)
    assert told == "twinloop: You may not do that: olaf is operator, and this needs data_scientist.\n"


def test_a_folder_that_holds_no_model_is_not_sent(say: Say, tmp_path: Path) -> None:
    told = say("stage", str(tmp_path), "--reason", "new", status=2)
    assert "holds no model that was trained: No such file" in told
    assert "it must have model.onnx, contract.json, card.json, golden.npz" in told


def test_without_a_version_the_only_one_on_trial_is_meant(say: Say) -> None:
    assert "no version is on trial: name the one that is meant" in say("promote", "--reason", "r", status=1)


@pytest.mark.parametrize(
    "wrong",
    [
        ("shadow", "level:2"),
        ("shadow", "level", "--reason", "r"),
        ("shadow", "--reason", "r"),
        ("canary", "level:2", "--share", "2", "--reason", "r"),
        ("rollback", "--reason", "r"),
        ("retire", "level:x", "--reason", "r"),
        ("diff", "level:1"),
        (),
    ],
)
def test_a_wrong_word_is_not_asked(wrong: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", *wrong])
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_an_artefact_is_packed_as_it_lies_there(folder: Path) -> None:
    made = files_of(_pack(folder))
    assert set(made) == {one.name for one in folder.iterdir()}
    for name, content in made.items():
        assert (folder / name).read_bytes() == content
