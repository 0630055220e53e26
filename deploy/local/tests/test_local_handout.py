"""Each program is handed its keys, and no others."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509

from twinloop.local.keys.handout import HANDED, KAFKA, MQTT, PSEUDONYM_KEY, USERS, hand_out, main, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, into = tmp_path_factory.mktemp("keys"), tmp_path_factory.mktemp("handed")
    make(source)
    hand_out(source, into)
    return source, into


def test_everybody_has_what_is_theirs(made: tuple[Path, Path]) -> None:
    source, into = made
    for party, names in HANDED.items():
        for name in names:
            assert (into / party / name).exists()
    assert (into / "line/opcua/trusted-by-line/plc.cert.der").is_file()
    assert (into / "people/tokens/olga.token").read_text() == (source / "tokens/olga.token").read_text()


def test_no_private_key_is_handed_to_two(made: tuple[Path, Path]) -> None:
    _, into = made
    private = [*into.rglob("*.key.pem"), *into.rglob("*.key"), *into.rglob("*.token")]
    assert len(private) == len({one.name for one in private}) == 10
    for one in private:
        assert stat.S_IMODE(one.stat().st_mode) == 0o600


def test_what_was_handed_out_before_stays(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, into = made
    before = {one: one.read_bytes() for one in into.rglob("*") if one.is_file()}
    assert main(["--from", str(source), "--to", str(into)]) == 0
    assert {one: one.read_bytes() for one in into.rglob("*") if one.is_file()} == before
    assert len((source / PSEUDONYM_KEY).read_text().strip()) == 64


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--from", str(tmp_path / "keys"), "--to", str(tmp_path / "file")]) == 1
    assert "cannot be handed out" in capsys.readouterr().err


def test_each_user_of_kafka_has_his_own_password_and_no_other(tmp_path: Path) -> None:
    told = ["--from", str(tmp_path / "keys"), "--to", str(tmp_path / "handed")]
    told += ["--kafka", str(tmp_path / "kafka"), "--prefix", "acme."]
    assert main(told) == 0
    kafka = tmp_path / "kafka"
    passwords = {one: (kafka / one / "password").read_text().strip() for one in USERS}
    assert len(set(passwords.values())) == len(USERS)
    lines = dict(line.split() for line in (kafka / "broker/users").read_text().splitlines())
    assert {f"acme.{one}": password for one, password in passwords.items()}.items() <= lines.items()
    for one in kafka.iterdir():
        assert "PRIVATE" not in (one / "ca.pem").read_text()
        others = {"broker": {"broker.pem", "users"}, "admin": {"cert.pem", "key.pem"}}
        assert {file.name for file in one.iterdir()} == {"ca.pem"} | others.get(one.name, {"password"})
        for file in one.iterdir():
            secret = file.name not in ("ca.pem", "cert.pem")
            assert stat.S_IMODE(file.stat().st_mode) == (0o600 if secret else 0o644), file
    assert _hosts(tmp_path / "keys/kafka/broker.cert.pem") == {"localhost", KAFKA}
    assert (tmp_path / "handed/ingest" / PSEUDONYM_KEY).exists()
    before = {one: one.read_bytes() for one in kafka.rglob("*") if one.is_file()}
    assert main(told) == 0
    assert {one: one.read_bytes() for one in kafka.rglob("*") if one.is_file()} == before


def test_each_user_of_mqtt_has_his_own_password_and_the_broker_none(tmp_path: Path) -> None:
    told = ["--from", str(tmp_path / "keys"), "--to", str(tmp_path / "handed")]
    told += ["--mqtt", str(tmp_path / "mqtt")]
    assert main(told) == 0
    mqtt = tmp_path / "mqtt"
    assert {one.name for one in mqtt.iterdir()} == {"broker", "ingest", "plant"}
    passwords = {one: (mqtt / one / "password").read_text().strip() for one in ("ingest", "plant")}
    assert len(set(passwords.values())) == 2
    for one in passwords:
        assert {file.name for file in (mqtt / one).iterdir()} == {"ca.pem", "password"}
        assert stat.S_IMODE((mqtt / one / "password").stat().st_mode) == 0o600
    broker = {file.name: file.read_text() for file in (mqtt / "broker").iterdir()}
    assert not [text for text in broker.values() if any(one in text for one in passwords.values())]
    assert [line.split(":")[0] for line in broker["passwords"].splitlines()] == [*passwords]
    listener = json.loads(broker["amqtt.json"])["listeners"]["default"]
    for what in ("certfile", "keyfile", "cafile"):
        assert Path(listener[what]).parent == Path("/mqtt")
        assert Path(listener[what]).name in broker
    assert listener["ssl"] is True
    assert _hosts(mqtt / "broker/cert.pem") == {"localhost", MQTT}


def _hosts(certificate: Path) -> set[str]:
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))
