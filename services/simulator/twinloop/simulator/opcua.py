"""The OPC UA side of the plant: the PLC of each station, as variables that are read and methods that decide.

    Objects/Stations/<station>/ LaserPower FocusOffset PartCounter PackMLState Recipe LastCommandSequence
                                LastCommandId  SetParameter() Hold() Resume()

All in the namespace `urn:twinloop:reference-plant`. The variables are read-only for every client: a writable
one would take any value. A refusal is a status code that is returned; raising would turn it into
BadUnexpectedError. Whoever logs in is a plain user: asyncua makes an administrator, who may write anything,
of a client that calls itself "admin".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime

from asyncua import ua
from asyncua.common.node import Node
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes

from twinloop.runtime.clock import Clock
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.plant import Plant
from twinloop.simulator.plc import FOCUS, POWER, Code, Command, Hold, Resume, SetParameter

NAMESPACE_URI = "urn:twinloop:reference-plant"

_STRING, _DOUBLE, _UINT64, _DATE_TIME = (
    ua.VariantType.String,
    ua.VariantType.Double,
    ua.VariantType.UInt64,
    ua.VariantType.DateTime,
)
Arguments = tuple[tuple[str, ua.VariantType], ...]
_SET_PARAMETER: Arguments = (
    ("CommandId", _STRING),
    ("Parameter", _STRING),
    ("Value", _DOUBLE),
    ("Expected", _DOUBLE),
    ("Sequence", _UINT64),
    ("Recipe", _STRING),
    ("IssuedAt", _DATE_TIME),
    ("ExpiresAt", _DATE_TIME),
)
_HOLD: Arguments = (
    ("CommandId", _STRING),
    ("Reason", _STRING),
    ("Sequence", _UINT64),
    ("IssuedAt", _DATE_TIME),
    ("ExpiresAt", _DATE_TIME),
)
_RESUME: Arguments = (("CommandId", _STRING),)

_COMMANDS: dict[str, type[Command]] = {"SetParameter": SetParameter, "Hold": Hold, "Resume": Resume}

Method = Callable[..., Awaitable[list[ua.Variant] | ua.StatusCode]]


class _PlainUsers(UserManager):
    """Everyone who logs in may read and call, and nobody may write."""

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        return User(role=UserRole.User)


class PlcServer:
    """The server's address space, kept like `plant`. Use `serve`."""

    def __init__(self, server: Server, plant: Plant, clock: Clock, metrics: Metrics) -> None:
        self._server = server
        self._plant = plant
        self._clock = clock
        self._metrics = metrics
        self._nodes: dict[str, dict[str, Node]] = {}
        self._shown: dict[tuple[str, str], object] = {}

    async def build(self) -> None:
        """Create the nodes of every station."""
        index = await self._server.register_namespace(NAMESPACE_URI)
        stations = await self._server.nodes.objects.add_folder(
            _node_id("Stations", index), ua.QualifiedName("Stations", index)
        )
        for name in self._plant.stations:
            station = await stations.add_object(_node_id(name, index), ua.QualifiedName(name, index))
            self._nodes[name] = {
                variable: await station.add_variable(
                    _node_id(f"{name}/{variable}", index), ua.QualifiedName(variable, index), value
                )
                for variable, value in self._values(name).items()
            }
            for method, arguments, answer in (
                ("SetParameter", _SET_PARAMETER, ("Actual", _DOUBLE)),
                ("Hold", _HOLD, ("State", _STRING)),
                ("Resume", _RESUME, ("State", _STRING)),
            ):
                await station.add_method(
                    _node_id(f"{name}/{method}", index),
                    ua.QualifiedName(method, index),
                    self._method(name, method, arguments),
                    [_argument(*one) for one in arguments],
                    [_argument(*answer)],
                )

    async def refresh(self, station: str) -> None:
        """Show what the station's PLC and part counter are now."""
        now = ua.DateTime.fromtimestamp(self._clock.now().timestamp(), UTC)
        for variable, value in self._values(station).items():
            if self._shown.get((station, variable)) != value.Value:
                self._shown[station, variable] = value.Value
                await self._server.write_attribute_value(
                    self._nodes[station][variable].nodeid,
                    ua.DataValue(value, SourceTimestamp=now),
                )

    def _values(self, station: str) -> dict[str, ua.Variant]:
        plc = self._plant.plc(station)
        return {
            "LaserPower": ua.Variant(plc.setpoints[POWER], _DOUBLE),
            "FocusOffset": ua.Variant(plc.setpoints[FOCUS], _DOUBLE),
            "PartCounter": ua.Variant(self._plant.counter(station), _UINT64),
            "PackMLState": ua.Variant(plc.mode.value, _STRING),
            "Recipe": ua.Variant(plc.recipe, _STRING),
            "LastCommandSequence": ua.Variant(plc.last_sequence, _UINT64),
            "LastCommandId": ua.Variant(plc.last_command_id, _STRING),
        }

    def _method(self, station: str, method: str, wanted: Arguments) -> Method:
        async def call(_parent: ua.NodeId, *given: ua.Variant) -> list[ua.Variant] | ua.StatusCode:
            command = _command(method, wanted, given)
            if command is None:
                self._metrics.commands.labels(station, method, Code.BAD_INVALID_ARGUMENT).inc()
                return ua.StatusCode(ua.UInt32(StatusCodes.BadInvalidArgument))
            outcome = self._plant.command(station, command, self._clock.now())
            await self.refresh(station)
            self._metrics.commands.labels(station, method, outcome.code).inc()
            if outcome.code is not Code.GOOD:
                return ua.StatusCode(ua.UInt32(getattr(StatusCodes, outcome.code)))
            if isinstance(command, SetParameter):
                return [ua.Variant(outcome.actual, _DOUBLE)]
            return [ua.Variant(outcome.mode, _STRING)]

        return call


def _node_id(text: str, index: int) -> ua.NodeId:
    return ua.NodeId.from_string(f"ns={index};s={text}")


def _argument(name: str, kind: ua.VariantType) -> ua.Argument:
    return ua.Argument(
        Name=name, DataType=ua.NodeId(ua.Int32(kind.value)), ValueRank=ua.Int32(ua.ValueRank.Scalar)
    )


def _command(method: str, wanted: Arguments, given: Sequence[ua.Variant]) -> Command | None:
    """The command in a call's arguments, or `None` when their number or types are others than declared."""
    if len(given) != len(wanted):
        return None
    values = []
    for variant, (_, kind) in zip(given, wanted, strict=True):
        if variant.VariantType != kind or variant.is_array or variant.Value is None:
            return None
        values.append(_aware(variant.Value) if isinstance(variant.Value, datetime) else variant.Value)
    make: Callable[..., Command] = _COMMANDS[method]
    return make(*values)


def _aware(at: datetime) -> datetime:
    """OPC UA times are UTC, whether or not the library says so."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


@contextlib.asynccontextmanager
async def serve(endpoint: str, plant: Plant, clock: Clock, metrics: Metrics) -> AsyncIterator[PlcServer]:
    """Serve the PLCs of `plant` at `endpoint`, `opc.tcp://host:port/path`. Raises `OSError` when taken."""
    server = Server(user_manager=_PlainUsers())
    await server.init()
    server.set_endpoint(endpoint)
    server.set_server_name("Twinloop reference plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    server.set_identity_tokens([ua.AnonymousIdentityToken])
    plcs = PlcServer(server, plant, clock, metrics)
    await plcs.build()
    await server.start()
    try:
        yield plcs
    finally:
        await server.stop()
