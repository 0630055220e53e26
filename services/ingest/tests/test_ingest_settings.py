"""By which names ingest is known to a broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinloop.ingest.settings import IngestSettings
from twinloop.runtime.settings import load


def environment(patch: pytest.MonkeyPatch, **values: str) -> None:
    good = {
        "TWINLOOP_KAFKA": "127.0.0.1:9092",
        "TWINLOOP_MQTT": "127.0.0.1:1883",
        "TWINLOOP_INGEST_PSEUDONYM_KEY": "0123456789abcdef",
    }
    for name, value in {**good, **values}.items():
        patch.setenv(name, value)


def test_two_sites_on_one_broker_are_two_clients_and_two_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    environment(monkeypatch, TWINLOOP_TOPIC_PREFIX="berlin.")
    broker = load(IngestSettings).broker
    assert (broker.client_id, broker.host_id) == ("berlin.twinloop-ingest", "berlin.twinloop")


@pytest.mark.parametrize("wrong", ["", "a/b", "+", "#", "x" * 65])
def test_what_cannot_be_a_part_of_a_topic_is_no_host(
    wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, TWINLOOP_INGEST_HOST_ID=wrong)
    with pytest.raises(SystemExit):
        load(IngestSettings)
    assert "TWINLOOP_INGEST_HOST_ID" in capsys.readouterr().err


def test_the_key_of_pseudonyms_may_lie_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("of-a-file-of-ours\n")
    environment(monkeypatch, TWINLOOP_INGEST_PSEUDONYM_KEY_FILE=str(tmp_path / "key"))
    monkeypatch.delenv("TWINLOOP_INGEST_PSEUDONYM_KEY")
    assert load(IngestSettings).key() == b"of-a-file-of-ours"


def test_a_file_that_is_not_there_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment(monkeypatch, TWINLOOP_INGEST_PSEUDONYM_KEY_FILE="/nowhere/key")
    monkeypatch.delenv("TWINLOOP_INGEST_PSEUDONYM_KEY")
    with pytest.raises(SystemExit):
        load(IngestSettings)
    assert "TWINLOOP_INGEST_PSEUDONYM_KEY_FILE: /nowhere/key cannot be read" in capsys.readouterr().err
