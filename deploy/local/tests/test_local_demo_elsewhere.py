"""The demo on a stack that somebody else started, and how it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from twinloop.local.demo import __main__ as demo
from twinloop.local.demo.play import PlayError
from twinloop.local.demo.stage import ASKED, Elsewhere
from twinloop.local.errors import CannotStart

NAMED = {
    "TWINLOOP_KAFKA": "kafka:9092",
    "TWINLOOP_TOPIC_PREFIX": "acme.",
    "TWINLOOP_HISTORIAN_FOLDER": "/parquet",
    **{f"TWINLOOP_{one.upper()}_URL": f"http://{one}:8080" for one in ASKED},
    "TWINLOOP_DETECTOR_VEHICLES_URL": "http://detector-vehicles:8080",
}


def test_it_is_named_as_a_local_one_names_itself(tmp_path: Path) -> None:
    (tmp_path / "certs/tokens").mkdir(parents=True)
    found = Elsewhere.of(tmp_path, NAMED)
    assert found.endpoints.kafka == "kafka:9092"
    assert found.endpoints.parquet == Path("/parquet")
    assert found.endpoints.health["detector-vehicles"] == "http://detector-vehicles:8080"
    assert found.endpoints.topic_prefix == "acme."
    assert found.state.logs.is_dir()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="TWINLOOP_TWIN_URL"):
        Elsewhere.of(tmp_path, {**NAMED, "TWINLOOP_TWIN_URL": ""})


def test_people_without_tokens(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="tokens is not there"):
        Elsewhere.of(tmp_path, NAMED)


async def closed(*_: object) -> bool:
    return True


async def not_closed(*_: object) -> bool:
    return False


async def not_played(*_: object) -> bool:
    raise PlayError("the stations do not weld")


@pytest.mark.parametrize(
    ("plays", "status", "told"),
    [(closed, 0, ""), (not_closed, 1, ""), (not_played, 1, "VERDICT: loop NOT closed: the stations do not")],
)
def test_a_script_can_tell_how_it_ended(
    plays: Callable[..., Awaitable[bool]],
    status: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "certs/tokens").mkdir(parents=True)
    for name, value in NAMED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["demo", "--elsewhere", "--state", str(tmp_path)])
    monkeypatch.setattr(demo, "played", plays)
    assert demo.main() == status
    assert told in capsys.readouterr().out
