"""What an expert writes by hand: librdkafka, numpy rings, one request to Triton a poll, at least once."""

from __future__ import annotations

import numpy as np
from common import (
    GROUP,
    KAFKA,
    MAX_BATCH,
    OUT,
    SIGNALS,
    THRESHOLD,
    TOPIC,
    WINDOW,
    Progress,
    Rings,
    Triton,
    anomaly,
)
from confluent_kafka import Consumer, Producer

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

POLL = MAX_BATCH


def main() -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": 262144,
        }
    )
    producer = Producer({"bootstrap.servers": KAFKA, "linger.ms": 5})
    consumer.subscribe([TOPIC])
    rings, triton, progress = Rings(), Triton(), Progress()
    windows = np.empty((POLL, WINDOW, SIGNALS), np.float32)
    while True:
        frames = []
        for message in consumer.consume(POLL, 0.1):
            if message.error():
                continue
            frame = TelemetryFrame.FromString(message.value())
            ring = rings.push(frame)
            if ring is not None:
                windows[len(frames)] = ring
                frames.append(frame)
        if frames:
            scores = triton.scores(windows[: len(frames)])
            for n in np.flatnonzero(scores > THRESHOLD).tolist():
                producer.produce(OUT, anomaly(frames[n], scores[n]), frames[n].asset)
            producer.flush()
            consumer.commit(asynchronous=True)
            progress.add(len(frames))


main()
