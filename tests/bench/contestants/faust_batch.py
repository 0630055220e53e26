"""A Faust agent that takes up to 512 events at a time, and asks Triton once for all of them."""

from __future__ import annotations

import faust
import numpy as np
from common import (
    GROUP,
    KAFKA,
    MODEL,
    OUT,
    OUTPUTS,
    ROWS,
    SIGNALS,
    THRESHOLD,
    TOPIC,
    TRITON,
    WINDOW,
    Progress,
    anomaly,
    request,
)
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
progress = Progress()
FRAMES = WINDOW // ROWS


@app.agent(telemetry)
async def judge(stream):
    triton, blocks = InferenceServerClient(TRITON), {}
    async for events in stream.take_events(512, within=0.1):
        frames, windows = [], []
        for event in events:
            frame = TelemetryFrame.FromString(event.value)
            last = blocks[frame.asset] = (*blocks.get(frame.asset, ())[-FRAMES + 1 :], frame.samples)
            if len(last) == FRAMES:
                frames.append(frame)
                windows += last
        if not frames:
            continue
        batch = np.frombuffer(b"".join(windows), np.float32).reshape(-1, WINDOW, SIGNALS)
        answer = await triton.infer(MODEL, request(batch), outputs=OUTPUTS)
        scores = answer.as_numpy("score").ravel()
        for n in np.flatnonzero(scores > THRESHOLD).tolist():
            await anomalies.send(key=frames[n].asset.encode(), value=anomaly(frames[n], scores[n]))
        progress.add(len(frames))


app.main()
