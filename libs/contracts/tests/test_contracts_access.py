"""Who may do what at Kafka: no more than is declared, under the names of one's own site."""

from __future__ import annotations

import pytest

from twinloop.contracts.access import PROGRAMS, PROVISION, Acl, Operation, Resource, acls
from twinloop.contracts.changes import WRITER
from twinloop.contracts.topics import ALL, AUDIT, CHANGES, MODELS, TELEMETRY_FACTORY


def who(operation: Operation, topic: str) -> set[str]:
    return {one.principal for one in acls() if (one.operation, one.name) == (operation, topic)}


def test_every_topic_is_made_written_and_read_by_somebody() -> None:
    for topic in ALL:
        assert who(Operation.WRITE, topic.name), topic.name
        assert who(Operation.READ, topic.name) - {"monitor"}, topic.name
        assert who(Operation.CREATE, topic.name) == {PROVISION.name}


def test_changes_are_written_by_those_who_write_its_states() -> None:
    assert who(Operation.WRITE, CHANGES.name) == set(WRITER.values())


def test_what_only_one_may_say() -> None:
    assert who(Operation.WRITE, MODELS.name) == {"modelops"}
    assert who(Operation.WRITE, TELEMETRY_FACTORY.name) == {"ingest"}
    assert who(Operation.WRITE, AUDIT.name) == {"controller", "twin", "line", "modelops"}


def test_nobody_may_do_everything() -> None:
    for one in acls():
        assert one.name not in ("", "*")
        if one.prefixed:
            assert one.resource is not Resource.TOPIC or one.name.startswith(f"{one.principal}-")


def test_names_of_groups_and_transactional_ids_are_those_of_their_program() -> None:
    own = [
        one
        for one in acls()
        if one.resource is not Resource.TOPIC and one.operation is not Operation.DESCRIBE
    ]
    assert own
    for one in own:
        assert one.name.rstrip("-").split("-")[0] == one.principal


@pytest.mark.parametrize("site", ["acme.", "acme.eu."])
def test_a_site_has_the_same_under_its_own_names(site: str) -> None:
    mine = acls(site)
    assert len(mine) == len(acls())
    for one in mine:
        assert one.principal.startswith(site)
        assert one.name.startswith(site)


def test_no_site_is_within_another() -> None:
    """Also where the prefix of one begins with that of the other."""
    names = {site: {f"{site}{one.name}" for one in ALL} for site in ("", "acme.", "acme.eu.")}
    for site in names:
        for other, theirs in names.items():
            if other != site:
                assert not [one for one in acls(site) if _covers(one, theirs)]


def _covers(acl: Acl, names: set[str]) -> bool:
    if acl.resource is not Resource.TOPIC:
        return False
    return any(one.startswith(acl.name) if acl.prefixed else one == acl.name for one in names)


def test_names_are_unique() -> None:
    assert len({one.name for one in PROGRAMS}) == len(PROGRAMS)
