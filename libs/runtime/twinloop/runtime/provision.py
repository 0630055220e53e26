"""Create the topics that `twinloop.contracts.topics` declares: `python -m twinloop.runtime.provision`.

Idempotent. Never shrinks or deletes; a topic with fewer partitions than declared is an error, because
services that join topics rely on equal partition numbers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from pydantic import Field

from twinloop.contracts.topics import ALL, Topic
from twinloop.runtime.access import Kafka, client_of
from twinloop.runtime.settings import ServiceSettings, load


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


def _new(topic: Topic, prefix: str, replication: int) -> NewTopic:
    configs = {
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
        present = {one["topic"]: one for one in await admin.describe_topics()}
        for topic in topics:
            there = present.get(topic.named(prefix))
            if there is not None and (count := len(there["partitions"])) != topic.partitions:
                raise TopicMismatch(
                    f"{topic.named(prefix)} has {count} partitions instead of {topic.partitions}:"
                    " create it anew, or choose another TWINLOOP_TOPIC_PREFIX"
                )
        missing = [topic for topic in topics if topic.named(prefix) not in present]
        if missing:
            answer = await admin.create_topics([_new(topic, prefix, replication) for topic in missing])
            for name, code, *detail in answer.topic_errors:
                if code not in (0, 36):  # 36: somebody else created it in between
                    raise KafkaError(f"topic {name}: error {code} {detail}")
        return [topic.named(prefix) for topic in missing]
    finally:
        await admin.close()


def main() -> int:
    """Provision from the environment; exit status 0 when every topic is there."""
    settings = load(ProvisionSettings)
    try:
        created = asyncio.run(provision(settings.kafka_access, settings.topic_prefix, settings.replication))
    except (KafkaError, TopicMismatch) as error:
        sys.stderr.write(f"The topics could not be made on {settings.kafka}: {error}\n")
        return 1
    sys.stdout.write(f"{len(created)} topics created, {len(ALL) - len(created)} were there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
