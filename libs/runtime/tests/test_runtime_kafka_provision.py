"""What topics are asked for. That Kafka makes them: `tests/integration/test_runtime_kafka.py`."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, NoError, UnknownTopicOrPartitionError
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5, MetadataResponse_v5

from twinloop.contracts.topics import ALL
from twinloop.runtime.kafka import provision
from twinloop.runtime.kafka.provision import _new, partitions


@pytest.mark.parametrize(("copies", "in_sync"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_a_written_record_is_in_two_copies_where_one_of_three_may_be_lost(
    copies: int, in_sync: str | None
) -> None:
    """Two of two would stop every writer while one broker restarts."""
    for topic in ALL:
        asked = _new(topic, "acme.", copies)
        assert asked.name == f"acme.{topic.name}"
        assert asked.topic_configs.get("min.insync.replicas") == in_sync


async def test_what_is_not_there_is_not_made_by_asking_for_it() -> None:
    """And nobody else's topics are told of, of which a cluster may have thousands."""
    found = [
        (NoError.errno, "acme.changes", False, [(0, 0, 1, [1], [1], [])]),
        (UnknownTopicOrPartitionError.errno, "acme.models", False, []),
    ]

    class Admin:
        async def _send_request(self, request: MetadataRequest) -> MetadataResponse_v5:
            asked = request.build(MetadataRequest_v5)
            assert (asked.topics, asked.allow_auto_topic_creation) == (["acme.changes", "acme.models"], False)
            return MetadataResponse_v5(0, [], "cluster", 1, found)

    admin = cast("AIOKafkaAdminClient", Admin())
    assert await partitions(admin, ["acme.changes", "acme.models"]) == {"acme.changes": 1}


def a_kafka_that_starts(monkeypatch: pytest.MonkeyPatch, after: int) -> list[str]:
    """It answers when it was asked so many times in vain."""
    asked: list[str] = []

    async def answer(kafka: Any, prefix: str, replication: int) -> list[str]:
        asked.append(prefix)
        if len(asked) <= after:
            raise KafkaConnectionError("nobody there")
        return ["acme.changes"]

    monkeypatch.setenv("TWINLOOP_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("TWINLOOP_TOPIC_PREFIX", "acme.")
    monkeypatch.setattr(provision, "provision", answer)
    monkeypatch.setattr(provision, "_THERE_AGAIN_S", 0.0)
    return asked


def test_a_kafka_that_is_still_starting_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = a_kafka_that_starts(monkeypatch, after=3)
    assert provision.main() == 0
    assert asked == ["acme."] * 4
    assert capsys.readouterr().out.startswith("1 topics created")


def test_one_that_is_not_there_in_time_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = a_kafka_that_starts(monkeypatch, after=10**9)
    monkeypatch.setattr(provision, "_THERE_S", -1.0)
    assert provision.main() == 1
    assert asked == ["acme."]
    assert "could not be made on 127.0.0.1:1: " in capsys.readouterr().err
