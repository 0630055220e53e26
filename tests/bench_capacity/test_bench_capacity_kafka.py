"""The measuring on a real broker: what is sent is in its log directories, and costs it CPU time."""

from __future__ import annotations

from bench_capacity.loads import to_kafka
from bench_capacity.meter import cpu_s, log_bytes, rss
from bench_capacity.points import NARROW
from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision


async def test_frames_are_seen_in_the_log_and_in_the_time_of_the_broker(
    stack: Stack, kafka: str, topic_prefix: str
) -> None:
    await provision(kafka, topic_prefix)
    topic, data, pid = (
        TELEMETRY_FACTORY.named(topic_prefix),
        stack.state.root / "kafka/data",
        stack.pid("kafka"),
    )
    assert log_bytes(data).get(topic, 0) == 0
    before = cpu_s(pid)
    frames = 20_000
    assert await to_kafka(kafka, NARROW, "packs", 100, None, frames, 0, topic_prefix) == frames
    each = log_bytes(data)[topic] / frames
    samples = NARROW.rows * NARROW.signals * 4
    assert samples < each < samples + 400
    assert cpu_s(pid) > before
    assert rss(pid) > 50e6
