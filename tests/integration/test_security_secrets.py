"""Secrets stay in their files: services that fail, and that succeed, tell nobody of them, also at DEBUG."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.processes import ServiceProcess
from support.secrets import secrets_of
from support.waiting import wait

from twinloop.contracts.rights import acls
from twinloop.ingest.settings import IngestSettings
from twinloop.local.keys.secured import Secure
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.acls import apply
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.settings import load

pytestmark = pytest.mark.timeout(240)

CANARY = "canary-b81f04d2"
CONFIG = Path(__file__).parents[2] / "deploy" / "local" / "config"
TOLD_S = 60.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("secured"), parts=("kafka", "mqtt"), secure=Secure())

    async def begin() -> None:
        await stack.__aenter__()
        await apply(stack.admin, acls())
        await provision(stack.kafka_as("provision"), "")

    with asyncio.Runner() as runner:
        try:
            runner.run(begin())
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


def service(secured: Stack, name: str, folder: Path, **over: str) -> ServiceProcess:
    """As its user, with its secrets in files, and all that it has to say."""
    assert secured.secrets is not None
    folder.mkdir(exist_ok=True)
    own = {
        "ingest": {
            **secured.secrets.mqtt_variables("ingest"),
            "TWINLOOP_MQTT": secured.endpoints.mqtt,
            "TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": str(secured.secrets.pseudonym_key),
        },
        "historian": {"TWINLOOP_HISTORIAN_FOLDER": str(folder / "parquet")},
        "controller": {
            "TWINLOOP_CONTROLLER_ASSETS": str(CONFIG / "controller.toml"),
            "TWINLOOP_CONTROLLER_DATA": str(folder / "table"),
            "TWINLOOP_CONTROLLER_AUDIT": str(folder / "audit"),
        },
    }[name]
    settings = {
        "TWINLOOP_KAFKA": secured.endpoints.kafka,
        "TWINLOOP_LOG_LEVEL": "DEBUG",
        **secured.secrets.kafka_variables(name),
        **own,
        **over,
    }
    return ServiceProcess(name, settings, folder / f"{name}.log")


def shown(process: ServiceProcess) -> str:
    """All that others can see of a running service."""
    assert process.process is not None
    about = Path("/proc") / str(process.process.pid)
    pages = [process.get(path) for path in ("/health/live", "/health/ready", "/metrics")]
    return "\n".join(
        [
            *(page.text for page in pages if page is not None),
            (about / "cmdline").read_bytes().decode(errors="replace"),
            (about / "environ").read_bytes().decode(errors="replace"),
            process.log.read_text(errors="replace"),
        ]
    )


def wait_for(process: ServiceProcess, word: str) -> None:
    def told() -> bool:
        assert process.running, process.log.read_text()
        return word in process.log.read_text(errors="replace")

    wait(told, TOLD_S, lambda: process.log.read_text()[-3000:])


def test_services_that_work_tell_no_secret(secured: Stack, tmp_path: Path) -> None:
    processes = [service(secured, name, tmp_path) for name in ("ingest", "historian", "controller")]
    try:
        for one in processes:
            one.start()
        wait(
            lambda: all(one.ready for one in processes),
            TOLD_S,
            lambda: "\n".join(one.log.read_text()[-2000:] for one in processes),
        )
        seen = {one.name: shown(one) for one in processes}
    finally:
        assert [one.stop() for one in processes] == [0] * len(processes)
    for name, text in seen.items():
        text += (tmp_path / f"{name}.log").read_text()
        assert [secret for secret in secrets_of(secured.state.certs) if secret in text] == [], name
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert [secret for secret in secrets_of(secured.state.certs) if secret in listed] == []


def test_services_that_are_refused_tell_no_secret(secured: Stack, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(f"{CANARY}\n")
    over = {"TWINLOOP_KAFKA_PASSWORD_FILE": str(wrong)}
    processes = [
        service(secured, "ingest", tmp_path, **over, TWINLOOP_MQTT_PASSWORD_FILE=str(wrong)),
        service(secured, "historian", tmp_path, **over, TWINLOOP_KAFKA_SASL="PLAIN"),
        service(secured, "controller", tmp_path, **over),
    ]
    try:
        for one in processes:
            one.start()
        for one in processes:
            wait_for(one, "Authentication")
        seen = {one.name: shown(one) for one in processes}
    finally:
        for one in processes:
            if one.running:
                one.stop()
    for name, text in seen.items():
        assert CANARY not in text + (tmp_path / f"{name}.log").read_text(), name


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"TWINLOOP_KAFKA_SASL": ""}, "TWINLOOP_KAFKA_SASL must say how"),
        ({"TWINLOOP_KAFKA_CERT_FILE": "@"}, "set TWINLOOP_KAFKA_KEY_FILE"),
        ({"TWINLOOP_KAFKA_CERT_FILE": "@", "TWINLOOP_KAFKA_KEY_FILE": "@"}, "no certificate and its key"),
        ({"TWINLOOP_MQTT_USER": ""}, "TWINLOOP_MQTT_PASSWORD_FILE is set: set TWINLOOP_MQTT_USER, too"),
        ({"TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": "@", "TWINLOOP_HEALTH_PORT": "x"}, "TWINLOOP_HEALTH_PORT"),
        ({"TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": "", "TWINLOOP_INGEST_PSEUDONYM_KEY": "canary-7"}, "16"),
    ],
)
def test_settings_that_are_refused_tell_no_secret(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    over: dict[str, str],
    said: str,
) -> None:
    canary = tmp_path / "canary"
    canary.write_text(f"{CANARY}\n")
    told = {
        "TWINLOOP_KAFKA": "127.0.0.1:1",
        "TWINLOOP_KAFKA_SECURITY": "SASL_SSL",
        "TWINLOOP_KAFKA_SASL": "PLAIN",
        "TWINLOOP_KAFKA_USER": "ingest",
        "TWINLOOP_KAFKA_PASSWORD_FILE": "@",
        "TWINLOOP_MQTT": "127.0.0.1:1",
        "TWINLOOP_MQTT_USER": "ingest",
        "TWINLOOP_MQTT_PASSWORD_FILE": "@",
        "TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": "@",
        **over,
    }
    for name, value in told.items():
        if value:
            monkeypatch.setenv(name, str(canary) if value == "@" else value)
    with pytest.raises(SystemExit) as caught:
        load(IngestSettings)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "canary-" not in printed.out + printed.err
