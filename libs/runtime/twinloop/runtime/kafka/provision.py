"""Create the topics that `twinloop.contracts.topics` declares: `python -m twinloop.runtime.kafka.provision`.

Idempotent. Never shrinks or deletes; a topic with fewer partitions than declared is an error, because
services that join topics rely on equal partition numbers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.metadata import MetadataRequest
from pydantic import Field

from twinloop.contracts.topics import ALL, Topic
from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.settings import ServiceSettings, load

_THERE_S = 30.0
_THERE_AGAIN_S = 1.0
_ACLS_S = 30.0
_AGAIN_S = 0.1


class ProvisionSettings(ServiceSettings):
    """Where, and how many copies of each record."""

    replication: int = Field(default=1, ge=1, validation_alias="TWINLOOP_TOPIC_REPLICATION")


class TopicMismatch(Exception):
    """Raised when a topic exists with other partitions than declared.

    Operator action: create it anew, or use another `TWINLOOP_TOPIC_PREFIX`.
    """


_CLEANUP = {
    (False, True): "delete",
    (False, False): "delete",
    (True, True): "compact",
    (True, False): "compact,delete",
}
"""By whether the topic is compacted, and whether it is kept for ever."""


_IN_SYNC = 2
"""Copies that a record must be in before it counts as written, where there are three or more: one broker may
be lost without a loss. By Kafka's default the leader's own would do."""


def _new(topic: Topic, prefix: str, replication: int) -> NewTopic:
    in_sync = {"min.insync.replicas": str(_IN_SYNC)} if replication > _IN_SYNC else {}
    configs = {
        **in_sync,
        "cleanup.policy": _CLEANUP[topic.compacted, topic.retention_h is None],
        "retention.ms": "-1" if topic.retention_h is None else str(topic.retention_h * 3_600_000),
        "max.message.bytes": str(8 * 1024 * 1024),
    }
    return NewTopic(topic.named(prefix), topic.partitions, replication, topic_configs=configs)


async def provision(
    kafka: Kafka, prefix: str, replication: int = 1, topics: Sequence[Topic] = ALL
) -> list[str]:
    """Create what is missing and return the names created.

    Raises `TopicMismatch`, or `aiokafka.errors.KafkaError` when the cluster does not answer.
    """
    admin = AIOKafkaAdminClient(**client_of(kafka))
    await admin.start()
    try:
        present = await partitions(admin, [topic.named(prefix) for topic in topics])
        for topic in topics:
            count = present.get(topic.named(prefix), topic.partitions)
            if count != topic.partitions:
                raise TopicMismatch(
                    f"{topic.named(prefix)} has {count} partitions instead of {topic.partitions}:"
                    " create it anew, or choose another TWINLOOP_TOPIC_PREFIX"
                )
        missing = [topic for topic in topics if topic.named(prefix) not in present]
        await _create(admin, [_new(topic, prefix, replication) for topic in missing])
        return [topic.named(prefix) for topic in missing]
    finally:
        await admin.close()


async def partitions(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, int]:
    """How many each of these topics has that is there. aiokafka's `describe_topics` would have a Kafka that
    is set so (`auto.create.topics.enable`) make the others, and without names tell of all that there are."""
    answer = await admin._send_request(MetadataRequest(list(names), allow_auto_topic_creation=False))
    return {
        one["topic"]: len(one["partitions"])
        for one in answer.to_object()["topics"]
        if one["error_code"] == NoError.errno
    }


async def _create(admin: AIOKafkaAdminClient, missing: list[NewTopic]) -> None:
    """Those that are refused are asked for again for a while: ACLs that were made just now reach each node in
    its own time, and on a node that makes many partitions after these."""
    deadline = asyncio.get_running_loop().time() + _ACLS_S
    while missing:
        refused = []
        answer = await admin.create_topics(missing)
        for name, code, *detail in answer.topic_errors:
            if code == TopicAuthorizationFailedError.errno:
                refused.append(name)
            elif code not in (0, TopicAlreadyExistsError.errno):  # somebody else created it in between
                raise KafkaError(f"topic {name}: error {code} {detail}")
        missing = [one for one in missing if one.name in refused]
        if missing and asyncio.get_running_loop().time() > deadline:
            raise TopicAuthorizationFailedError(
                f"{', '.join(refused)}: this user may not create them (python -m twinloop.runtime.kafka.acls)"
            )
        if missing:
            await asyncio.sleep(_AGAIN_S)


async def _provision(settings: ProvisionSettings) -> list[str]:
    """`provision`, also of a Kafka that is still starting: while it does not answer it is asked again."""
    deadline = asyncio.get_running_loop().time() + _THERE_S
    while True:
        try:
            return await provision(settings.kafka_access, settings.topic_prefix, settings.replication)
        except KafkaConnectionError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_THERE_AGAIN_S)


def main() -> int:
    """Provision from the environment; exit status 0 when every topic is there."""
    settings = load(ProvisionSettings)
    try:
        created = asyncio.run(_provision(settings))
    except (KafkaError, TopicMismatch) as error:
        sys.stderr.write(f"The topics could not be made on {settings.kafka}: {error}\n")
        return 1
    sys.stdout.write(f"{len(created)} topics created, {len(ALL) - len(created)} were there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
