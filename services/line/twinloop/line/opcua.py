"""`Plc` on a real OPC UA server, with one session that is made anew whenever it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, Final, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from twinloop.contracts.changes import SetParameter
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.metrics import Metrics
from twinloop.line.plc import Command, Device
from twinloop.line.security import Security, secure
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

NAMESPACE_URI = "urn:twinloop:reference-plant"
_VARIABLES: Final = (
    "LaserPower",
    "FocusOffset",
    "EndOfLineLimit",
    "PartCounter",
    "PackMLState",
    "Recipe",
    "LastCommandSequence",
    "LastCommandId",
    "ControlSource",
    "LocalReason",
    "Beat",
    "MaintenanceLock",
    "HighAlarm",
)
_MAY_BE_EMPTY: Final = ("LastCommandId", "LocalReason")
"""A device that was never commanded has no last command, and one that is Remote no reason to be Local."""
_METHODS: Final = ("SetParameter", "Hold", "TakeControl", "ReleaseControl", "Heartbeat")
_WATCH_S: Final = 0.5
_AGAIN_S: Final = 0.5
_BROKEN: Final = (
    ua.uaerrors.BadCommunicationError,
    ua.uaerrors.BadConnectionClosed,
    ua.uaerrors.BadNoCommunication,
    ua.uaerrors.BadSecureChannelClosed,
    ua.uaerrors.BadSecureChannelIdInvalid,
    ua.uaerrors.BadServerHalted,
    ua.uaerrors.BadServerNotConnected,
    ua.uaerrors.BadSessionClosed,
    ua.uaerrors.BadSessionIdInvalid,
    ua.uaerrors.BadShutdown,
    ua.uaerrors.BadTimeout,
    ua.uaerrors.BadUnexpectedError,
)
"""Answers that say nothing about whether the device acted."""

T = TypeVar("T")


class Station:
    """The nodes of one station, found once a session: a call must not look for its method first."""

    def __init__(self, home: Node, variables: list[Node], methods: dict[str, ua.NodeId]) -> None:
        self.home = home
        self.variables = variables
        self.methods = methods


class OpcUaPlc:
    """Use `plc`. Calls fail at once while there is no session."""

    def __init__(
        self,
        endpoint: str,
        stations: Iterable[str],
        timeout_s: float,
        metrics: Metrics,
        security: Security | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._security = security
        self._names = sorted(set(stations))
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._client: Client | None = None
        self._stations: dict[str, Station] = {}
        self._problem: str | None = f"no session with {endpoint} yet"

    def problem(self) -> str | None:
        """Health check: why there is no session."""
        return self._problem

    async def read(self, station: str) -> Device:
        """See `Plc`. One request for all variables."""
        client, place = self._session(station)
        with self._metrics.plc_seconds.labels("read").time():
            try:
                answers = await self._within(client.read_attributes(place.variables))
            except PlcRefused as error:
                raise PlcUnavailable(f"{station} cannot be read: {error.code}") from error
        return _device(station, answers)

    async def command(self, station: str, command: Command) -> None:
        """See `Plc`."""
        action = command.action
        times = (_time(command.issued_at), _time(command.expires_at))
        if isinstance(action, SetParameter):
            method = "SetParameter"
            arguments = [
                _text(command.command_id),
                _text(action.parameter),
                ua.Variant(action.value, ua.VariantType.Double),
                ua.Variant(action.expected, ua.VariantType.Double),
                _count(command.sequence),
                _text(command.recipe),
                *times,
            ]
        else:
            method = "Hold"
            arguments = [_text(command.command_id), _text(action.reason), _count(command.sequence), *times]
        await self._call(station, method, arguments, "command")

    async def take_control(self, station: str, command_id: str) -> None:
        """See `Plc`."""
        await self._call(station, "TakeControl", [_text(command_id)], "control")

    async def release_control(self, station: str, command_id: str, reason: str) -> None:
        """See `Plc`."""
        await self._call(station, "ReleaseControl", [_text(command_id), _text(reason)], "control")

    async def heartbeat(self, station: str, counter: int) -> int:
        """See `Plc`."""
        return int(await self._call(station, "Heartbeat", [_count(counter)], "heartbeat"))

    async def _call(self, station: str, method: str, arguments: Sequence[ua.Variant], kind: str) -> Any:
        _, place = self._session(station)
        with self._metrics.plc_seconds.labels(kind).time():
            return await self._within(place.home.call_method(place.methods[method], *arguments))

    async def keep(self, stopping: asyncio.Event) -> None:
        """Keep a session until told to stop."""
        while not stopping.is_set():
            client = Client(self._endpoint, timeout=self._timeout_s)
            try:
                if self._security is not None:
                    await secure(client, self._security)
                async with client:
                    self._stations = await self._find(client)
                    self._client, self._problem = client, None
                    self._metrics.plc_connected.set(1)
                    log.info("session with the plc", endpoint=self._endpoint)
                    while not stopping.is_set():
                        await client.check_connection()
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(stopping.wait(), _WATCH_S)
            except asyncio.CancelledError as error:
                if _is_cancelled():
                    raise
                self._lose(error)
            except Exception as error:  # noqa: BLE001  (whatever it was, the session must be made anew)
                self._lose(error)
            self._client = None
            self._metrics.plc_connected.set(0)
            if not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _AGAIN_S)

    def _lose(self, error: BaseException) -> None:
        problem = f"no session with {self._endpoint}: {error or type(error).__name__}"
        if self._problem != problem:
            log.warning("no session with the plc", endpoint=self._endpoint, problem=repr(error))
        self._problem = problem

    async def _find(self, client: Client) -> dict[str, Station]:
        if NAMESPACE_URI not in (namespaces := await client.get_namespace_array()):
            raise PlcUnavailable(f"the server there knows no namespace {NAMESPACE_URI}")
        index = namespaces.index(NAMESPACE_URI)
        found = {}
        for name in self._names:
            home = await client.nodes.objects.get_child([f"{index}:Stations", f"{index}:{name}"])
            variables = [await home.get_child(f"{index}:{variable}") for variable in _VARIABLES]
            methods = {method: (await home.get_child(f"{index}:{method}")).nodeid for method in _METHODS}
            found[name] = Station(home, variables, methods)
        return found

    def _session(self, station: str) -> tuple[Client, Station]:
        if self._client is None:
            raise PlcUnavailable(self._problem or "no session")
        return self._client, self._stations[station]

    async def _within(self, request: Awaitable[T]) -> T:
        """The answer to a request. asyncua's errors as ours. It is sent before anything else runs."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await request
        except _BROKEN as error:
            raise PlcUnavailable(repr(error)) from error
        except UaStatusCodeError as error:
            raise PlcRefused(type(error).__name__) from error
        except (OSError, TimeoutError, UaError) as error:
            raise PlcUnavailable(repr(error)) from error


@contextlib.asynccontextmanager
async def plc(
    endpoint: str,
    stations: Iterable[str],
    stopping: asyncio.Event,
    *,
    timeout_s: float,
    metrics: Metrics,
    security: Security | None = None,
) -> AsyncIterator[OpcUaPlc]:
    """An `OpcUaPlc` whose session is kept for the time of the context; not secured without `security`."""
    made = OpcUaPlc(endpoint, stations, timeout_s, metrics, security)
    keeping = asyncio.create_task(made.keep(stopping), name="plc session")
    try:
        yield made
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def _device(station: str, answers: Sequence[ua.DataValue]) -> Device:
    """What was answered for `_VARIABLES`. A value of bad or uncertain quality is none: it decides nothing."""
    values: dict[str, Any] = {}
    for name, answer in zip(_VARIABLES, answers, strict=True):
        status = answer.StatusCode
        if status is not None and not status.is_good():
            raise PlcUnavailable(f"{name} of {station} is {status.name}")
        value = None if answer.Value is None else answer.Value.Value
        if value is None and name not in _MAY_BE_EMPTY:
            raise PlcUnavailable(f"{name} of {station} has no value")
        values[name] = value
    return Device(
        power_w=float(values["LaserPower"]),
        focus_mm=float(values["FocusOffset"]),
        limit_uohm=float(values["EndOfLineLimit"]),
        part_counter=int(values["PartCounter"]),
        mode=str(values["PackMLState"]),
        recipe=str(values["Recipe"]),
        last_sequence=int(values["LastCommandSequence"]),
        last_command_id=str(values["LastCommandId"] or ""),
        control_source=str(values["ControlSource"]),
        local_reason=str(values["LocalReason"] or ""),
        beat=int(values["Beat"]),
        maintenance_lock=bool(values["MaintenanceLock"]),
        high_alarm=bool(values["HighAlarm"]),
    )


def _is_cancelled() -> bool:
    """Whether it is this task that was cancelled; asyncua also raises it for requests of a lost session."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _text(value: str) -> ua.Variant:
    return ua.Variant(str(value), ua.VariantType.String)


def _count(value: int) -> ua.Variant:
    return ua.Variant(value, ua.VariantType.UInt64)


def _time(at: Any) -> ua.Variant:
    return ua.Variant(at, ua.VariantType.DateTime)
