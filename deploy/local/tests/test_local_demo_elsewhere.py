"""The demo on a stack that somebody else started."""

from __future__ import annotations

from pathlib import Path

import pytest

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
