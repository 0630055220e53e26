"""People: their roles include each other, and only who holds a token is believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.trust.errors import NotAllowed, PeopleUnusable
from twinloop.trust.people import People, Person, Role, new_token, require, token_sha256

ADA, BOB = Person("ada", Role.ENGINEER), Person("bob", Role.VIEWER)


def entry(name: str, role: str, token: str) -> str:
    return f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(token)}"\n'


MAY = {
    Role.VIEWER: {Role.VIEWER},
    Role.OPERATOR: {Role.VIEWER, Role.OPERATOR},
    Role.ENGINEER: {Role.VIEWER, Role.OPERATOR, Role.ENGINEER},
    Role.DATA_SCIENTIST: {Role.VIEWER, Role.DATA_SCIENTIST},
    Role.SENDER: {Role.SENDER},
}


@given(st.sampled_from(Role), st.sampled_from(Role))
def test_who_makes_models_does_nothing_at_a_machine_and_the_other_way_round(has: Role, needed: Role) -> None:
    if needed in MAY[has]:
        require(Person("ada", has), needed)
    else:
        with pytest.raises(NotAllowed, match=f"ada is {has}, and this needs {needed}"):
            require(Person("ada", has), needed)


def test_one_of_several_roles_is_enough() -> None:
    require(Person("dana", Role.DATA_SCIENTIST), Role.OPERATOR, Role.DATA_SCIENTIST)
    require(Person("enzo", Role.ENGINEER), Role.OPERATOR, Role.DATA_SCIENTIST)
    with pytest.raises(NotAllowed, match="bob is viewer, and this needs operator or data_scientist"):
        require(BOB, Role.OPERATOR, Role.DATA_SCIENTIST)


@given(st.text(), st.text())
def test_only_the_token_itself_is_believed(token: str, other: str) -> None:
    people = People([(ADA, token_sha256(token)), (BOB, token_sha256("bob's"))])
    assert people.of(token) == (BOB if token == "bob's" else ADA)
    if other not in (token, "bob's"):
        assert people.of(other) is None


def test_people_come_from_a_file(tmp_path: Path) -> None:
    token = new_token()
    path = tmp_path / "people.toml"
    path.write_text(entry("ada", "engineer", token) + entry("bob", "viewer", "b"))
    people = People.load(path)
    assert people.of(token) == ADA
    assert people.of("b") == BOB
    assert people.of("") is None
    assert people.of(token_sha256(token)) is None, "what is in the file opens nothing"
    assert ADA.who == "person:ada"


def test_tokens_are_not_guessed() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 43


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("[[people", "cannot be read"),
        ("", "people: Field required"),
        ("people = []", "people: List should have at least 1 item"),
        (entry("ada", "admin", "a"), r"people\.0\.role"),
        (entry("a b", "viewer", "a"), r"people\.0\.name"),
        ('[[people]]\nname = "ada"\nrole = "viewer"\ntoken_sha256 = "secret"', r"people\.0\.token_sha256"),
        (entry("ada", "viewer", "a") + 'token = "a"', r"people\.0\.token: Extra inputs"),
        (entry("ada", "viewer", "a") + entry("ada", "viewer", "b"), "the same name twice"),
        (entry("ada", "viewer", "a") + entry("bob", "viewer", "a"), "the same token_sha256 twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "people.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PeopleUnusable, match=said) as caught:
        People.load(path)
    assert "people.toml" in str(caught.value)
