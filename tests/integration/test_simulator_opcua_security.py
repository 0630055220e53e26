"""Who is let in at the PLC's OPC UA server: a trusted certificate over a secure channel, and nobody else."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.ua.uaerrors import UaStatusCodeError
from prometheus_client import CollectorRegistry
from support.ports import free_endpoint

from twinloop.local.keys import certs
from twinloop.runtime.clock import SystemClock
from twinloop.simulator.metrics import Metrics
from twinloop.simulator.opcua import NAMESPACE_URI, serve
from twinloop.simulator.opcua_server import Security, SecurityUnusable
from twinloop.simulator.plant import Plant, StationSpec
from twinloop.simulator.plc_state import Range

SPEC = StationSpec("cu-al-tab-7", Range(1000, 850, 1350, 30), Range(0, -2, 2, 0.25))
LINE_URI = "urn:twinloop:line"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def security_of(folder: Path) -> Security:
    opcua = folder / "opcua"
    return Security(opcua / "plc.cert.der", opcua / "plc.key.pem", opcua / "trusted-by-plc")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    certs.make(folder, datetime.now(UTC))
    return folder


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As good as ours, but for that nobody trusts them."""
    folder = tmp_path_factory.mktemp("theirs")
    certs.make(folder, datetime.now(UTC))
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def endpoint(ours: Path) -> AsyncIterator[str]:
    plant, where = Plant({"weld1": SPEC}, 1), free_endpoint()
    metrics = Metrics(CollectorRegistry())
    async with serve(where, plant, SystemClock(), metrics, security=security_of(ours)):
        yield where


async def client_of(
    endpoint: str, folder: Path, mode: ua.MessageSecurityMode = ua.MessageSecurityMode.SignAndEncrypt
) -> Client:
    """A client with the certificate of the line in `folder`, not yet connected."""
    client = Client(endpoint, timeout=3)
    client.application_uri = LINE_URI
    opcua = folder / "opcua"
    await client.set_security(
        SecurityPolicyBasic256Sha256,
        certificate=opcua / "line.cert.der",
        private_key=opcua / "line.key.pem",
        mode=mode,
    )
    return client


@asynccontextmanager
async def channel(client: Client) -> AsyncIterator[Client]:
    """A secure channel and no session."""
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        yield client
    finally:
        client.disconnect_socket()


async def power(client: Client) -> float:
    index = await client.get_namespace_index(NAMESPACE_URI)
    node = await client.nodes.objects.get_child([f"{index}:{one}" for one in ("Stations", "weld1")])
    value: float = await (await node.get_child(f"{index}:LaserPower")).read_value()
    return value


async def test_a_trusted_client_reads_and_commands(endpoint: str, ours: Path) -> None:
    client = await client_of(endpoint, ours)
    store = TrustStore([ours / "opcua" / "trusted-by-line"], [])
    await store.load()
    options = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_SERVER
    client.certificate_validator = CertificateValidator(options, store)
    async with client:
        assert await power(client) == 1000.0
        index = await client.get_namespace_index(NAMESPACE_URI)
        station = await client.nodes.objects.get_child([f"{index}:Stations", f"{index}:weld1"])
        assert await station.call_method(f"{index}:TakeControl", "t1") == "Remote"


async def test_the_server_offers_nothing_less_than_sign_and_encrypt(endpoint: str) -> None:
    offered = await Client(endpoint).connect_and_get_server_endpoints()
    assert {(one.SecurityPolicyUri, one.SecurityMode) for one in offered} == {
        (SecurityPolicyBasic256Sha256.URI, ua.MessageSecurityMode.SignAndEncrypt)
    }


async def test_a_client_without_security_is_refused(endpoint: str) -> None:
    client = Client(endpoint, timeout=3)
    async with channel(client):
        with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
            await client.create_session()


async def test_a_client_that_nobody_trusts_is_refused(endpoint: str, theirs: Path) -> None:
    async with channel(await client_of(endpoint, theirs)) as client:
        with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
            await client.create_session()


async def test_signing_alone_is_refused(endpoint: str, ours: Path) -> None:
    with pytest.raises(ua.UaError, match="No matching endpoints"):
        await client_of(endpoint, ours, ua.MessageSecurityMode.Sign)


async def test_who_names_the_certificate_of_somebody_else_is_refused(
    endpoint: str, ours: Path, theirs: Path
) -> None:
    """The certificate in CreateSession is only said; the channel's is proved."""
    trusted = (ours / "opcua" / "line.cert.der").read_bytes()
    for named in (trusted, None, b""):
        async with channel(await client_of(endpoint, theirs)) as client:
            parameters = ua.CreateSessionParameters()
            parameters.ClientNonce = bytes(32)
            parameters.ClientCertificate = named
            parameters.ClientDescription = ua.ApplicationDescription(ApplicationUri=LINE_URI)
            parameters.EndpointUrl = endpoint
            with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
                await client.uaclient.create_session(parameters)


@pytest.mark.parametrize("secured", [False, True])
async def test_a_session_cannot_be_taken_over(endpoint: str, ours: Path, theirs: Path, secured: bool) -> None:
    """Session numbers can be guessed: knowing one must not be enough to act in it."""
    async with await client_of(endpoint, ours) as victim:
        token = victim.uaclient.protocol.authentication_token
        thief = await client_of(endpoint, theirs) if secured else Client(endpoint, timeout=3)
        async with channel(thief):
            thief.uaclient.protocol.authentication_token = token
            with pytest.raises(UaStatusCodeError):
                await thief.uaclient.activate_session(ua.ActivateSessionParameters())
            node = thief.get_node(ua.NodeId(ua.Int32(ua.ObjectIds.Server_NamespaceArray)))
            with pytest.raises(ua.uaerrors.BadSecurityChecksFailed):
                await node.read_value()
        assert await power(victim) == 1000.0


async def test_a_certificate_of_another_application_is_refused(endpoint: str, ours: Path) -> None:
    client = await client_of(endpoint, ours)
    client.application_uri = "urn:somebody:else"
    async with channel(client):
        with pytest.raises(ua.uaerrors.BadCertificateUriInvalid):
            await client.create_session()


async def test_a_certificate_that_ended_is_refused(endpoint: str, ours: Path, tmp_path: Path) -> None:
    """Trusted once, and no longer: the folder of the trusted is not all that counts."""
    certs.make(tmp_path, datetime.now(UTC) - certs.LASTS - certs.RENEWED_BEFORE)
    trusted = tmp_path / "trusted"
    shutil.copytree(ours / "opcua" / "trusted-by-plc", trusted)
    shutil.copy(tmp_path / "opcua" / "line.cert.der", trusted / "ended.cert.der")
    plant, where = Plant({"weld1": SPEC}, 1), free_endpoint()
    security = replace(security_of(ours), trusted=trusted)
    async with serve(where, plant, SystemClock(), Metrics(CollectorRegistry()), security=security):
        async with channel(await client_of(where, tmp_path)) as client:
            with pytest.raises(UaStatusCodeError):
                await client.create_session()
        async with await client_of(where, ours) as client:
            assert await power(client) == 1000.0


@pytest.mark.parametrize("spoilt", ["certificate", "key", "trusted"])
async def test_security_that_cannot_be_had_is_not_left_out(ours: Path, tmp_path: Path, spoilt: str) -> None:
    bad = tmp_path / f"bad{'' if spoilt == 'trusted' else '.pem'}"
    if spoilt == "trusted":
        bad.mkdir()
    else:
        bad.write_text("nothing of the kind")
    security = replace(security_of(ours), **{spoilt: bad})
    plant, where = Plant({"weld1": SPEC}, 1), free_endpoint()
    with pytest.raises(SecurityUnusable):
        async with serve(where, plant, SystemClock(), Metrics(CollectorRegistry()), security=security):
            pass
