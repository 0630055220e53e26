"""A Faust agent that takes up to 512 events at a time, and asks Triton once for all of them."""

from __future__ import annotations

import faust
import numpy as np
from common import GROUP, KAFKA, MODEL, OUT, THRESHOLD, TOPIC, TRITON, Progress, Rings, anomaly, request
from tritonclient.grpc.aio import InferenceServerClient

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

app = faust.App(
    GROUP, broker=f"kafka://{KAFKA}", value_serializer="raw", topic_partitions=12, web_enabled=False
)
telemetry = app.topic(TOPIC, value_type=bytes, value_serializer="raw")
anomalies = app.topic(OUT, value_type=bytes, value_serializer="raw")
rings, progress = Rings(), Progress()


@app.agent(telemetry)
async def judge(stream):
    triton = InferenceServerClient(TRITON)
    async for events in stream.take_events(512, within=0.1):
        frames, windows = [], []
        for event in events:
            frame = TelemetryFrame.FromString(event.value)
            window = rings.push(frame)
            if window is not None:
                frames.append(frame)
                windows.append(window.copy())
        if not frames:
            continue
        answer = await triton.infer(MODEL, request(np.stack(windows)))
        scores = answer.as_numpy("score").ravel()
        for n in np.flatnonzero(scores > THRESHOLD).tolist():
            await anomalies.send(key=frames[n].asset.encode(), value=anomaly(frames[n], scores[n]))
        progress.add(len(frames))


app.main()
