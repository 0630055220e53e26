"""MQTT's settings: a password goes over TLS or stays on this machine, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.mqtt import MqttAccess, MqttSettings


class Settings(MqttSettings):
    model_config = SettingsConfigDict(frozen=True, extra="ignore")


def settings(
    patch: pytest.MonkeyPatch, folder: Path, address: str = "127.0.0.1:1883", **given: str
) -> Settings:
    (folder / "word").write_text("canary\n")
    patch.setenv("TWINLOOP_MQTT", address)
    for name, value in given.items():
        patch.setenv(f"TWINLOOP_MQTT_{name}", str(folder / value[1:]) if value.startswith("@") else value)
    return Settings()


USER = {"USER": "plant", "PASSWORD_FILE": "@word"}


def test_without_more_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    access = settings(monkeypatch, tmp_path, USER="", PASSWORD_FILE="", CA_FILE="").mqtt_access
    assert access == MqttAccess.at("127.0.0.1:1883")
    assert access.client() == {
        "hostname": "127.0.0.1",
        "port": 1883,
        "username": None,
        "password": None,
        "tls_context": None,
    }


def test_the_password_is_that_of_the_file_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    access = settings(monkeypatch, tmp_path, **USER).mqtt_access
    assert access.client()["password"] == "canary"
    (tmp_path / "word").write_text("another")
    assert access.client()["password"] == "another"
    assert "another" not in repr(access)


@pytest.mark.parametrize(
    ("address", "given", "said"),
    [
        ("127.0.0.1:1883", {"USER": "plant"}, "set TWINLOOP_MQTT_PASSWORD_FILE, too"),
        ("127.0.0.1:1883", {"PASSWORD_FILE": "@word"}, "set TWINLOOP_MQTT_USER, too"),
        ("broker:1883", USER, "would go over the network in clear: set TWINLOOP_MQTT_CA_FILE"),
        (
            "127.0.0.1:1883",
            {**USER, "PASSWORD_FILE": "@away"},
            "TWINLOOP_MQTT_PASSWORD_FILE: there is no file",
        ),
        ("broker:1883", {"CA_FILE": "@word"}, "word holds no certificates"),
        ("broker:1883", {"CA_FILE": "@word", "CERT_FILE": "@word"}, "set TWINLOOP_MQTT_KEY_FILE, too"),
        ("broker:1883", {"CERT_FILE": "@word", "KEY_FILE": "@word"}, "set TWINLOOP_MQTT_CA_FILE"),
        ("one:1,two:2", {}, "it must name one broker"),
    ],
)
def test_what_does_not_fit_together_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, given: dict[str, str], said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(monkeypatch, tmp_path, address, **given)
    assert said in str(caught.value)
