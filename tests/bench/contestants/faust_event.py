"""A plain Faust agent: one event, one inference."""

from __future__ import annotations

import faust
from common import GROUP, KAFKA, MODEL, OUT, THRESHOLD, TOPIC, TRITON, Progress, Rings, anomaly, request
from tritonclient.grpc.aio import InferenceServerClient

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

app = faust.App(
    GROUP,
    broker=f"kafka://{KAFKA}",
    topic_partitions=12,
    stream_buffer_maxsize=16384,
    web_enabled=False,
)
telemetry = app.topic(TOPIC, value_type=bytes, value_serializer="raw")
anomalies = app.topic(OUT, value_type=bytes, value_serializer="raw")
rings, progress = Rings(), Progress()


@app.agent(telemetry)
async def judge(values):
    triton = InferenceServerClient(TRITON)
    async for value in values:
        frame = TelemetryFrame.FromString(value)
        window = rings.push(frame)
        if window is None:
            continue
        answer = await triton.infer(MODEL, request(window[None]))
        score = answer.as_numpy("score").ravel()[0]
        if score > THRESHOLD:
            await anomalies.send(key=frame.asset.encode(), value=anomaly(frame, score))
        progress.add(1)


app.main()
