"""An MQTT broker: `mosquitto` where it is installed, else `amqtt` from PyPI. Loopback only, anonymous.

A secured one is `amqtt`: TLS, a password for ingest and for each plant, and a list of topics for each.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twinloop.local import probes
from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import INGEST, Secrets
from twinloop.local.parts import mqtt_secured
from twinloop.local.parts.base import Elsewhere, Part
from twinloop.local.ports import LOOPBACK, Ports
from twinloop.local.process import Command
from twinloop.runtime.mqtt import MqttAccess


class Mqtt(Part):
    name = "mqtt"

    def __init__(
        self, state: Path, environ: Mapping[str, str], ports: Ports, secrets: Secrets | None = None
    ) -> None:
        self._secrets = secrets
        self._folder = state / "mqtt"
        self._environ = environ
        # Debian installs daemons in a folder that is not on everyone's path.
        self._mosquitto = (
            None if secrets else shutil.which("mosquitto", path=f"{environ.get('PATH', '')}:/usr/sbin")
        )
        self._port = ports.reserve("TWINLOOP_MQTT_PORT")

    @property
    def where(self) -> str:
        return self._port.address

    def prepare(self) -> Sequence[Command]:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "mosquitto.conf").write_text(
            f"listener {self._port.number} {LOOPBACK}\nallow_anonymous true\npersistence false\n"
            "max_queued_messages 100000\nset_tcp_nodelay true\nlog_dest stdout\nlog_timestamp_format "
            "%Y-%m-%dT%H:%M:%S\n"
        )
        if self._secrets is not None:
            self._secure(self._secrets)
        return ()

    def _secure(self, secrets: Secrets) -> None:
        passwords = self._folder / "passwords"
        write(passwords, mqtt_secured.hashed_passwords(secrets), private=True)
        told = mqtt_secured.configuration(
            self._port.address,
            secrets.secure.plants,
            certificate=secrets.mqtt_certificate,
            key=secrets.mqtt_key,
            authorities=secrets.authorities,
            passwords=passwords,
        )
        write(self._configuration, told, private=True)

    @property
    def _configuration(self) -> Path:
        return self._folder / "amqtt.json"

    def command(self) -> Command:
        if self._mosquitto:
            return Command((self._mosquitto, "-c", str(self._folder / "mosquitto.conf")), self._environ)
        told = self._port.address if self._secrets is None else str(self._configuration)
        return Command((sys.executable, "-m", "twinloop.local.parts.amqtt_broker", told), self._environ)

    async def ready(self) -> bool:
        if self._secrets is not None:
            return await probes.mqtt_answers(self._secrets.mqtt_access(INGEST, self.where))
        return await probes.mqtt_answers(MqttAccess.at(self.where))


class MqttElsewhere(Elsewhere):
    """The broker at `TWINLOOP_MQTT`."""

    name = "mqtt"

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def where(self) -> str:
        return self._address

    async def ready(self) -> bool:
        return await probes.mqtt_answers(MqttAccess.at(self._address))
