"""A line as a process between a real broker and a secured PLC, and the people and services around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from support.http import asking
from support.line import ASSET, approved, envelope, promotion, proposal, simulated
from support.processes import ServiceProcess
from support.topics import events
from support.waiting import TIMEOUT_S, until
from twinloop.contracts.changes import Proposed
from twinloop.contracts.codec import message
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES, Topic
from twinloop.local.places import find_places
from twinloop.runtime.kafka.clients import KafkaPublisher
from twinloop.simulator.opcua import PlcServer
from twinloop.simulator.plant import Plant
from twinloop.simulator.plc_state import ControlSource
from twinloop.trust.keys import Signer


def new_line(kafka: str, topic_prefix: str, folder: Path, certs: Path, name: str = "line") -> ServiceProcess:
    """`python -m twinloop.line`, secured; its audit store and kill switch are in `folder`."""
    own = certs / "opcua"
    return ServiceProcess(
        "line",
        {
            "TWINLOOP_KAFKA": kafka,
            "TWINLOOP_TOPIC_PREFIX": topic_prefix,
            "TWINLOOP_LINE_ASSETS": str(find_places().config / "line.toml"),
            "TWINLOOP_LINE_SESSION_TIMEOUT_S": "6",
            "TWINLOOP_LINE_OPCUA_CERTIFICATE": str(own / "line.cert.der"),
            "TWINLOOP_LINE_OPCUA_KEY": str(own / "line.key.pem"),
            "TWINLOOP_LINE_OPCUA_TRUSTED": str(own / "trusted-by-line"),
            "TWINLOOP_LINE_APPROVERS": str(certs / "signing" / "trusted"),
            "TWINLOOP_LINE_AUDIT": str(folder / f"{name}-audit"),
            "TWINLOOP_ACCESS_PEOPLE": str(certs / "people.toml"),
        },
        folder / f"{name}.log",
    )


def bearer(certs: Path, name: str) -> dict[str, str]:
    """The header of a person of the local stack: vera views, olga operates, enzo engineers, dana makes
    models."""
    token = (certs / "tokens" / f"{name}.token").read_text().strip()
    return {"Authorization": f"Bearer {token}"}


async def kill(client: httpx.AsyncClient, line: ServiceProcess, certs: Path, **body: Any) -> httpx.Response:
    """An operator sets the kill switch."""
    return await client.post(f"{line.url}/kill", json=body, headers=bearer(certs, "olga"))


@dataclass
class Scene:
    """A line, its PLC, and the log of changes."""

    kafka: str
    prefix: str
    line: ServiceProcess
    certs: Path
    endpoint: str
    plant: Plant
    server: PlcServer
    stop_server: Callable[[], Awaitable[None]]
    out: KafkaPublisher
    sequence: int = 0
    promotions: int = 0
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Signer.load(self.certs / "signing" / "twin.key.pem")

    async def ready(self) -> bool:
        return self.line.ready

    async def publish(self, *events: Any) -> None:
        await self.out.publish([message(CHANGES, one, source="test") for one in events])

    async def promote(self, mode: Mode = Mode.AUTO) -> None:
        """A person asks, the controller lets in; until the line, which sees the device, has control."""

        async def seen() -> bool:
            return self.line.ready and (await self.station())["device"] is not None

        async def held() -> bool:
            return self.remote and bool((await self.station())["holds_control"])

        await until(seen)
        self.promotions += 1
        now = datetime.now(UTC)
        await self.publish(*promotion(mode, name=f"promotion-{self.promotions}", at=now))
        await until(held)

    @property
    def remote(self) -> bool:
        return self.plant.plc("weld1").control is ControlSource.REMOTE

    async def start(self) -> None:
        """A line in AUTO that has control."""
        self.line.start()
        await until(self.ready)
        await self.promote()

    async def release(
        self, change_id: str, action: Any, valid_s: float = 20.0, signer: Signer | None = None, **how: Any
    ) -> Proposed:
        now = datetime.now(UTC)
        self.sequence += 1
        one = proposal(change_id, action, at=now)
        made = envelope(one, self.sequence, at=now, valid_s=valid_s, **how)
        await self.publish(one, simulated(change_id, now), approved(made, signer or self.signer))
        return one

    async def read(self, topic: Topic) -> list[Any]:
        return await events(self.kafka, self.prefix, topic)

    async def controls(self) -> list[Any]:
        """What the line said of who may act."""
        names = ("mode_shed", "overridden", "kill_switch_set", "kill_switch_cleared")
        return [one for one in await self.read(CHANGES) if one.__struct_config__.tag in names]

    async def told(self, change_id: str) -> list[Any]:
        """What the line said of a change, after `approved`."""
        events = [one for one in await self.read(CHANGES) if getattr(one, "change_id", "") == change_id]
        names = ("issued", "applied", "failed", "expired")
        return [one for one in events if one.__struct_config__.tag in names and one.event_id != "by-hand"]

    async def ended(self, change_id: str) -> list[Any]:
        """The same, once it has ended."""
        told: list[Any] = []

        async def over() -> bool:
            told[:] = await self.told(change_id)
            return bool(told) and told[-1].__struct_config__.tag != "issued"

        await until(over)
        return told

    async def post(self, path: str, who: str, **body: Any) -> httpx.Response:
        async with asking(TIMEOUT_S) as client:
            return await client.post(f"{self.line.url}{path}", json=body, headers=bearer(self.certs, who))

    async def station(self) -> dict[str, Any]:
        """What the line says of the station."""
        async with asking(TIMEOUT_S) as client:
            answer = await client.get(f"{self.line.url}/stations", headers=bearer(self.certs, "vera"))
        found: dict[str, Any] = next(one for one in answer.json()["stations"] if one["asset"] == ASSET)
        return found
