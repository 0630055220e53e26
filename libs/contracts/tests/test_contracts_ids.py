"""Ids are what the standards say, and differ where facts do."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.ids import event_id, trace_id

NAMESPACE = uuid.UUID("5f1c1c0e-7d3a-5b52-9d0f-3c1d8f4f7f10")


@given(kind=st.text(), parts=st.lists(st.one_of(st.text(), st.integers())))
def test_an_event_id_is_a_version_5_uuid_of_its_parts(kind: str, parts: list[str | int]) -> None:
    name = "\x1f".join([kind, *map(str, parts)])
    assert event_id(kind, *parts) == str(uuid.uuid5(NAMESPACE, name))


def test_parts_do_not_run_into_each_other() -> None:
    assert event_id("frame", "a", 11) != event_id("frame", "a1", 1)
    assert trace_id("a", 11) != trace_id("a1", 1)
    assert len(trace_id("a", 1)) == 32
