"""Kafka's settings: what fits together is one value, what does not is a sentence that says what to set."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from twinloop.runtime.credentials import AccessUnusable, secret_of
from twinloop.runtime.kafka.access import KafkaAccess, Mechanism, Security, client_of, program
from twinloop.runtime.kafka.settings import access_of
from twinloop.runtime.settings import ServiceSettings, load

SECRET = "canary-7f3a"
CA = """-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUXx8y
-----END CERTIFICATE-----
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(f"{SECRET}\n")
    (tmp_path / "no.pem").write_text(CA)
    return tmp_path


def variables(files: Path, **given: str) -> dict[str, str]:
    """`TWINLOOP_KAFKA_*`; `@name` is a file."""
    told = {f"TWINLOOP_KAFKA_{name}": value for name, value in given.items()}
    at = {name: str(files / value[1:]) if value.startswith("@") else value for name, value in told.items()}
    return {"TWINLOOP_KAFKA": "127.0.0.1:9092", **at}


SCRAM = {"SECURITY": "SASL_SSL", "SASL": "SCRAM-SHA-512", "USER": "line", "PASSWORD_FILE": "@password"}
OAUTH = {"SECURITY": "SASL_SSL", "SASL": "OAUTHBEARER"}


def test_without_more_it_is_plaintext(files: Path) -> None:
    assert access_of(variables(files)) == KafkaAccess("127.0.0.1:9092")
    assert client_of("127.0.0.1:9092") == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "PLAINTEXT",
        "client_id": program(),
    }
    assert access_of(variables(files, SASL="", USER="", CA_FILE="")) == KafkaAccess("127.0.0.1:9092")


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("twinloop.detector.__main__", "twinloop-detector"),
        ("twinloop.runtime.kafka.provision", "twinloop-runtime-kafka-provision"),
        (None, "twinloop"),
    ],
)
def test_brokers_are_told_what_runs(module: str | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = None if module is None else ModuleSpec(module, None)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    assert program() == told


def test_scram_takes_its_password_from_the_file_as_it_is_now(files: Path) -> None:
    access = access_of(variables(files, **SCRAM))
    assert (access.security, access.mechanism) == (Security.SASL_SSL, Mechanism.SCRAM_512)
    made = access.client()
    assert (made["sasl_plain_username"], made["sasl_plain_password"]) == ("line", SECRET)
    context = made["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    (files / "password").write_text("another")
    assert access.client()["sasl_plain_password"] == "another"
    assert SECRET not in repr(access) + str(access)


def test_tokens_are_shared_by_all_clients(files: Path) -> None:
    access = access_of(variables(files, **OAUTH, TOKEN_FILE="@password"))
    first, second = access.client(), access.client()
    assert first["sasl_oauth_token_provider"] is second["sasl_oauth_token_provider"] is not None
    assert "sasl_plain_password" not in first


WRONG: list[tuple[Mapping[str, str], tuple[str, ...]]] = [
    ({"SECURITY": "SASL_SSL"}, ("TWINLOOP_KAFKA_SASL must say how", "SCRAM-SHA-512")),
    ({"SASL": "PLAIN"}, ("TWINLOOP_KAFKA_SECURITY is PLAINTEXT: set that to SASL_SSL",)),
    ({"SECURITY": "SSL", "SASL": "PLAIN"}, ("TWINLOOP_KAFKA_SECURITY is SSL",)),
    ({"USER": "line", "PASSWORD_FILE": "@password"}, ("TWINLOOP_KAFKA_USER", "would not be used")),
    (
        {"SECURITY": "SASL_SSL", "SASL": "SCRAM-SHA-256"},
        ("set TWINLOOP_KAFKA_USER, too", "set TWINLOOP_KAFKA_PASSWORD_FILE, too"),
    ),
    ({**SCRAM, "TOKEN_FILE": "@password"}, ("TWINLOOP_KAFKA_TOKEN_FILE are for OAUTHBEARER",)),
    (OAUTH, ("set TWINLOOP_KAFKA_TOKEN_URL", "or TWINLOOP_KAFKA_TOKEN_FILE alone")),
    ({**OAUTH, "TOKEN_URL": "https://id.example/token"}, ("set TWINLOOP_KAFKA_CLIENT_ID",)),
    (
        {**OAUTH, "TOKEN_FILE": "@password", "TOKEN_URL": "https://id.example/token"},
        ("two sources of tokens",),
    ),
    (
        {
            **OAUTH,
            "TOKEN_URL": "http://id.example/token",
            "CLIENT_ID": "line",
            "CLIENT_SECRET_FILE": "@password",
        },
        ("must begin with https://",),
    ),
    ({**OAUTH, "TOKEN_FILE": "@password", "USER": "line"}, ("are for PLAIN and SCRAM",)),
    ({"CA_FILE": "@no.pem"}, ("TWINLOOP_KAFKA_CA_FILE would not be used", "set that to SSL or SASL_SSL")),
    ({"SECURITY": "SSL", "CERT_FILE": "@no.pem"}, ("set TWINLOOP_KAFKA_KEY_FILE, too",)),
    ({"SECURITY": "SSL", "KEY_FILE": "@no.pem"}, ("set TWINLOOP_KAFKA_CERT_FILE, too",)),
    ({"SECURITY": "SSL", "CA_FILE": "@away"}, ("TWINLOOP_KAFKA_CA_FILE: there is no file",)),
    ({"SECURITY": "SSL", "CA_FILE": "@no.pem"}, ("no.pem holds no certificates",)),
    ({"SECURITY": "SSL", "CERT_FILE": "@no.pem", "KEY_FILE": "@no.pem"}, ("no certificate and its key",)),
    ({**SCRAM, "PASSWORD_FILE": "@away"}, ("TWINLOOP_KAFKA_PASSWORD_FILE: there is no file",)),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[one[1][0] for one in WRONG])
def test_what_does_not_fit_together_is_a_sentence(
    files: Path,
    given: Mapping[str, str],
    said: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables(files, **given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        load(ServiceSettings)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    for words in said:
        assert words in printed
    assert SECRET not in printed
    with pytest.raises(ValidationError):
        access_of(variables(files, **given))


@pytest.mark.parametrize("sasl", ["PLAIN", "OAUTHBEARER", "SCRAM-SHA-512"])
def test_what_is_secret_goes_over_tls_or_stays_on_this_machine(files: Path, sasl: str) -> None:
    """SCRAM shows no password, only that one knows it."""
    of = {"TOKEN_FILE": "@password"} if sasl == "OAUTHBEARER" else {"USER": "a", "PASSWORD_FILE": "@password"}
    here = variables(files, SECURITY="SASL_PLAINTEXT", SASL=sasl, **of)
    for servers in ("127.0.0.1:9092", "localhost:9092, [::1]:9093"):
        assert access_of({**here, "TWINLOOP_KAFKA": servers}).security is Security.SASL_PLAINTEXT
    for servers in ("kafka:9092", "127.0.0.1:9092,kafka:9092"):
        if sasl == "SCRAM-SHA-512":
            access_of({**here, "TWINLOOP_KAFKA": servers})
        else:
            with pytest.raises(
                ValidationError, match="over the network in clear: set TWINLOOP_KAFKA_SECURITY"
            ):
                access_of({**here, "TWINLOOP_KAFKA": servers})


@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n"])
def test_a_secret_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text(text)
    with pytest.raises(AccessUnusable, match="one line"):
        secret_of(tmp_path / "secret")
    (tmp_path / "secret").write_bytes(b"\xff\xfe")
    with pytest.raises(AccessUnusable, match="no text"):
        secret_of(tmp_path / "secret")
