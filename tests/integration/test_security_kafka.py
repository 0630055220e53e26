"""A real broker with TLS, users and ACLs: who is let in, and what he may do there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.fetch import FetchRequest

from twinloop.contracts.rights import DETECTOR, MONITOR, PROGRAMS, Acl, Operation, Program, Resource, acls
from twinloop.contracts.topics import ALL, ANOMALIES, CHANGES, MODELS, SCORES, Topic
from twinloop.local.keys.secured import ADMIN, Secure
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.access import KafkaAccess, Mechanism
from twinloop.runtime.kafka.acls import apply, remove
from twinloop.runtime.kafka.provision import provision
from twinloop.runtime.kafka.settings import access_of
from twinloop.runtime.kafka.tokens import Token, TokenProvider

pytestmark = pytest.mark.timeout(240)

SITES = ("", "acme.", "bolt.")
SOON_S = 15.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka alone, with the users and topics of three sites."""
    stack = Stack(tmp_path_factory.mktemp("secured"), parts=("kafka",), secure=Secure(sites=SITES))

    async def begin() -> None:
        await stack.__aenter__()
        for site in SITES:
            await apply(stack.admin, acls(site))
        for site in SITES:
            assert len(await provision(stack.kafka_as(f"{site}provision"), site)) == len(ALL)

    with asyncio.Runner() as runner:
        try:
            runner.run(begin())
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def writing(
    kafka: KafkaAccess, transactional_id: str | None = None, *, idempotent: bool = True
) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        **kafka.client(),
        enable_idempotence=idempotent,
        acks="all",
        retry_backoff_ms=5,
        transactional_id=transactional_id,
    )
    async with asyncio.timeout(SOON_S):
        try:
            await producer.start()
            yield producer
        finally:
            await producer.stop()


@contextlib.asynccontextmanager
async def asking(kafka: KafkaAccess) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client(), request_timeout_ms=int(SOON_S * 1000))
    async with asyncio.timeout(SOON_S):
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def may_write(producer: AIOKafkaProducer, topic: str) -> bool:
    try:
        await producer.send_and_wait(topic, b"x", key=b"k", partition=0)
    except TopicAuthorizationFailedError:
        return False
    return True


async def may_read(admin: AIOKafkaAdminClient, topic: str) -> bool:
    """A fetch, as every consumer makes it; a consumer of aiokafka asks for ever when it is refused."""
    answer = await admin._send_request(FetchRequest(0, 0, 1 << 20, 0, [(topic, [(0, 0, 1 << 20)])]))
    ((_, ((_, code, *_),)),) = answer.topics
    assert code in (0, TopicAuthorizationFailedError.errno), code
    return bool(code == 0)


async def answers(kafka: KafkaAccess) -> bool:
    """Whether it is let in."""
    try:
        async with asking(kafka) as admin:
            return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, TimeoutError):
        return False


def with_tokens(kafka: KafkaAccess, *tokens: str) -> tuple[KafkaAccess, list[str]]:
    """By these tokens, the last one again and again; and those that were asked for."""
    asked: list[str] = []

    async def fetch() -> Token:
        asked.append(tokens[min(len(asked), len(tokens) - 1)])
        return Token(asked[-1], 1.0)

    return replace(kafka, mechanism=Mechanism.OAUTHBEARER, user=None, tokens=TokenProvider(fetch)), asked


# ---- who is let in


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
async def test_a_password_lets_in_and_a_wrong_one_does_not(
    secured: Stack, mechanism: str, tmp_path: Path
) -> None:
    assert secured.secrets is not None
    variables = {
        **secured.secrets.kafka_variables("detector"),
        "TWINLOOP_KAFKA": secured.endpoints.kafka,
        "TWINLOOP_KAFKA_SASL": mechanism,
    }
    assert await answers(access_of(variables))
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    assert not await answers(access_of({**variables, "TWINLOOP_KAFKA_PASSWORD_FILE": str(wrong)}))
    assert not await answers(access_of({**variables, "TWINLOOP_KAFKA_USER": "line"}))


async def test_a_token_of_the_issuer_lets_in_and_no_other(secured: Stack) -> None:
    assert secured.secrets is not None
    kafka, make = secured.kafka_as("detector"), secured.secrets.token
    good, asked = with_tokens(kafka, make("detector"))
    async with writing(good) as producer:
        assert await may_write(producer, ANOMALIES.name)
        assert not await may_write(producer, CHANGES.name)
    assert asked
    bad = {
        "of another audience": make("detector", aud="others"),
        "of another issuer": make("detector", iss="https://id.other"),
        "ended": make("detector", life_s=-120),
        "forged": make("detector")[:-8] + "AAAAAAAA",
    }
    assert [what for what, one in bad.items() if await answers(with_tokens(kafka, one)[0])] == []


async def test_a_producer_goes_on_when_its_token_has_ended(secured: Stack) -> None:
    assert secured.secrets is not None
    kafka, asked = with_tokens(
        secured.kafka_as("detector"), *(secured.secrets.token("detector", life_s=3.0) for _ in range(1))
    )
    now = asyncio.get_running_loop().time

    async def fetch() -> Token:
        assert secured.secrets is not None
        asked.append("")
        return Token(secured.secrets.token("detector", life_s=3.0), 3.0)

    kafka = replace(kafka, tokens=TokenProvider(fetch))
    async with writing(kafka) as producer:
        until = now() + 7.0
        sent = 0
        while now() < until or sent <= 20:
            assert await may_write(producer, ANOMALIES.name)
            sent += 1
            await asyncio.sleep(0.2)
    assert len(asked) > 1, "it has outlived a token"


async def test_a_certificate_lets_in_as_whom_it_names(secured: Stack) -> None:
    assert secured.secrets is not None
    secured.secrets.certify("detector", datetime.now(UTC))
    _, _, port = secured.admin.servers.rpartition(":")
    async with writing(secured.secrets.certified("detector", f"127.0.0.1:{port}")) as producer:
        assert await may_write(producer, ANOMALIES.name)
        assert not await may_write(producer, CHANGES.name)
    assert secured.admin.tls.cert_file is not None
    assert ADMIN in secured.admin.tls.cert_file.name
    without = replace(secured.admin, tls=replace(secured.admin.tls, cert_file=None, key_file=None))
    assert not await answers(without)


async def test_nobody_is_let_in_without_tls_or_with_another_authority(secured: Stack, tmp_path: Path) -> None:
    assert not await answers(KafkaAccess(secured.endpoints.kafka))
    from twinloop.local.keys.authority import Authority

    other = Authority(tmp_path, datetime.now(UTC))
    kafka = secured.kafka_as("detector")
    stranger = replace(kafka, tls=replace(kafka.tls, ca_file=other.certificates))
    admin = AIOKafkaAdminClient(**stranger.client(), request_timeout_ms=5_000)
    with pytest.raises((KafkaConnectionError, ssl.SSLError)):
        await admin.start()
    await admin.close()


# ---- what he may do


async def test_no_program_reads_or_writes_more_than_is_declared(secured: Stack) -> None:
    """Every program with every topic."""
    for program in PROGRAMS:
        kafka, told = secured.kafka_as(program.name), dict[str, tuple[bool, bool]]()
        # Who may write nowhere gets no producer id either.
        async with writing(kafka, idempotent=bool(program.writes)) as producer, asking(kafka) as admin:
            for topic in ALL:
                told[topic.name] = (
                    await may_read(admin, topic.name),
                    await may_write(producer, topic.name),
                )
        assert told == {one.name: (one in program.reads, one in program.writes) for one in ALL}, program.name


async def test_the_detector_cannot_write_changes(secured: Stack) -> None:
    async with writing(secured.kafka_as("detector"), "detector-telemetry.factory-0") as producer:
        await producer.begin_transaction()
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(CHANGES.name, b"{}", key=b"k")
        await producer.abort_transaction()


async def joins(kafka: KafkaAccess, group: str, reads: Topic, site: str = "") -> bool:
    """Whether it may be a member of a group; `reads` is what it may read."""
    consumer = AIOKafkaConsumer(**kafka.client(), group_id=group, enable_auto_commit=False)
    consumer.subscribe([reads.named(site)])
    try:
        async with asyncio.timeout(SOON_S):
            await consumer.start()
    except GroupAuthorizationFailedError:
        return False
    finally:
        await consumer.stop()
    return True


async def fences(kafka: KafkaAccess, transactional_id: str) -> bool:
    """Whether it may take a transactional id, which ends the work of whoever has it."""
    try:
        async with writing(kafka, transactional_id):
            return True
    except (TransactionalIdAuthorizationFailed, KafkaError):
        return False


async def test_groups_and_transactional_ids_are_those_of_their_program(secured: Stack) -> None:
    detector, line = secured.kafka_as("detector"), secured.kafka_as("line")
    for group in ("detector", "detector-vehicles"):
        assert await joins(detector, group, MODELS)
        assert not await joins(line, group, CHANGES)
    assert not await joins(detector, "line", MODELS)
    assert not await joins(detector, "detectors", MODELS)
    assert await fences(detector, "detector-telemetry.factory-3")
    assert not await fences(line, "detector-telemetry.factory-3")
    assert not await fences(detector, "line-0")


async def until(secured: Stack, user: str, topic: Topic, *, writable: bool) -> None:
    """Each node of Kafka hears of an ACL in its own time."""
    async with asyncio.timeout(SOON_S), writing(secured.kafka_as(user)) as producer:
        while await may_write(producer, topic.name) is not writable:
            await asyncio.sleep(0.1)


async def test_an_acl_that_is_taken_away_is_missed(secured: Stack) -> None:
    """What a program needs is declared, and nothing else lets it do that."""
    gone = Acl("detector", Resource.TOPIC, SCORES.name, prefixed=False, operation=Operation.WRITE)
    assert gone in acls()
    await remove(secured.admin, [gone])
    try:
        await until(secured, "detector", SCORES, writable=False)
        async with writing(secured.kafka_as("detector")) as producer:
            assert await may_write(producer, ANOMALIES.name)
    finally:
        assert await apply(secured.admin, acls()) == (1, 0)
    await until(secured, "detector", SCORES, writable=True)


async def test_what_is_no_longer_declared_is_taken_away(secured: Stack) -> None:
    more = Acl("detector", Resource.TOPIC, CHANGES.name, prefixed=False, operation=Operation.WRITE)
    await apply(secured.admin, [more])
    await until(secured, "detector", CHANGES, writable=True)
    assert await apply(secured.admin, acls(), prune=True) == (0, 1)
    await until(secured, "detector", CHANGES, writable=False)


async def test_only_an_administrator_makes_acls(secured: Stack) -> None:
    from twinloop.runtime.kafka.acls import AclsRefused

    for user in ("provision", "controller"):
        with pytest.raises(AclsRefused):
            await apply(secured.kafka_as(user), acls())


# ---- sites


async def can(kafka: KafkaAccess, mine: str, site: str, program: Program, topic: Topic) -> dict[str, bool]:
    """What who is at home at `mine` can do with what is another site's."""
    named = topic.named(site)
    async with asking(kafka) as admin:
        read = await may_read(admin, named)
    async with writing(kafka) as producer:
        write = await may_write(producer, named)
    return {
        "read": read,
        "write": write,
        "join": await joins(kafka, f"{site}{program.name}", MODELS, mine),
        "fence": await fences(kafka, f"{site}{program.name}-telemetry.factory-0"),
    }


async def test_a_site_reaches_nothing_of_another(secured: Stack) -> None:
    nothing = {"read": False, "write": False, "join": False, "fence": False}
    for mine in SITES:
        kafka = secured.kafka_as(f"{mine}detector")
        for site in SITES:
            if site != mine:
                assert await can(kafka, mine, site, DETECTOR, ANOMALIES) == nothing
        own = await can(kafka, mine, mine, DETECTOR, ANOMALIES)
        assert own == {**nothing, "write": True, "join": True, "fence": True}
        assert (await can(kafka, mine, mine, DETECTOR, MODELS))["read"]
    async with asking(secured.kafka_as(f"acme.{MONITOR.name}")) as admin:
        for topic in ALL:
            assert await may_read(admin, topic.named("acme."))
            assert not await may_read(admin, topic.named("bolt."))
            assert not await may_read(admin, topic.name)
        assert set(await admin.list_topics()) == {one.named("acme.") for one in ALL}
