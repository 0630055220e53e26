"""Entries chained by SHA-256: how one follows another, and what is wrong with a file of them. Pure.

A line is the deterministic JSON of an entry and a line feed, so one entry has one possible line. What a
chain alone cannot show, a tail cut off or a chain made anew as a whole, its copies elsewhere show.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from twinloop.contracts.audit import FIRST, AuditEntry, digest_of
from twinloop.contracts.ids import event_id

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")
_DECODER: Final = msgspec.json.Decoder(AuditEntry)


@dataclass(frozen=True, slots=True)
class Act:
    """What is to be written down, before it has a place in a chain. Fields as in `AuditEntry`."""

    at: datetime
    asset: str
    who: str
    what: str
    old: str = ""
    new: str = ""
    reason: str = ""
    result: str = ""
    change_id: str | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a time without a zone is none")


@dataclass(frozen=True, slots=True)
class Head:
    """The entry that the next one follows. Number 0 is before the first."""

    number: int = 0
    digest: str = FIRST


class Problem(StrEnum):
    """What is wrong with a line."""

    NOT_AN_ENTRY = "not an entry"
    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT = "cut"
    COPY = "copy"
    """Not the file is wrong but its copies."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in `line` (from 1). Of what is missing, the line before which it is missing; of a copy,
    the line that it is a copy of: number 7 is in line 7."""

    line: int
    problem: Problem
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}: {self.text}"


def chained(act: Act, chain: str, head: Head) -> AuditEntry:
    """`act` as the entry of `chain` that follows `head`."""
    number = head.number + 1
    entry = AuditEntry(
        event_id=event_id("audit_entry", chain, number, head.digest, act.at.isoformat(), _text(act.what)),
        chain=chain,
        number=number,
        at=act.at,
        asset=_text(act.asset),
        who=_text(act.who),
        what=_text(act.what),
        old=_text(act.old),
        new=_text(act.new),
        reason=_text(act.reason),
        result=_text(act.result),
        change_id=None if act.change_id is None else _text(act.change_id),
        previous=head.digest,
    )
    return msgspec.structs.replace(entry, digest=digest_of(entry))


def line_of(entry: AuditEntry) -> bytes:
    """Its line, with the line feed."""
    return _ENCODER.encode(entry) + b"\n"


def entry_of(line: bytes) -> AuditEntry:
    """The entry in a line without its line feed. Raises `ValueError` with what is wrong.

    Only the very line that was written is believed: other white space, another order or a field too many
    is a change, too.
    """
    try:
        entry = _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if entry.number < 1 or _ENCODER.encode(entry) != line:
        raise ValueError("it is not written as entries are")
    if digest_of(entry) != entry.digest:
        raise ValueError("its digest is not that of its content")
    return entry


def verify(lines: Iterable[bytes], chain: str | None = None, *, whole: bool = True) -> list[Finding]:
    """What is wrong with `lines` (without line feeds), in their order; nothing when the chain is intact.

    `chain`: which it must be; by default that of the first entry. With `whole=False` they may begin with any
    entry: the end of a longer file.
    """
    findings: list[Finding] = []
    sound: list[_Placed] = []
    stray: list[int] = []  # lines that are none of the chain's entries, whatever they once were
    for place, line in enumerate(lines, 1):
        try:
            entry = entry_of(line)
        except ValueError as error:
            kind = Problem.CHANGED if line.startswith(b'{"') else Problem.NOT_AN_ENTRY
            findings.append(Finding(place, kind, str(error)))
            stray.append(place)
            continue
        chain = chain or entry.chain
        if entry.chain != chain:
            findings.append(
                Finding(place, Problem.INSERTED, f"it belongs to chain {entry.chain!r}, not to {chain!r}")
            )
            stray.append(place)
        else:
            sound.append(_Placed(place, entry.number, entry.previous, entry.digest))
    sound, doubles = _one_a_number(sound)
    for one in doubles:
        text = f"number {one.number} is there twice, and nothing that follows builds on this one"
        findings.append(Finding(one.line, Problem.INSERTED, text))
        stray.append(one.line)
    in_order, elsewhere = _in_order(sound)
    by_number = {one.number: one for one in sound}
    moved: list[int] = []
    for one in elsewhere:
        before, after = by_number.get(one.number - 1), by_number.get(one.number + 1)
        if (before and before.digest == one.previous) or (after and after.previous == one.digest):
            text = f"number {one.number} does not stand in the order in which it was written"
            findings.append(Finding(one.line, Problem.REORDERED, text))
            moved.append(one.number)
        else:
            text = f"number {one.number} follows no entry, and none follows it"
            findings.append(Finding(one.line, Problem.INSERTED, text))
            stray.append(one.line)
    if whole:
        in_order.insert(0, _Placed(0, 0, "", FIRST))
    findings.extend(_breaks(in_order, moved, sorted(stray)))
    return sorted(findings, key=lambda one: one.line)


def compare(lines: Iterable[bytes], copies: Iterable[AuditEntry]) -> list[Finding]:
    """Where the file `lines` and the `copies` of its chain, in any order and repeated, say different things.

    A file may be ahead of its copies, never behind. Lines that are no entries are left to `verify`.
    """
    findings: list[Finding] = []
    kept: dict[int, set[str]] = {}
    for copy in copies:
        if digest_of(copy) == copy.digest:
            kept.setdefault(copy.number, set()).add(copy.digest)
        else:
            text = f"the copy of number {copy.number} is not what its digest says: who writes to the topic?"
            findings.append(Finding(copy.number, Problem.COPY, text))
    last = max(kept, default=0)
    count, seen = 0, set()
    for count, line in enumerate(lines, 1):
        try:
            entry = entry_of(line)
        except ValueError:
            continue
        seen.add(entry.number)
        if entry.number not in kept:
            if entry.number < last:
                findings.append(Finding(count, Problem.COPY, f"number {entry.number} has no copy"))
        elif entry.digest not in kept[entry.number]:
            text = f"number {entry.number} is another entry than its copy"
            findings.append(Finding(count, Problem.CHANGED, text))
        elif len(kept[entry.number]) > 1:
            text = f"copies tell of another entry that had number {entry.number}: the chain was made anew"
            findings.append(Finding(count, Problem.CHANGED, text))
    highest = max(seen, default=0)
    if last > highest:
        text = f"there are copies up to number {last}, and the file ends with number {highest}"
        findings.append(Finding(count + 1, Problem.CUT, text))
    for number in sorted(set(kept) - seen):
        if number < highest:
            findings.append(Finding(number, Problem.REMOVED, f"there is a copy of number {number}, no entry"))
    return sorted(findings, key=lambda one: one.line)


@dataclass(frozen=True, slots=True)
class _Placed:
    """What of an entry makes the chain, and the line that it stands in."""

    line: int
    number: int
    previous: str
    digest: str


def _one_a_number(sound: Sequence[_Placed]) -> tuple[list[_Placed], list[_Placed]]:
    """One entry a number, in the order of lines, and the rest. Who is built upon is the real one."""
    numbered: dict[int, list[_Placed]] = {}
    for one in sound:
        numbered.setdefault(one.number, []).append(one)
    real: dict[int, _Placed] = {}
    for number in sorted(numbered, reverse=True):
        after = real.get(number + 1)
        real[number] = next(
            (one for one in numbered[number] if after and after.previous == one.digest), numbered[number][0]
        )
    chosen = {one.line for one in real.values()}
    return [one for one in sound if one.line in chosen], [one for one in sound if one.line not in chosen]


def _in_order(sound: Sequence[_Placed]) -> tuple[list[_Placed], list[_Placed]]:
    """The longest run of rising numbers, and those that stand outside it: fewest are called moved."""
    lows: list[int] = []  # the lowest number that ends a run of each length
    ends: list[int] = []
    before: list[int | None] = []
    for index, one in enumerate(sound):
        at = bisect_left(lows, one.number)
        before.append(ends[at - 1] if at else None)
        if at == len(lows):
            lows.append(one.number)
            ends.append(index)
        else:
            lows[at], ends[at] = one.number, index
    chosen: list[int] = []
    step = ends[-1] if ends else None
    while step is not None:
        chosen.append(step)
        step = before[step]
    inside = set(chosen)
    return (
        [one for index, one in enumerate(sound) if index in inside],
        [one for index, one in enumerate(sound) if index not in inside],
    )


def _breaks(in_order: Sequence[_Placed], moved: Sequence[int], stray: Sequence[int]) -> list[Finding]:
    """Where one does not follow the other. A gap is put down to stray lines that stand in it, first."""
    findings = []
    for one, other in pairwise(in_order):
        if other.number == one.number + 1:
            if other.previous != one.digest:
                line, text = one.line or other.line, "the next entry was chained to another one than this"
                findings.append(Finding(line, Problem.CHANGED, text))
            continue
        missing = other.number - one.number - 1
        missing -= sum(one.number < number < other.number for number in moved)
        missing -= bisect_left(stray, other.line) - bisect_left(stray, one.line)
        if missing > 0:
            text = f"{missing} of the numbers {one.number + 1} to {other.number - 1} are missing before it"
            findings.append(Finding(other.line, Problem.REMOVED, text))
    return findings


def _text(value: str) -> str:
    """As UTF-8 can say it: half of a surrogate pair must not keep an act from being written down."""
    return value.encode("utf-8", "replace").decode()
