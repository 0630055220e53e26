"""Verdicts of several versions, one after the other: each frame's windows are judged by one of them.

Each asset has turns: the versions that were to decide for it, in order. When a turn begins nobody tells, and
some may be passed over. So, frame by frame: what was said of it is exactly what one of the versions owes, and
there is a way through all frames on which the turns never go back.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from fault.oracle import Given, Judged, Rules, expect
from fault.reconcile import verdict
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.telemetry_pb2 import TelemetryFrame


@dataclass(frozen=True, slots=True, order=True)
class End:
    """Where a window ends: the offset of its last frame, and the row in it."""

    offset: int
    row: int


Said = tuple[int, End, Judged]
"""A verdict that decided: its version, its window's end."""
Due = Mapping[int, Mapping[str, Mapping[End, Judged]]]
"""What the oracle expects, by version, asset, and end."""


@dataclass(slots=True)
class Swapped:
    """The verdict on a run with swaps. `swaps`: how often an asset went from one version to another."""

    verdicts: int = 0
    swaps: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Swapped) -> None:
        """What came of another partition."""
        self.verdicts += other.verdicts
        self.swaps += other.swaps
        self.problems += other.problems


def reconcile_partition(
    given: Sequence[Given], scores: Sequence[bytes], rules: Mapping[int, Rules], routes: Sequence[ModelRoute]
) -> Swapped:
    """Compare what was said of the records of a partition: `scores`. `rules` of each version of the model, by
    its number; `routes` that there were, in order."""
    model = routes[0].contract.model
    offsets = offsets_of(given)
    found = list[Said]()
    for event in map(json.loads, scores):
        if event["model"] == model and event.get("decides", True):
            judged = verdict(event)
            found.append((int(event["model_version"]), End(offsets[judged.caused_by], judged.row), judged))
    return reconcile_swaps(due(given, rules), found, turns_of(routes))


def turns_of(routes: Sequence[ModelRoute]) -> Callable[[str], Sequence[int]]:
    """Who was to decide for an asset, one after the other."""

    def turns(asset: str) -> list[int]:
        found = list[int]()
        for route in routes:
            canary = route.trial is not None and route.trial.decides_for(asset)
            contract = route.trial.contract if canary and route.trial is not None else route.contract
            found += [contract.version] if found[-1:] != [contract.version] else []
        return found

    return turns


def offsets_of(given: Sequence[Given]) -> dict[str, int]:
    """By the id of a frame, the offset at which it first came."""
    offsets: dict[str, int] = {}
    for one in given:
        frame = TelemetryFrame()
        with contextlib.suppress(DecodeError):
            frame.ParseFromString(one.value)
        offsets.setdefault(frame.event_id, one.offset)
    return offsets


def due(given: Sequence[Given], rules: Mapping[int, Rules]) -> Due:
    """What each version, by its number, would say if it alone had decided from the beginning."""
    offsets = offsets_of(given)
    found: dict[int, dict[str, dict[End, Judged]]] = {}
    for version, of_version in rules.items():
        by_asset = found[version] = defaultdict(dict)
        for judged in expect(given, of_version).verdicts:
            by_asset[judged.asset][End(offsets[judged.caused_by], judged.row)] = judged
    return found


def reconcile_swaps(
    due: Due, found: Iterable[tuple[int, End, Judged]], turns: Callable[[str], Sequence[int]]
) -> Swapped:
    """Compare; `found` are the deciding verdicts with their versions, `turns` the versions in the order in
    which they were to decide for an asset. Each may have several turns."""
    result = Swapped()
    said: dict[str, dict[int, list[Said]]] = defaultdict(lambda: defaultdict(list))
    for version, end, judged in found:
        said[judged.asset][end.offset].append((version, end, judged))
        result.verdicts += 1
    for asset in sorted({*said, *(asset for of_version in due.values() for asset in of_version)}):
        its = {version: _by_offset(of_version.get(asset, {})) for version, of_version in due.items()}
        _asset(asset, its, said[asset], turns(asset), result)
    return result


def _by_offset(ends: Mapping[End, Judged]) -> dict[int, dict[End, Judged]]:
    found: dict[int, dict[End, Judged]] = defaultdict(dict)
    for end, judged in ends.items():
        found[end.offset][end] = judged
    return found


def _asset(
    asset: str,
    due: Mapping[int, Mapping[int, Mapping[End, Judged]]],
    said: Mapping[int, Sequence[Said]],
    turns: Sequence[int],
    result: Swapped,
) -> None:
    """Take the earliest turn that explains each frame: it leaves the most to the next ones."""
    now, last = 0, None
    for offset in sorted({*said, *(offset for of_version in due.values() for offset in of_version)}):
        those = said.get(offset, ())
        speaks = {version for version, _, _ in those}

        def explains(turn: int, offset: int = offset, those: Sequence[Said] = those) -> bool:
            return _says_all(turns[turn], due[turns[turn]].get(offset, {}), those)

        if (turn := next(filter(explains, range(now, len(turns))), None)) is None:
            early = any(explains(turn) for turn in range(now))
            result.problems.append(f"{asset}: {_trouble(offset, those, early=early)}")
        else:
            now = turn
        if speaks and last is not None and speaks != last:
            result.swaps += 1
        last = speaks or last


def _says_all(version: int, owed: Mapping[End, Judged], those: Sequence[Said]) -> bool:
    """Whether what was said of a frame is what a version owes of it, once."""
    return (
        len(those) == len(owed)
        and all(speaker == version for speaker, _, _ in those)
        and {end: judged for _, end, judged in those} == owed
    )


def _trouble(offset: int, those: Sequence[Said], *, early: bool) -> str:
    """What is wrong with a frame, in words."""
    frame = f"the frame at offset {offset}"
    if not those:
        return f"nobody spoke of {frame}"
    speaks = sorted({version for version, _, _ in those})
    if len(speaks) > 1:
        return f"versions {speaks} decided of {frame}"
    who = f"version {speaks[0]}"
    if early:
        return f"{who} decided of {frame} when it was not its turn"
    if len({end for _, end, _ in those}) < len(those):
        return f"{who} decided twice of {frame}"
    return f"{who} said what it should not, or not all, of {frame}: {those[0][2]}"
