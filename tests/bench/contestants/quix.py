"""Quix Streams as its quickstart shows: a dataframe over the topic, a function an event."""

from __future__ import annotations

from common import GROUP, KAFKA, OUT, THRESHOLD, TOPIC, Progress, Rings, Triton, anomaly
from quixstreams import Application

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

app = Application(
    broker_address=KAFKA, consumer_group=GROUP, auto_offset_reset="earliest", loglevel="WARNING"
)
telemetry = app.topic(TOPIC, value_deserializer="bytes")
anomalies = app.topic(OUT, value_serializer="bytes")
rings, triton, progress = Rings(), Triton(), Progress()


def judge(value: bytes) -> bytes | None:
    frame = TelemetryFrame.FromString(value)
    window = rings.push(frame)
    if window is None:
        return None
    score = triton.scores(window[None])[0]
    progress.add(1)
    return anomaly(frame, score) if score > THRESHOLD else None


stream = app.dataframe(telemetry)
stream = stream.apply(judge)
stream = stream[stream.apply(lambda value: value is not None)]
stream = stream.to_topic(anomalies)
app.run()
