"""`twinloop models watch` says what a trial shows, and its status what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from twinloop.cli import client, watch
from twinloop.cli.__main__ import main

SCOPE = "weld.v1"
Play = Callable[..., tuple[int, str, str]]


def trial(windows: int, finding: str | None = "goes_on", **other: object) -> dict[str, Any]:
    why = None if finding is None else f"weld:2 has 0 alarms in {windows} windows"
    return {"version": "weld:2", "finding": finding, "why": why, **other}


def route(on_trial: dict[str, Any] | None, scope: str = SCOPE, **other: object) -> dict[str, Any]:
    given = {"scope": scope, "serving": "weld:1", "by": "person:dana", "reason": "because"}
    return {**given, "trial": on_trial, **other}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Play:
    """Modelops answers these routes, one after the other, and time passes when it is waited."""

    def played(*answers: list[dict[str, Any]], words: tuple[str, ...] = ()) -> tuple[int, str, str]:
        at = 0

        def answer(request: httpx.Request) -> httpx.Response:
            assert (request.method, request.url.path) == ("GET", "/models")
            return httpx.Response(200, json={"routes": answers[at], "versions": []})

        def passes(_: float) -> None:
            nonlocal at
            at += 1

        real = httpx.Client
        monkeypatch.setattr(
            client.httpx,
            "Client",
            lambda **given: real(transport=httpx.MockTransport(answer), base_url=given["base_url"]),
        )
        monkeypatch.setattr(watch.time, "sleep", passes)
        monkeypatch.setenv("TWINLOOP_MODELOPS_URL", "http://modelops")
        monkeypatch.setenv("TWINLOOP_TOKEN", "dana")
        status = main(["models", "watch", *words])
        monkeypatch.setattr(client.httpx, "Client", real)
        told = capsys.readouterr()
        return status, told.out, told.err

    return played


def test_it_waits_until_a_person_may_decide_and_says_what_is_new(play: Play) -> None:
    shown = [trial(0, None), trial(40), trial(40), trial(468, "may_pass")]
    status, out, _ = play(*([route(one)] for one in shown))
    assert status == 0
    assert out.splitlines() == [
        "weld:2 has shown nothing yet.",
        "weld:2 has 0 alarms in 40 windows.",
        "weld:2 has 0 alarms in 468 windows.",
        "`twinloop models promote --scope weld.v1` lets weld:2 serve.",
    ]


def test_of_one_that_promotes_itself_it_sees_the_end(play: Play) -> None:
    over = route(None, serving="weld:2", previous="weld:1", by="modelops", reason="within its 1 %")
    status, out, _ = play([route(trial(468, "may_pass", auto=True))], [over])
    assert status == 0
    assert out.splitlines()[-1] == (
        "weld.v1: weld:2 serves, weld:1 is ready to serve again. modelops says: within its 1 %."
    )


@pytest.mark.parametrize("then", [None, {"version": "weld:3"}])
def test_a_trial_that_was_ended_otherwise_is_a_failure(play: Play, then: dict[str, Any] | None) -> None:
    over = route(then, by="modelops", reason="weld:2 has 7 alarms in 7 windows")
    status, out, _ = play([route(trial(3))], [over])
    assert status == 1
    assert "modelops says: weld:2 has 7 alarms in 7 windows." in out


def test_a_script_is_given_the_route_alone(play: Play) -> None:
    status, out, _ = play([route(trial(3))], [route(trial(468, "may_pass"))], words=("--json",))
    assert status == 0
    assert json.loads(out) == route(trial(468, "may_pass"))


def test_which_trial_is_meant_must_be_plain(play: Play) -> None:
    status, _, err = play([route(None)])
    assert (status, "No version is on trial: `twinloop models shadow`" in err) == (1, True)
    two = [route(trial(1, "may_pass")), route(trial(1), "weld9")]
    status, _, err = play(two)
    assert (status, "There are trials for weld.v1, weld9: name one" in err) == (2, True)
    assert play(two, words=(SCOPE,))[0] == 0
    status, _, err = play(two, words=("other.v1",))
    assert (status, "No version is on trial for other.v1" in err) == (1, True)
