"""asyncua's server, with two things done otherwise.

Who comes in. asyncua asks a certificate validator about the certificate that a client *names* when it creates
a session, and not at all when it names none; and whoever knows a session's number may take it over. Here the
certificate that the secure channel was opened with, whose key the client proved to have, must be trusted for
every request but the few that find an endpoint.

Who waits. asyncua serves the requests of a connection one after the other. Here a method that is slow, or
never answers, holds up no other request: a PLC that drops one command still has a heart.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.uaprocessor import UaProcessor
from asyncua.server.user_managers import UserManager
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import nodeid_from_binary
from cryptography import x509

APPLICATION_URI = "urn:twinloop:plc"
"""What the server calls itself; its certificate must say the same."""

Trusts: TypeAlias = Callable[[bytes | None], bool]
"""Whether a channel opened with this certificate (DER; `None` or empty: not secured) is let in."""

_CALL = ua.NodeId(ua.Int32(ObjectIds.CallRequest_Encoding_DefaultBinary))
_OPEN_TO_ALL = frozenset(
    ua.NodeId(ua.Int32(kind))
    for kind in (
        ObjectIds.FindServersRequest_Encoding_DefaultBinary,
        ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary,
        ObjectIds.CloseSecureChannelRequest_Encoding_DefaultBinary,
    )
)


class Unanswered(BaseException):
    """Raised by a method that gives no answer at all.

    Not an `Exception`: asyncua answers those with BadUnexpectedError. Operator action: none, it is a fault
    that was asked for.
    """


class SecurityUnusable(Exception):
    """Raised when a certificate, a key or the folder of trusted certificates cannot be used.

    Operator action: make them with `make certs`, or name the right ones.
    """


@dataclass(frozen=True, slots=True)
class Security:
    """The server's certificate (DER) and key (PEM), and the folder of the clients' certificates it trusts."""

    certificate: Path
    key: Path
    trusted: Path


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


class _Processor(UaProcessor):
    """The requests of one connection."""

    def __init__(
        self, iserver: InternalServer, transport: Any, limits: TransportLimits, trusts: Trusts
    ) -> None:
        super().__init__(iserver, transport, limits)
        self._trusts = trusts
        self._asked: tuple[bytes | None, bool] | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def process_message(self, seqhdr: Any, body: Any) -> Any:
        if nodeid_from_binary(body.copy()) != _CALL:
            return await super().process_message(seqhdr, body)  # type: ignore[no-untyped-call]
        call = asyncio.create_task(self._call(seqhdr, body))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return True

    async def _call(self, seqhdr: Any, body: Any) -> None:
        with contextlib.suppress(Unanswered):
            await super().process_message(seqhdr, body)  # type: ignore[no-untyped-call]

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        if typeid not in _OPEN_TO_ALL and not self._is_trusted():
            raise ServiceError(StatusCodes.BadSecurityChecksFailed)
        return await super()._process_message(typeid, requesthdr, seqhdr, body)  # type: ignore[no-untyped-call]

    def _is_trusted(self) -> bool:
        certificate = self._connection.security_policy.peer_certificate
        if self._asked is None or self._asked[0] != certificate:
            self._asked = (certificate, self._trusts(certificate))
        return self._asked[1]

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await super().close()  # type: ignore[no-untyped-call]


class _Protocol(OPCUAProtocol):
    def __init__(self, trusts: Trusts, **rest: Any) -> None:
        super().__init__(**rest)
        self._trusts = trusts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.processor is not None:
            self.processor = _Processor(self.iserver, self.transport, self.limits, self._trusts)
            self.processor.set_policies(self.policies)  # type: ignore[no-untyped-call]


class _BinaryServer(BinaryServer):
    trusts: Trusts

    def _make_protocol(self) -> OPCUAProtocol:
        return _Protocol(
            self.trusts,
            iserver=self.iserver,
            policies=self._policies,
            clients=self.clients,
            closing_tasks=self.closing_tasks,
            limits=self.limits,
        )


def _is_trusted(store: TrustStore, der: bytes | None) -> bool:
    if not der:
        return False
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError:
        return False
    return store.is_trusted(certificate)


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """The standard's address space is 6,000 nodes that stay: to look for garbage among them again and again
    while they are made takes two fifths of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class PlantServer(Server):
    """Use `open`, build the address space, then `start`."""

    def __init__(self) -> None:
        # Whoever logs in is a plain user: asyncua makes an administrator, who may write anything, of a client
        # that calls itself "admin".
        super().__init__(user_manager=_PlainUsers())
        self._trusts: Trusts = lambda _: True

    async def open(self, endpoint: str, security: Security | None) -> None:
        """Get ready to be started at `endpoint`; `security` `None` means none at all.

        Raises `SecurityUnusable`, also when there is nobody to trust.
        """
        if security is not None:
            await self._secure(security)
        with _collector_off():
            await self.init()
        self.set_endpoint(endpoint)
        self.set_server_name("Twinloop reference plant")
        self.set_identity_tokens([ua.AnonymousIdentityToken])
        if security is None:
            self.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        self.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
        self.application_type = ua.ApplicationType.Server
        await self.set_application_uri(APPLICATION_URI)

    async def _secure(self, security: Security) -> None:
        store = TrustStore([security.trusted], [])
        try:
            await self.load_certificate(security.certificate)
            await self.load_private_key(security.key)
            await store.load()
        except (OSError, ValueError) as error:
            raise SecurityUnusable(f"{security} cannot be used: {error}") from error
        options = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_CLIENT
        self.set_certificate_validator(CertificateValidator(options, store))
        self._trusts = partial(_is_trusted, store)

    async def start(self) -> None:
        """As asyncua's, with our binary server."""
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self._get_bind_socket_info()
        self.bserver = _BinaryServer(self.iserver, host or "", port or 0, self.limits)
        self.bserver.trusts = self._trusts
        self.bserver.set_policies(self._policies)
        try:
            await self.bserver.start()
        except BaseException:
            await self.iserver.stop()
            raise

    async def stop(self) -> None:
        """As asyncua's, and the address space is let go: its nodes hold each other, 400,000 objects, and a
        process that goes on would stand still for seconds whenever the collector finds some of them."""
        await super().stop()
        self.iserver.aspace.clear()
