"""What the contestants share: where things are, the format of a frame, the model's answer, and progress."""

from __future__ import annotations

import gc
import json
import os
import signal
import time

import numpy as np
import tritonclient.grpc as grpc

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

# As Twinloop does: records and windows are many and short-lived, and hold no cycles.
gc.set_threshold(50_000, 20, 100)

KAFKA = os.environ["BENCH_KAFKA"]
TRITON = os.environ["BENCH_TRITON"]
TOPIC = os.environ["BENCH_TOPIC"]
OUT = os.environ["BENCH_OUT"]
GROUP = os.environ["BENCH_GROUP"]
MODEL = os.environ["BENCH_MODEL"]
THRESHOLD = float(os.environ["BENCH_THRESHOLD"])
ROWS, SIGNALS, WINDOW = 16, 8, 64
MAX_BATCH = 1024
"""What the model takes at once."""

OUTPUTS = [grpc.InferRequestedOutput(name) for name in ("score", "features", "deviations")]


class Progress:
    """Tells on stdout how many windows are done: `windows` after each batch."""

    def __init__(self) -> None:
        self.windows = 0
        self._told_at = 0.0
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

    def add(self, windows: int) -> None:
        self.windows += windows
        now = time.monotonic()
        if now - self._told_at > 0.1:
            self._told_at = now
            os.write(1, b"%d\n" % self.windows)  # Faust takes sys.stdout for its log


def request(windows: np.ndarray) -> list[grpc.InferInput]:
    """`windows` float32 [n, WINDOW, SIGNALS] as the model's input."""
    tensor = grpc.InferInput("windows", windows.shape, "FP32")
    tensor.set_data_from_numpy(windows)
    return [tensor]


class Triton:
    """A synchronous client."""

    def __init__(self) -> None:
        self._client = grpc.InferenceServerClient(TRITON)

    def scores(self, windows: np.ndarray) -> np.ndarray:
        """Score of each window, float32 [n]."""
        answers = [
            self._client.infer(MODEL, request(windows[at : at + MAX_BATCH]), outputs=OUTPUTS)
            for at in range(0, len(windows), MAX_BATCH)
        ]
        return np.concatenate([one.as_numpy("score").ravel() for one in answers])


class Rings:
    """The last samples of each asset, moved up by a frame at a time."""

    def __init__(self) -> None:
        self._rings: dict[str, np.ndarray] = {}
        self._frames: dict[str, int] = {}

    def push(self, frame: TelemetryFrame) -> np.ndarray | None:
        """The window that ends with this frame, float32 [WINDOW, SIGNALS]: a view of the ring; `None` until
        there are enough samples."""
        asset = frame.asset
        ring = self._rings.get(asset)
        if ring is None:
            ring = self._rings[asset] = np.zeros((WINDOW, SIGNALS), np.float32)
            self._frames[asset] = 0
        ring[:-ROWS] = ring[ROWS:]
        ring[-ROWS:] = np.frombuffer(frame.samples, np.float32).reshape(ROWS, SIGNALS)
        self._frames[asset] = seen = self._frames[asset] + 1
        return ring if seen * ROWS >= WINDOW else None


def anomaly(frame: TelemetryFrame, score: float) -> bytes:
    """The event that is published of an anomalous window."""
    return json.dumps(
        {
            "asset": frame.asset,
            "sequence": frame.sequence,
            "caused_by": frame.event_id,
            "trace_id": frame.trace_id,
            "observed_at": frame.observed_at_ns,
            "score": float(score),
            "threshold": THRESHOLD,
            "model": MODEL,
        }
    ).encode()
