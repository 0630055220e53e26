"""An MQTT broker: `mosquitto` where it is installed, else `amqtt` from PyPI. Loopback only, anonymous."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twinloop.local import probes
from twinloop.local.parts.base import Elsewhere, Part
from twinloop.local.ports import LOOPBACK, Ports
from twinloop.local.process import Command


class Mqtt(Part):
    name = "mqtt"

    def __init__(self, state: Path, environ: Mapping[str, str], ports: Ports) -> None:
        self._folder = state / "mqtt"
        self._environ = environ
        # Debian installs daemons in a folder that is not on everyone's path.
        self._mosquitto = shutil.which("mosquitto", path=f"{environ.get('PATH', '')}:/usr/sbin")
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
        return ()

    def command(self) -> Command:
        if self._mosquitto:
            return Command((self._mosquitto, "-c", str(self._folder / "mosquitto.conf")), self._environ)
        return Command(
            (sys.executable, "-m", "twinloop.local.parts.amqtt_broker", self._port.address), self._environ
        )

    async def ready(self) -> bool:
        return await probes.mqtt_answers(self.where)


class MqttElsewhere(Elsewhere):
    """The broker at `TWINLOOP_MQTT`."""

    name = "mqtt"

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def where(self) -> str:
        return self._address

    async def ready(self) -> bool:
        return await probes.mqtt_answers(self._address)
