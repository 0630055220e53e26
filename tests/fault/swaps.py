"""Verdicts of several versions, one after the other: each window has one, of the version whose turn it was.

A partition's turn goes from one version to the next at some offset, which nobody tells. So, asset by asset:
the verdicts of a version are exactly those that the oracle expects of it between its first and its last one;
and between the last of one and the first of the next there is an offset before which the one owes nothing
more, and after which the next owed nothing yet.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from google.protobuf.message import DecodeError

from fault.oracle import Given, Judged, Rules, expect
from twinloop.contracts.telemetry_pb2 import TelemetryFrame


@dataclass(frozen=True, slots=True, order=True)
class End:
    """Where a window ends: the offset of its last frame, and the row in it."""

    offset: int
    row: int


Due = Mapping[int, Mapping[str, Mapping[End, Judged]]]
"""What the oracle expects, by version, asset, and end."""


@dataclass(slots=True)
class Swapped:
    """The verdict on a run with swaps. `swaps`: how often an asset went from one version to another."""

    verdicts: int = 0
    swaps: int = 0
    problems: list[str] = field(default_factory=list)


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
    by_asset: dict[str, list[tuple[End, int, Judged]]] = defaultdict(list)
    for version, end, judged in found:
        by_asset[judged.asset].append((end, version, judged))
        result.verdicts += 1
    assets = {asset for of_version in due.values() for asset, ends in of_version.items() if ends}
    for asset in sorted(assets | set(by_asset)):
        _asset(asset, due, sorted(by_asset[asset], key=lambda one: one[:2]), turns(asset), result)
    return result


def _asset(
    asset: str, due: Due, said: list[tuple[End, int, Judged]], turns: Sequence[int], result: Swapped
) -> None:
    problems = result.problems
    for (end, *_), (after, *_) in pairwise(said):
        if end == after:
            problems.append(f"{asset}: two verdicts on the window that ends at {end}")
    for end, version, judged in said:
        if due.get(version, {}).get(asset, {}).get(end) != judged:
            problems.append(f"{asset}: version {version} said what it should not of {end}: {judged}")
    pieces: list[list[tuple[End, int, Judged]]] = []
    for one in said:
        if not pieces or pieces[-1][-1][1] != one[1]:
            pieces.append([])
        pieces[-1].append(one)
    order = iter(turns)
    for piece in pieces:
        if piece[0][1] not in order:
            problems.append(f"{asset}: version {piece[0][1]} decided when it was not its turn")
    for piece in pieces:
        _whole(asset, due, piece, problems)
    for one, other in pairwise(pieces):
        result.swaps += 1
        _border(asset, due, one[-1], other[0], problems)
    if pieces:
        _outside(asset, due, pieces, problems)
    else:
        problems.append(f"{asset}: nothing was said of it")


def _whole(asset: str, due: Due, piece: list[tuple[End, int, Judged]], problems: list[str]) -> None:
    first, last, version = piece[0][0], piece[-1][0], piece[0][1]
    there = {end for end, _, _ in piece}
    missing = [end for end in due[version].get(asset, {}) if first <= end <= last and end not in there]
    if missing:
        problems.append(
            f"{asset}: version {version} said nothing of {len(missing)} ends, such as {missing[0]}"
        )


def _border(
    asset: str,
    due: Due,
    last: tuple[End, int, Judged],
    first: tuple[End, int, Judged],
    problems: list[str],
) -> None:
    """All that the next version did not say must come before all that the one before did not."""
    if last[0].offset >= first[0].offset:
        problems.append(f"{asset}: two versions decided of the frame at offset {first[0].offset}")
    owed, early = (
        [end.offset for end in due[version].get(asset, {}) if last[0] < end < first[0]]
        for version in (last[1], first[1])
    )
    if owed and early and max(early) >= min(owed):
        problems.append(
            f"{asset}: nobody spoke between {last[0]} of version {last[1]}"
            f" and {first[0]} of version {first[1]}"
        )


def _outside(asset: str, due: Due, pieces: list[list[tuple[End, int, Judged]]], problems: list[str]) -> None:
    """Nothing is owed before the first verdict and after the last one, by those who gave them."""
    (first, begins, _), (last, ends, _) = pieces[0][0], pieces[-1][-1]
    before = [end for end in due[begins].get(asset, {}) if end < first]
    after = [end for end in due[ends].get(asset, {}) if end > last]
    for missing, version in ((before, begins), (after, ends)):
        if missing:
            problems.append(
                f"{asset}: version {version} said nothing of {len(missing)} ends, such as {missing[0]}"
            )
