"""Bytewax: keyed state for the rings, batches to Triton. Its operators at their cheapest: a source without a
stream of errors, and state that is given all values of a key at once."""

from __future__ import annotations

import bytewax.operators as op
import numpy as np
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import cluster_main
from common import KAFKA, OUT, ROWS, SIGNALS, THRESHOLD, TOPIC, WINDOW, Progress, Triton, anomaly

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

triton, progress = Triton(), Progress()
FRAMES = WINDOW // ROWS


def decode(messages):
    frames = [TelemetryFrame.FromString(one.value) for one in messages]
    return [(frame.asset, frame) for frame in frames]


class Ring(StatefulBatchLogic):
    """The state of an asset is the samples of its last frames."""

    def __init__(self, blocks):
        self.blocks = blocks or []

    def on_batch(self, frames):
        blocks = self.blocks + [frame.samples for frame in frames]
        self.blocks = blocks[-FRAMES + 1 :]
        late = len(frames) - len(blocks)
        windows = [
            (frame, blocks[n - late - FRAMES + 1 : n - late + 1])
            for n, frame in enumerate(frames)
            if n - late + 1 >= FRAMES
        ]
        return windows, StatefulBatchLogic.RETAIN

    def snapshot(self):
        return self.blocks


def judge(items):
    if not items:
        return []
    samples = b"".join([block for _, (_, blocks) in items for block in blocks])
    scores = triton.scores(np.frombuffer(samples, np.float32).reshape(-1, WINDOW, SIGNALS))
    progress.add(len(items))
    frames = [items[n][1][0] for n in np.flatnonzero(scores > THRESHOLD).tolist()]
    high = scores[scores > THRESHOLD].tolist()
    return [
        KafkaSinkMessage(frame.asset.encode(), anomaly(frame, score))
        for frame, score in zip(frames, high, strict=True)
    ]


flow = Dataflow("bench")
source = KafkaSource([KAFKA], [TOPIC], tail=True, batch_size=1000, raise_on_errors=True)
frames = op.flat_map_batch("decode", op.input("telemetry", flow, source), decode)
windows = op.stateful_batch("push", frames, Ring)
found = op.flat_map_batch("judge", windows, judge)
kop.output("anomalies", found, brokers=[KAFKA], topic=OUT)
cluster_main(flow, [], 0)
