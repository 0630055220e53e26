"""Recorded parts: the historian's telemetry, as means over a part, joined with its genealogy.

<folder>/<topic>/<partition>/<first offset>-<last offset>.parquet
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.processes import Used
from twinloop.contracts.topics import GENEALOGY, TELEMETRY_FACTORY
from twinloop.trainer.errors import BadRecording, TrialsNotFound
from twinloop.trainer.recipes import WELD
from twinloop.trainer.trials import Joints, Plan, TrialParts, of_plan
from twinloop.trainer.windows import COLUMNS, frame_of

_EVENTS = ["offset", "asset", "type", "value"]
_SHOWN = ("plasma", "window_temperature_c", "back_reflection", "oct_depth_mm")
_LEAST_GOOD = 0.5
"""Of the samples of a signal; with fewer, their mean says nothing about the part."""
_LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class _Half:
    """One record of a part: where it lies, and what it says."""

    partition: int
    offset: int
    values: tuple[float, ...]


class RecordedJoints:
    """Parts of one asset, in the historian's folder. `prefix` is that of the topics' names."""

    def __init__(self, folder: Path, prefix: str, asset: str) -> None:
        self._telemetry = TELEMETRY_FACTORY.named(prefix)
        self._genealogy = GENEALOGY.named(prefix)
        self._folder = folder
        self._asset = asset
        self._shown: dict[Path, list[tuple[int, _Half]]] = {}
        self._made: dict[Path, list[tuple[int, _Half]]] = {}

    def joints(self) -> Joints:
        """The parts of which both halves are recorded so far. Files that were read are kept.

        Raises `BadRecording` when a file cannot be read.
        """
        for path in (self._folder / self._telemetry).glob("*/*.parquet"):
            if path not in self._shown:
                self._shown[path] = self._frames(path)
        for path in (self._folder / self._genealogy).glob("*/*.parquet"):
            if path not in self._made:
                self._made[path] = self._events(path)
        shown, made = _first(self._shown.values()), _first(self._made.values())
        both = sorted(shown.keys() & made.keys())
        rows = np.array([(*made[one].values, *shown[one].values) for one in both], np.float64).reshape(-1, 7)
        power, focus, resistance, plasma, temperature, reflection, depth = rows.T
        return Joints(
            sequence=np.array(both, np.int64),
            power_w=power,
            focus_mm=focus,
            depth_mm=depth,
            window_temperature_c=temperature,
            back_reflection=reflection,
            plasma=plasma,
            resistance_uohm=resistance,
        )

    def used(self, joints: Joints) -> tuple[Used, ...]:
        """The records of these parts."""
        shown, made = _first(self._shown.values()), _first(self._made.values())
        chosen = [int(one) for one in joints.sequence]
        return (
            *_used(self._telemetry, [shown[one] for one in chosen]),
            *_used(self._genealogy, [made[one] for one in chosen]),
        )

    def _frames(self, path: Path) -> list[tuple[int, _Half]]:
        wanted = [("asset", "==", self._asset), ("signal_set", "==", WELD.signal_set)]
        found = []
        for row in _rows(path, COLUMNS, wanted, "telemetry"):
            frame = frame_of(row)
            means = None if frame is None else _means(frame)
            if means is not None:
                found.append((row["sequence"], _Half(_partition(path), row["offset"], means)))
        return found

    def _events(self, path: Path) -> list[tuple[int, _Half]]:
        wanted = [("asset", "==", self._asset), ("type", "==", "joint_welded")]
        found = []
        for row in _rows(path, _EVENTS, wanted, "events"):
            try:
                joint = decode(GENEALOGY, row["value"].encode())
            except Undecodable:
                continue  # another version's
            if isinstance(joint, JointWelded):
                values = (joint.power_w, joint.focus_mm, joint.resistance_uohm)
                found.append((joint.sequence, _Half(_partition(path), row["offset"], values)))
        return found


async def recorded(recording: RecordedJoints, plan: Plan, timeout_s: float) -> TrialParts:
    """The parts of the plan, once the recording holds them. Raises `TrialsNotFound`, `BadRecording`."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        joints = await asyncio.to_thread(recording.joints)
        try:
            parts = of_plan(joints, plan)
        except TrialsNotFound:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_LOOK_EVERY_S)
            continue
        used = recording.used(parts.joints)
        return TrialParts(_with_data(parts.joints, used), parts.trial, parts.transmission)


def _with_data(joints: Joints, used: tuple[Used, ...]) -> Joints:
    columns = {name: getattr(joints, name) for name in Joints.__dataclass_fields__}
    return Joints(**(columns | {"data": used}))


def _rows(path: Path, columns: list[str], wanted: Any, kind: str) -> list[dict[str, Any]]:
    try:
        names = pq.ParquetFile(path).schema_arrow.names
        if missing := [name for name in columns if name not in names]:
            raise BadRecording(f"{path} has no column {missing[0]!r}: it holds no {kind}")
        rows: list[dict[str, Any]] = pq.read_table(path, columns=columns, filters=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadRecording(f"{path} cannot be read: {error}") from error
    return rows


def _partition(path: Path) -> int:
    return int(path.parent.name)


def _first(files: Iterable[list[tuple[int, _Half]]]) -> dict[int, _Half]:
    """By part counter, what was said first: the rest are repeats."""
    first: dict[int, _Half] = {}
    for sequence, half in sorted((one for file in files for one in file), key=lambda one: one[1].offset):
        first.setdefault(sequence, half)
    return first


def _used(topic: str, halves: list[_Half]) -> list[Used]:
    partitions = sorted({one.partition for one in halves})
    found = []
    for partition in partitions:
        offsets = [one.offset for one in halves if one.partition == partition]
        found.append(
            Used(
                topic=topic,
                partition=partition,
                first_offset=min(offsets),
                last_offset=max(offsets),
                records=len(offsets),
            )
        )
    return found


def _means(frame: Frame) -> tuple[float, ...] | None:
    """Of the signals in `_SHOWN` over the good samples; `None` when one has too few."""
    if frame.samples.shape[1] != len(WELD.spec.signals):
        return None
    columns = [WELD.spec.signals.index(one) for one in _SHOWN]
    samples = frame.samples[:, columns]
    good = np.isfinite(samples)
    if frame.bad is not None:
        good &= ~frame.bad[:, columns]
    count = good.sum(axis=0)
    if (count < max(1.0, _LEAST_GOOD * len(samples))).any():
        return None
    means = np.sum(samples, axis=0, dtype=np.float64, where=good) / count
    return tuple(means.tolist())
