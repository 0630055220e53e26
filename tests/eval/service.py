"""The detector without Kafka and Triton: frames in, verdicts out, through the service's own code.

rows -> frames -> Partition.take (order, checks, windows) -> Detection.finish (memory, model, judge) -> scores
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import decode
from twinloop.contracts.events import Anomaly, Verdict
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.contracts.topics import ANOMALIES, SCORES, TELEMETRY_FACTORY
from twinloop.detector.detection import Detection
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory
from twinloop.detector.routes import Routes
from twinloop.detector.score import Scorer
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.recovery import Resume
from twinloop.tritonio.artefact import Artefact
from twinloop.tritonio.onnx_server import OnnxServer
from twinloop.tritonio.repository import publish

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
INPUT = TopicPartition(TELEMETRY_FACTORY.name, 0)
GAP = 1000
"""Sequences of stretches of an asset begin at multiples of this, with frames missing before."""
ROUND = 64
"""Frames of each asset in one round of the detector."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What was said of one stretch: by row, whether the last verdict was an alarm, and its score: NaN and no
    alarm before the first. `threshold`: that of the last one, NaN where there is none."""

    alarmed: Flags
    score: NDArray[np.float64]
    threshold: float


@dataclass(frozen=True, slots=True)
class Given:
    """A record."""

    offset: int
    value: bytes
    key: bytes | None = None


class Service:
    """A detector that serves what is published in `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._server = OnnxServer(root)
        self._routes = Routes()
        metrics = Metrics(CollectorRegistry())

        async def nothing_kept(_: TopicPartition) -> Mapping[bytes, bytes]:
            return {}

        self._detection = Detection(
            self._routes,
            Scorer(self._server, metrics),
            nothing_kept,
            ManualClock(BEGAN),
            Memory(records=1_000_000),
            1,
            metrics,
        )

    async def serve(self, contract: ModelContract, onnx: bytes, scope: str) -> ModelContract:
        """Let the model judge an asset, or all with a signal set."""
        promised = msgspec.structs.replace(contract, version=1)
        publish(self._root, promised, onnx)
        await self._server.load(promised.model)
        self._routes.set(scope, ModelRoute(event_id=scope, scope=scope, at=BEGAN, contract=promised))
        return promised

    async def serve_artefact(self, artefact: Artefact, scope: str) -> ModelContract:
        """The same."""
        return await self.serve(artefact.contract, artefact.onnx, scope)

    async def judge(
        self, signal_set: str, assets: Mapping[str, Sequence[Floats]], frame_rows: int = 1
    ) -> dict[str, list[Said]]:
        """What is said of each stretch of consecutive rows [n, signals] of each of the assets, which send
        side by side, `frame_rows` rows a frame. What is left of a stretch that is no whole frame is not sent.

        Events say the same twice: a verdict of each window, and an anomaly of those that are alarms.
        """
        partition = await self._detection.open(INPUT, Resume(0, 0))
        verdicts: dict[str, list[Verdict]] = {asset: [] for asset in assets}
        anomalies = 0
        for records in _rounds(signal_set, assets, frame_rows):
            outputs = await self._detection.finish({INPUT: partition.take(records)})
            for message in outputs[INPUT]:
                if message.topic == SCORES:
                    verdict: Verdict = decode(SCORES, message.value)
                    verdicts[verdict.asset].append(verdict)
                anomalies += message.topic == ANOMALIES
        assert anomalies == sum(one.anomalous for those in verdicts.values() for one in those)
        return {
            asset: _by_stretch(verdicts[asset], [len(one) for one in stretches], frame_rows)
            for asset, stretches in assets.items()
        }

    async def anomalies(self, frames: Sequence[Frame]) -> list[Anomaly]:
        """Those among the windows that `frames` complete."""
        partition = await self._detection.open(INPUT, Resume(0, 0))
        records = [Given(n, encode_frame(frame)) for n, frame in enumerate(frames)]
        outputs = await self._detection.finish({INPUT: partition.take(records)})
        return [decode(ANOMALIES, one.value) for one in outputs[INPUT] if one.topic == ANOMALIES]


def _rounds(
    signal_set: str, assets: Mapping[str, Sequence[Floats]], frame_rows: int
) -> Iterator[list[Given]]:
    """The frames of all assets as records, so many of each in a round."""
    sending = {name: _frames(name, signal_set, stretches, frame_rows) for name, stretches in assets.items()}
    offset = 0
    while sending:
        records = []
        for _ in range(ROUND):
            for name in list(sending):
                if (frame := next(sending[name], None)) is None:
                    del sending[name]
                    continue
                records.append(Given(offset, encode_frame(frame)))
                offset += 1
        if records:
            yield records


def _frames(asset: str, signal_set: str, stretches: Sequence[Floats], frame_rows: int) -> Iterator[Frame]:
    for base, rows in zip(_bases([len(one) for one in stretches], frame_rows), stretches, strict=True):
        for n in range(len(rows) // frame_rows):
            yield frame_of(asset, signal_set, base + n, rows[n * frame_rows : (n + 1) * frame_rows])


def frame_of(asset: str, signal_set: str, sequence: int, rows: Floats, part_id: str = "") -> Frame:
    """A frame at 1 Hz."""
    return Frame(
        asset=asset,
        signal_set=signal_set,
        sequence=sequence,
        first_at_ns=sequence * len(rows) * 10**9,
        period_ns=10**9,
        samples=rows,
        observed_at_ns=sequence * len(rows) * 10**9,
        event_id=f"{asset}-{sequence}",
        trace_id="",
        part_id=part_id,
    )


def _bases(lengths: Sequence[int], frame_rows: int) -> list[int]:
    """The sequence of the first frame of each stretch."""
    taken = [(length // frame_rows // GAP + 1) * GAP for length in lengths]
    return [sum(taken[:n]) for n in range(len(taken))]


def _by_stretch(verdicts: Sequence[Verdict], lengths: Sequence[int], frame_rows: int) -> list[Said]:
    said = []
    for base, length in zip(_bases(lengths, frame_rows), lengths, strict=True):
        end = base + length // frame_rows
        mine = [one for one in verdicts if base <= one.sequence < end]
        at = np.array([(one.sequence - base) * frame_rows + one.row for one in mine], np.int64)
        score, alarmed = np.full(length, np.nan), np.zeros(length, np.bool_)
        if len(at):
            latest = np.searchsorted(at, np.arange(length), side="right") - 1
            known = latest >= 0
            score[known] = np.array([one.score for one in mine])[latest[known]]
            alarmed[known] = np.array([one.anomalous for one in mine])[latest[known]]
        said.append(Said(alarmed, score, mine[-1].threshold if mine else np.nan))
    return said
