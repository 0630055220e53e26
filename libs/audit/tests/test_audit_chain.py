"""Whatever is done to a chain is found and named, and an intact one is left in peace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.audit.chain import Act, Head, Problem, chained, compare, entry_of, line_of, verify
from twinloop.contracts.audit import AuditEntry, digest_of

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)

times = st.builds(
    lambda at_s, zone_min: datetime.fromtimestamp(at_s, timezone(timedelta(minutes=zone_min))),
    st.floats(0, 4e9),
    st.integers(-720, 840),
)
words = st.text(max_size=12)
acts = st.builds(
    Act,
    at=times,
    asset=words,
    who=words,
    what=words,
    old=words,
    new=words,
    reason=words,
    result=words,
    change_id=st.none() | words,
)


def chain_of(these: list[Act], name: str = "line") -> list[AuditEntry]:
    entries, head = [], Head()
    for act in these:
        entry = chained(act, name, head)
        entries.append(entry)
        head = Head(entry.number, entry.digest)
    return entries


def lines_of(entries: list[AuditEntry]) -> list[bytes]:
    return [line_of(entry)[:-1] for entry in entries]


def act(number: int) -> Act:
    return Act(at=AT + timedelta(seconds=number), asset="weld1", who="line", what="issued", new=f"{number} W")


def chains(least: int = 1) -> st.SearchStrategy[list[AuditEntry]]:
    return st.lists(acts, min_size=least, max_size=8).map(chain_of)


def said(lines: list[bytes], **options: Any) -> list[tuple[int, Problem]]:
    return [(one.line, one.problem) for one in verify(lines, **options)]


@given(chains(0), st.integers(0, 8))
def test_untouched_it_is_intact_and_so_is_its_end(entries: list[AuditEntry], start: int) -> None:
    lines = lines_of(entries)
    assert verify(lines, "line") == []
    assert verify(lines[start:], "line", whole=False) == []
    assert compare(lines, entries) == []
    assert compare(lines, entries[:start] + entries[:start]) == [], "a file may be ahead of its copies"
    assert [entry_of(line) for line in lines] == entries


@given(chains(), st.data())
def test_a_changed_byte_is_found_in_its_line(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    changed = bytearray(lines[at])
    changed[place] ^= data.draw(st.integers(1, 255))
    lines[at] = bytes(changed)
    assert at + 1 in [one.line for one in verify(lines)]


@given(chains(2), st.data())
def test_a_changed_field_is_found_also_with_a_digest_made_anew(
    entries: list[AuditEntry], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(entries) - 2))
    field = data.draw(st.sampled_from([one for one in AuditEntry.__struct_fields__ if one != "digest"]))
    old = getattr(entries[at], field)
    new: object
    if isinstance(old, datetime):
        new = old + timedelta(microseconds=data.draw(st.integers(1, 10**9)))
    elif isinstance(old, int):
        new = data.draw(st.integers(0, 2**62).filter(lambda one: one != old))
    else:
        new = data.draw(words.filter(lambda one: one != old))
    changed = msgspec.structs.replace(entries[at], **{field: new})
    lines = lines_of(entries)
    lines[at] = line_of(changed)[:-1]
    assert at + 1 in [one.line for one in verify(lines, "line")]
    lines[at] = line_of(msgspec.structs.replace(changed, digest=digest_of(changed)))[:-1]
    found = [one.line for one in verify(lines, "line")]
    # Whose predecessor was forged looks as its predecessor would, had it been changed.
    assert at + 1 in found or (field == "previous" and at in found)


@given(chains(2), st.data())
def test_a_removed_line_is_found_where_it_is_missing(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines) - 2))
    del lines[at]
    assert said(lines) == [(at + 1, Problem.REMOVED)]


@given(chains(), st.data())
def test_an_inserted_line_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines) - 1))
    head = Head(entries[at - 1].number, entries[at - 1].digest) if at else Head()
    forged = chained(data.draw(acts), "line", head)
    if forged == entries[at]:
        return
    lines.insert(at, line_of(forged)[:-1])
    found = said(lines)
    if at < len(entries) - 1:
        assert found == [(at + 1, Problem.INSERTED)]
    else:  # of two last ones nobody can tell which is the real one
        assert found == [(at + 2, Problem.INSERTED)]


@given(chains(), st.data())
def test_a_line_that_is_there_twice_is_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    which = data.draw(st.integers(0, len(lines) - 1))
    lines.insert(data.draw(st.integers(which + 1, len(lines))), lines[which])
    found = said(lines)
    assert len(found) == 1
    assert found[0][1] is Problem.INSERTED


@given(chains(2), st.data())
def test_two_lines_that_changed_places_are_found(entries: list[AuditEntry], data: st.DataObject) -> None:
    lines = lines_of(entries)
    one = data.draw(st.integers(0, len(lines) - 2))
    other = data.draw(st.integers(one + 1, len(lines) - 1))
    lines[one], lines[other] = lines[other], lines[one]
    found = said(lines)
    assert {problem for _, problem in found} == {Problem.REORDERED}
    assert {line for line, _ in found} & {one + 1, other + 1}


@given(chains(), st.binary(max_size=40), st.data())
def test_a_line_of_another_kind_is_found(
    entries: list[AuditEntry], noise: bytes, data: st.DataObject
) -> None:
    lines = lines_of(entries)
    at = data.draw(st.integers(0, len(lines)))
    lines.insert(at, noise)
    assert [one.line for one in verify(lines)] == [at + 1]


@given(chains(), st.data())
def test_a_tail_cut_off_is_found_by_its_copies(entries: list[AuditEntry], data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(entries) - 1))
    lines = lines_of(entries)[:left]
    assert verify(lines) == [], "the rest is a chain"
    found = compare(lines, entries)
    assert [(one.line, one.problem) for one in found] == [(left + 1, Problem.CUT)]


@given(chains(), acts, st.data())
def test_a_chain_made_anew_is_found_by_its_copies(
    entries: list[AuditEntry], other: Act, data: st.DataObject
) -> None:
    """Also when the new one was published like the old one."""
    from_here = data.draw(st.integers(0, len(entries) - 1))
    anew = entries[:from_here]
    for old in [other, *(act(one.number) for one in entries[from_here + 1 :])]:
        head = Head(anew[-1].number, anew[-1].digest) if anew else Head()
        anew.append(chained(old, "line", head))
    if anew[from_here] == entries[from_here]:
        return
    lines = lines_of(anew)
    assert verify(lines) == []
    expected = [(one + 1, Problem.CHANGED) for one in range(from_here, len(entries))]
    assert [(one.line, one.problem) for one in compare(lines, entries)] == expected
    assert [(one.line, one.problem) for one in compare(lines, entries + anew)] == expected


def test_what_is_wrong_with_copies_is_not_laid_on_the_file() -> None:
    entries = chain_of([act(number) for number in range(1, 6)])
    forged = msgspec.structs.replace(entries[4], new="1000 W")
    found = compare(lines_of(entries), [entries[0], entries[1], entries[3], forged])
    assert [(one.line, one.problem) for one in found] == [(3, Problem.COPY), (5, Problem.COPY)]


def test_a_line_of_another_chain_is_found() -> None:
    lines = lines_of(chain_of([act(1), act(2)], "twin"))
    assert said(lines) == []
    assert said(lines, chain="line") == [(1, Problem.INSERTED), (2, Problem.INSERTED)]


def test_several_things_at_once_are_each_named() -> None:
    lines = lines_of(chain_of([act(number) for number in range(1, 13)]))
    lines[1] = lines[1].replace(b" W", b" V")
    lines.insert(6, b"noise")
    del lines[9]
    assert said(lines) == [(2, Problem.CHANGED), (7, Problem.NOT_AN_ENTRY), (10, Problem.REMOVED)]


def test_deep_nesting_is_not_an_entry() -> None:
    assert said([b'{"x":' + b"[" * 100_000]) == [(1, Problem.CHANGED)]


def test_a_time_says_its_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        Act(at=datetime(2025, 1, 1), asset="", who="line", what="issued")  # noqa: DTZ001


def test_text_that_utf8_cannot_say_is_written_down_all_the_same() -> None:
    entry = chained(Act(at=AT, asset="weld1", who="line", what="x\ud800", reason="\udfff"), "line", Head())
    assert entry.reason == "?"
    assert entry_of(line_of(entry)[:-1]) == entry
