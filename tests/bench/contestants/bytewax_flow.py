"""Bytewax: keyed state for the rings, batches to Triton."""

from __future__ import annotations

import bytewax.operators as op
import numpy as np
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main
from common import KAFKA, OUT, ROWS, SIGNALS, THRESHOLD, TOPIC, WINDOW, Progress, Triton, anomaly

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

triton, progress = Triton(), Progress()
FRAMES = WINDOW // ROWS


def decode(messages):
    frames = [TelemetryFrame.FromString(one.value) for one in messages]
    return [(frame.asset, frame) for frame in frames]


def push(blocks, frame):
    """The state of an asset is the samples of its last frames."""
    blocks = (*(blocks or ())[-FRAMES + 1 :], frame.samples)
    return blocks, ((frame, b"".join(blocks)) if len(blocks) == FRAMES else None)


def judge(items):
    found = [one for _, one in items if one is not None]
    if not found:
        return []
    windows = np.frombuffer(b"".join([window for _, window in found]), np.float32)
    scores = triton.scores(windows.reshape(-1, WINDOW, SIGNALS))
    progress.add(len(found))
    return [
        KafkaSinkMessage(found[n][0].asset.encode(), anomaly(found[n][0], scores[n]))
        for n in np.flatnonzero(scores > THRESHOLD).tolist()
    ]


flow = Dataflow("bench")
source = kop.input("telemetry", flow, brokers=[KAFKA], topics=[TOPIC], tail=True, batch_size=4000)
frames = op.flat_map_batch("decode", source.oks, decode)
windows = op.stateful_map("push", frames, push)
found = op.flat_map_batch("judge", windows, judge)
kop.output("anomalies", found, brokers=[KAFKA], topic=OUT)
cluster_main(flow, [], 0)
