"""Recorded telemetry as windows: the historian's Parquet files, cut as the detector cuts what is live.

<folder>/<topic>/<partition>/<first offset>-<last offset>.parquet
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.contracts.times import unix_ns, utc
from twinloop.features.checks import check_frame
from twinloop.features.ordering import NamedGate, Order
from twinloop.features.windows import WindowBuffer, WindowSpec
from twinloop.trainer.errors import BadRecording, TooFewWindows
from twinloop.trainer.recipes import Recipe

COLUMNS = [
    *("offset", "asset", "signal_set", "sequence", "first_at_ns", "period_ns", "observed_at_ns"),
    *("part_id", "event_id", "trace_id", "signal_count", "samples", "bad", "offsets_ns"),
]
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """Windows of one asset in their order: `values` float32 [N, window, signals]; `began_ns` and `ended_ns`
    int64 [N], the times of the first and the last sample of each."""

    values: NDArray[np.float32]
    began_ns: NDArray[np.int64]
    ended_ns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def since(self) -> datetime:
        """The time of the first sample of all."""
        return utc(int(self.began_ns.min()))

    @property
    def until(self) -> datetime:
        """That of the last one."""
        return utc(int(self.ended_ns.max()))

    def newest(self, count: int) -> Cut:
        """So many of them."""
        first = max(0, len(self) - count)
        return Cut(self.values[first:], self.began_ns[first:], self.ended_ns[first:])


class Recording:
    """Frames of one asset with one signal set, in the folder of one telemetry topic."""

    def __init__(self, folder: Path, recipe: Recipe, asset: str) -> None:
        self._folder = folder
        self._recipe = recipe
        self._asset = asset
        self._read: dict[Path, list[tuple[int, Frame]]] = {}

    def windows(self) -> Cut:
        """The windows recorded so far. Files that were read are kept.

        Raises `BadRecording` when a file cannot be read.
        """
        for path in self._folder.glob("*/*.parquet"):
            if path not in self._read:
                self._read[path] = self._frames(path)
        return cut_in_time((one for frames in self._read.values() for one in frames), self._recipe.spec)

    def _frames(self, path: Path) -> list[tuple[int, Frame]]:
        return recorded_frames(
            path, [("asset", "==", self._asset), ("signal_set", "==", self._recipe.signal_set)]
        )


def recorded_frames(path: Path, wanted: list[tuple[str, str, Any]]) -> list[tuple[int, Frame]]:
    """The frames of a file whose columns are as `wanted`, each with its offset. Raises `BadRecording`."""
    try:
        rows = pq.ParquetFile(path).schema_arrow
        if missing := [name for name in COLUMNS if name not in rows.names]:
            raise BadRecording(f"{path} has no column {missing[0]!r}: it holds no telemetry")
        table = pq.read_table(path, columns=COLUMNS, filters=wanted)
    except (OSError, pa.ArrowException) as error:
        raise BadRecording(f"{path} cannot be read: {error}") from error
    return [(row["offset"], frame) for row in table.to_pylist() if (frame := frame_of(row))]


def frames_of_assets(
    folder: Path,
    signal_set: str,
    assets: Sequence[str],
    since: datetime | None = None,
    until: datetime | None = None,
) -> dict[str, list[tuple[int, Frame]]]:
    """Frames of each of `assets`, or of all where none is named, in a topic's `folder`: those whose first
    sample is from `since` on and before `until`. By name, each with its offset. Raises `BadRecording` where
    an asset has none."""
    wanted: list[tuple[str, str, Any]] = [("signal_set", "==", signal_set)]
    if assets:
        wanted.append(("asset", "in", list(assets)))
    if since is not None:
        wanted.append(("first_at_ns", ">=", unix_ns(since)))
    if until is not None:
        wanted.append(("first_at_ns", "<", unix_ns(until)))
    frames: dict[str, list[tuple[int, Frame]]] = {one: [] for one in assets}
    for path in sorted(folder.glob("*/*.parquet")):
        for offset, frame in recorded_frames(path, wanted):
            frames.setdefault(frame.asset, []).append((offset, frame))
    if missing := [asset for asset, those in frames.items() if not those]:
        raise BadRecording(f"{folder} holds no frame of {missing[0]} with {signal_set} in that time")
    if not frames:
        raise BadRecording(f"{folder} holds no frame with {signal_set} in that time")
    return dict(sorted(frames.items()))


def good(frames: Iterable[tuple[int, Frame]], signals: tuple[str, ...]) -> list[Frame]:
    """The frames of one asset that the detector would judge, in their order.

    An asset has one key and so one partition: offsets are its order.
    """
    gate = NamedGate()
    return [
        frame
        for _, frame in sorted(frames, key=lambda one: one[0])
        if gate.check(frame.asset, frame.signal_set, frame.sequence) is Order.NEW
        and check_frame(frame, signals) is None
    ]


def cut(
    frames: Iterable[tuple[int, Frame]], spec: WindowSpec, columns: tuple[str, ...] = ()
) -> NDArray[np.float32]:
    """The windows of one asset's frames, as the detector cuts them: float32 [N, window, signals]. `columns`:
    the signals of a frame, where a window has only some of them, or in another order."""
    whole = replace(spec, signals=columns or spec.signals)
    values = cut_in_time(frames, whole).values
    if spec.signals == whole.signals:
        return values
    return values[:, :, [whole.signals.index(one) for one in spec.signals]]


def cut_in_time(frames: Iterable[tuple[int, Frame]], spec: WindowSpec) -> Cut:
    """The windows of one asset's frames with the signals of `spec`, and when they were."""
    sound = good(frames, spec.signals)
    found = WindowBuffer(spec).push(sound)
    first_at, period = (
        np.array([getattr(frame, name) for frame in sound], np.int64) for name in ("first_at_ns", "period_ns")
    )
    ended = first_at[found.frame] + found.row * period[found.frame]
    return Cut(found.values, ended - (spec.window - 1) * period[found.frame], ended)


async def recorded(recording: Recording, wanted: int, timeout_s: float) -> Cut:
    """At least `wanted` windows, once the recording holds them. Raises `TooFewWindows`, `BadRecording`."""
    found = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                windows = await asyncio.to_thread(recording.windows)
                if (found := len(windows)) >= wanted:
                    return windows
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise TooFewWindows(
            f"the recording holds {found} windows of the asset after {timeout_s:g} s, not {wanted}"
        ) from None


def frame_of(row: dict[str, Any]) -> Frame | None:
    """A row as the frame that it was; `None` for one whose samples are no whole rows of its signals."""
    width, samples = row["signal_count"], row["samples"]
    if not width or not samples or len(samples) % (4 * width):
        return None
    values = np.frombuffer(samples, "<f4").reshape(-1, width)
    bad = None
    if row["bad"] is not None:
        bits = np.unpackbits(np.frombuffer(row["bad"], np.uint8), count=values.size)
        bad = bits.astype(np.bool_).reshape(values.shape)
    return Frame(
        asset=row["asset"],
        signal_set=row["signal_set"],
        sequence=row["sequence"],
        first_at_ns=row["first_at_ns"],
        period_ns=row["period_ns"],
        samples=values,
        observed_at_ns=row["observed_at_ns"],
        event_id=row["event_id"],
        trace_id=row["trace_id"],
        part_id=row["part_id"],
        bad=bad,
        offsets_ns=None if row["offsets_ns"] is None else np.frombuffer(row["offsets_ns"], "<u8"),
    )
