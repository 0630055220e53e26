"""What vehicles tell, on a terminal: the API that keeps to the controller's contract is asked over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from twinloop.cli import client
from twinloop.cli.__main__ import main

WELD1 = "acme.berlin.packs.line1.weld1"
FINDING = {
    "finding_id": "f",
    "station": WELD1,
    "found_at": "2026-06-01T00:00:00Z",
    "window_from": "2026-01-11T00:00:00Z",
    "window_to": "2026-01-15T08:00:00Z",
    "vehicles": 11,
    "built": 80,
    "expected": 0.4,
    "q": 0.0048,
    "p_fixed": 1e-9,
    "more": 16.2,
    "more_low": 9,
    "more_high": 25,
    "until_km": 4888.0,
    "evidence": 11,
    "remedies": ["inspect_station"],
    "limit_uohm": 49.5,
    "caught": 0.3,
    "change_id": "3f2a9c1e-0000-5000-8000-000000000001",
    "text": "A limit of 49.5 µΩ would have stopped 30% of them.\x1b[31m",
}
RECALL = {
    "station": WELD1,
    "start": "2026-01-11T00:00:00Z",
    "end": "2026-01-15T00:00:00Z",
    "vehicles": [{"vehicle": "ab" * 16, "part_ids": ["p-1", "p-2"], "cell_groups": [2, 3]}],
}


class Services:
    """The twin, which knows names, and the controller; `asked` are the requests that came."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.findings: list[dict[str, Any]] = [FINDING]

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.path == "/assets":
            return httpx.Response(200, json=[{"asset": WELD1, "shadow": None}])
        if request.headers["authorization"] == "Bearer vic" and request.url.path == "/recall":
            return httpx.Response(403, json={"problem": "it takes an operator"})
        if request.url.path == "/recall" and request.url.params["station"] != WELD1:
            return httpx.Response(404, json={"problem": f"they have of {WELD1}"})
        return httpx.Response(200, json=RECALL if request.url.path == "/recall" else self.findings)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    made = Services()
    real = httpx.Client

    def with_transport(**given: Any) -> httpx.Client:
        return real(transport=httpx.MockTransport(made.answer), **given)

    monkeypatch.setattr(client.httpx, "Client", with_transport)
    for service in ("TWIN", "CONTROLLER"):
        monkeypatch.setenv(f"TWINLOOP_{service}_URL", f"http://{service.lower()}")
    monkeypatch.setenv("TWINLOOP_TOKEN", "oli")
    return made


def test_findings_are_shown_with_their_figures(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["findings", "--station", "weld1"]) == 0
    told = capsys.readouterr().out
    assert f"{WELD1}, welded 2026-01-11 00:00 to 2026-01-15 08:00 UTC: 11 of 80 vehicles, q = 0.0048" in told
    assert "16 more expected (9 to 25)" in told
    assert "twinloop changes show 3f2a9c1e-0000-5000-8000-000000000001` for a gate of 49.5 µΩ" in told
    assert "\x1b" not in told
    last = services.asked[-1].url
    assert (last.host, dict(last.params)) == ("controller", {"station": WELD1, "limit": "50"})
    services.findings = []
    assert main(["findings"]) == 0
    assert "nothing about any station" in capsys.readouterr().out
    assert "station" not in services.asked[-1].url.params


def test_a_recall_lists_pseudonyms(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recall", "--station", "weld1", "--from", "2026-01-11", "--to", "2026-01-15T00:00:00+00:00"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert f"1 vehicles have joints that {WELD1} welded" in told
    assert "ab" * 16 in told
    assert "p-1, p-2" in told
    assert dict(services.asked[-1].url.params) == {
        "station": WELD1,
        "from": "2026-01-11T00:00:00+00:00",
        "to": "2026-01-15T00:00:00+00:00",
    }
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RECALL


def test_a_whole_name_needs_no_twin(services: Services, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recall", "--station", WELD1, "--from", "2026-01-11", "--to", "2026-01-15"]) == 0
    assert [one.url.host for one in services.asked] == ["controller"]
    assert capsys.readouterr().out


def test_who_may_not_is_told_so(
    services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWINLOOP_TOKEN", "vic")
    assert main(["recall", "--station", WELD1, "--from", "2026-01-11", "--to", "2026-01-15"]) == 1
    assert "it takes an operator" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["2026-01-11", "2026-01-10T23:59:59Z", "2026-01-11T01:00:00+02:00"])
def test_times_that_hold_nothing_between_them_are_not_asked_for(
    end: str, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recall", "--station", "weld1", "--from", "2026-01-11", "--to", end]) == 2
    said = capsys.readouterr()
    assert "--from must be before --to" in said.err
    assert not said.out
    assert not services.asked


def test_a_station_of_no_vehicle_is_told_with_those_that_are_known(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recall", "--station", WELD1 + "0", "--from", "2026-01-11", "--to", "2026-01-15"]) == 1
    said = capsys.readouterr()
    assert f"they have of {WELD1}." in said.err
    assert not said.out


@pytest.mark.parametrize("wrong", [["--from", "soon"], ["--from", "2026-01-11"], []])
def test_a_recall_needs_both_times(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recall", "--station", WELD1, *wrong])
    assert capsys.readouterr().err


@pytest.mark.parametrize("verb", [["findings"], ["recall", "--from", "2026-01-11", "--to", "2026-01-15"]])
def test_no_name_is_no_station(
    verb: list[str], services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*verb, "--station", " "])
    assert caught.value.code == 2
    assert "--station" in capsys.readouterr().err
    assert not services.asked
