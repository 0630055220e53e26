"""`Frame`: samples of one signal set of one asset, and its Protobuf form.

Samples never pass through per-value Python: they are packed float32 and decoded by `numpy.frombuffer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.errors import ContractError
from twinloop.contracts.telemetry_pb2 import TelemetryFrame


class InvalidFrame(ContractError):
    """Raised when bytes are no valid frame.

    `reason` is the dead-letter reason. Operator action: look at the dead letter and mend its publisher.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Consecutive samples of one asset.

    `samples` float32 [time, signal]; `bad` bool [time, signal] or `None` when every value is good.
    `first_at_ns`, `observed_at_ns`: Unix nanoseconds; `period_ns` between samples, 0 when `offsets_ns`
    (uint64 [time], nanoseconds after `first_at_ns`) gives each one.
    """

    asset: str
    signal_set: str
    sequence: int
    first_at_ns: int
    period_ns: int
    samples: NDArray[np.float32]
    observed_at_ns: int
    event_id: str
    trace_id: str
    part_id: str = ""
    bad: NDArray[np.bool_] | None = None
    offsets_ns: NDArray[np.uint64] | None = None


def encode_frame(frame: Frame) -> bytes:
    """The Protobuf form of `frame`."""
    samples = np.ascontiguousarray(frame.samples, dtype="<f4")
    message = TelemetryFrame(
        asset=frame.asset,
        signal_set=frame.signal_set,
        sequence=frame.sequence,
        first_at_ns=frame.first_at_ns,
        period_ns=frame.period_ns,
        signal_count=samples.shape[1],
        samples=samples.tobytes(),
        part_id=frame.part_id,
        event_id=frame.event_id,
        trace_id=frame.trace_id,
        observed_at_ns=frame.observed_at_ns,
    )
    if frame.bad is not None and frame.bad.any():
        message.bad = np.packbits(frame.bad).tobytes()
    if frame.offsets_ns is not None:
        message.offsets_ns.extend(frame.offsets_ns.tolist())
    return message.SerializeToString()


def decode_frame(data: bytes) -> Frame:
    """The frame in `data`; its samples are a read-only view of the message's bytes.

    Checks shape only; whether the values make sense for their signal set is the reader's question.
    Raises `InvalidFrame` with reason `undecodable` or `wrong_signal_count`.
    """
    try:
        message = TelemetryFrame.FromString(data)
    except DecodeError as error:
        raise InvalidFrame(Reason.UNDECODABLE, f"no TelemetryFrame: {error}") from error
    if not message.asset or not message.signal_set:
        raise InvalidFrame(Reason.UNDECODABLE, "asset and signal_set must be set")
    signals = message.signal_count
    if signals == 0 or not message.samples or len(message.samples) % (4 * signals):
        raise InvalidFrame(
            Reason.WRONG_SIGNAL_COUNT,
            f"{len(message.samples)} bytes are not whole float32 rows of {signals} signals",
        )
    samples = np.frombuffer(message.samples, dtype="<f4").reshape(-1, signals)
    bad: NDArray[np.bool_] | None = None
    if message.bad:
        if len(message.bad) != (samples.size + 7) // 8:
            raise InvalidFrame(Reason.UNDECODABLE, "the quality bits do not match the samples")
        bits = np.unpackbits(np.frombuffer(message.bad, dtype=np.uint8), count=samples.size)
        bad = bits.astype(np.bool_).reshape(samples.shape)
    offsets: NDArray[np.uint64] | None = None
    if message.offsets_ns:
        offsets = np.fromiter(message.offsets_ns, dtype=np.uint64, count=len(message.offsets_ns))
        if offsets.shape[0] != samples.shape[0]:
            raise InvalidFrame(Reason.UNDECODABLE, "there must be one offset per sample")
    return Frame(
        asset=message.asset,
        signal_set=message.signal_set,
        sequence=message.sequence,
        first_at_ns=message.first_at_ns,
        period_ns=message.period_ns,
        samples=samples,
        observed_at_ns=message.observed_at_ns,
        event_id=message.event_id,
        trace_id=message.trace_id,
        part_id=message.part_id,
        bad=bad,
        offsets_ns=offsets,
    )
