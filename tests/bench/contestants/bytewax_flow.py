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


def decode(messages):
    return [(frame.asset, frame) for frame in (TelemetryFrame.FromString(one.value) for one in messages)]


def push(ring, frame):
    """The state of an asset is its ring and how many frames it has seen."""
    if ring is None:
        ring = (np.zeros((WINDOW, SIGNALS), np.float32), 0)
    samples, seen = ring
    samples[:-ROWS] = samples[ROWS:]
    samples[-ROWS:] = np.frombuffer(frame.samples, np.float32).reshape(ROWS, SIGNALS)
    seen += 1
    return (samples, seen), ((frame, samples.copy()) if seen * ROWS >= WINDOW else None)


def judge(items):
    found = [one for _, one in items if one is not None]
    if not found:
        return []
    scores = triton.scores(np.stack([window for _, window in found]))
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
