"""Whether a frame is one that windows may be made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a frame is refused, for its dead letter."""

    reason: Reason
    detail: str


def check_frame(
    frame: Frame,
    signals: tuple[str, ...],
    *,
    now_ns: int = 0,
    max_age_ns: int | None = None,
    max_ahead_ns: int | None = None,
) -> Refusal | None:
    """Why `frame` must be refused, or `None`.

    The time of its first sample is compared with `now_ns` (Unix nanoseconds) only where a limit is given:
    recorded data has old times by design. A value with its quality bit set may be anything.
    """
    given = frame.samples.shape[1]
    if given != len(signals):
        return Refusal(
            Reason.WRONG_SIGNAL_COUNT, f"{given} signals, but {frame.signal_set} has {len(signals)}"
        )
    finite = np.isfinite(frame.samples)
    if frame.bad is not None:
        finite |= frame.bad
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        value = frame.samples[row, column]
        return Refusal(Reason.NON_FINITE, f"{signals[column]} is {value} in sample {row}")
    age_ns = now_ns - frame.first_at_ns
    if max_age_ns is not None and age_ns > max_age_ns:
        return Refusal(Reason.TOO_OLD, f"{age_ns / 1e9:.3f} s old, at most {max_age_ns / 1e9:g} s")
    if max_ahead_ns is not None and -age_ns > max_ahead_ns:
        return Refusal(Reason.IN_FUTURE, f"{-age_ns / 1e9:.3f} s ahead, at most {max_ahead_ns / 1e9:g} s")
    return None
