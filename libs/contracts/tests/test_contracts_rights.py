"""Who may do what at Kafka: no more than is declared, under the names of one's own site."""

from __future__ import annotations

import pytest

from twinloop.contracts.changes import WRITER
from twinloop.contracts.rights import PROGRAMS, PROVISION, Acl, NoSite, Operation, Program, Resource, acls
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
    sites = ("", "acme.", "acme.eu.", "controller.", "detector.", "acme.detector.")
    for mine in sites:
        for other in sites:
            if other != mine:
                assert not [one for one in acls(mine) if one.name in _names(other) or _begins(one, other)]


@pytest.mark.parametrize("prefix", ["controller-b.", "detector-2.", "acme.controller-x.", "acme.detector-."])
def test_a_site_that_would_be_within_another_is_none(prefix: str) -> None:
    """Kafka's patterns know no dots: `controller-*` is the controller's own, also `controller-b.changes`."""
    around = prefix[: prefix.index("controller-" if "controller" in prefix else "detector-")]
    assert [one for one in acls(around) if _begins(one, prefix)]
    with pytest.raises(NoSite, match="begins as names of a program do"):
        acls(prefix)


@pytest.mark.parametrize("prefix", ["acme", "acme..", ".", "acme.*", "acme eu.", "*."])
def test_a_prefix_of_no_site_gets_no_rights(prefix: str) -> None:
    with pytest.raises(NoSite, match="must end in a dot"):
        acls(prefix)


def _names(prefix: str) -> set[str]:
    """All topics, groups and transactional ids of a site; of those that only begin so, one."""

    def of(one: Program) -> tuple[str, ...]:
        return (*one.groups, *one.keeps, *one.transactional_ids)

    return {
        *(one.named(prefix) for one in ALL),
        *(f"{prefix}{name.replace('*', 'x')}" for one in PROGRAMS for name in of(one)),
    }


def _begins(acl: Acl, prefix: str) -> bool:
    """Whether an ACL is for names of the site with `prefix`, because of how they begin."""
    return acl.prefixed and any(one.startswith(acl.name) for one in _names(prefix))


def test_names_are_unique() -> None:
    assert len({one.name for one in PROGRAMS}) == len(PROGRAMS)
