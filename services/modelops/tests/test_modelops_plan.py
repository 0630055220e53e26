"""From a route and a verb to the next route: every way through the life of a version, and every refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops import plan
from twinloop.modelops.errors import Conflict
from twinloop.modelops.plan import Said, Terms

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SCOPE = "level.v1"


def said(seconds: int = 0, by: str = "person:dana") -> Said:
    return Said(by, "because", NOW + timedelta(seconds=seconds))


def version(number: int, model: str = "level", signal_set: str = SCOPE) -> ModelContract:
    return ModelContract(
        model=model,
        version=number,
        signal_set=signal_set,
        signals=("a",),
        features=("a.mean",),
        window=8,
        hop=2,
        threshold=1.0,
        digest=f"{model}{number}",
    )


ONE, TWO, THREE = version(1), version(2), version(3)
SERVED = plan.promote(SCOPE, None, ONE, said())
TRIED = plan.shadow(SCOPE, SERVED, TWO, Terms(), said(1))
PROMOTED = plan.promote(SCOPE, TRIED, None, said(2))


def parts(
    route: ModelRoute,
) -> tuple[ModelContract, ModelContract | None, ModelContract | None]:
    return route.contract, None if route.trial is None else route.trial.contract, route.previous


def test_a_version_comes_into_service_and_goes_back() -> None:
    assert parts(SERVED) == (ONE, None, None)
    assert parts(TRIED) == (ONE, TWO, None)
    assert TRIED.trial is not None
    assert (TRIED.trial.share, TRIED.trial.assets, TRIED.trial.begun) == (0.0, (), NOW + timedelta(seconds=1))
    assert parts(PROMOTED) == (TWO, None, ONE)
    assert parts(plan.rollback(SCOPE, PROMOTED, said(3))) == (ONE, None, None)
    assert (PROMOTED.by, PROMOTED.reason, PROMOTED.scope) == ("person:dana", "because", SCOPE)


def test_a_trial_that_is_taken_back_leaves_what_served_and_what_served_before() -> None:
    route = plan.shadow(SCOPE, PROMOTED, THREE, Terms(), said(3))
    assert parts(route) == (TWO, THREE, ONE)
    assert parts(plan.rollback(SCOPE, route, said(4))) == (TWO, None, ONE)


def test_a_named_version_is_promoted_over_one_on_trial() -> None:
    assert parts(plan.promote(SCOPE, TRIED, THREE, said(3))) == (THREE, None, ONE)
    assert parts(plan.promote(SCOPE, PROMOTED, ONE, said(3))) == (ONE, None, TWO)


def test_a_trial_goes_on_when_its_share_changes() -> None:
    """It began once: what it has shown before counts."""
    terms = Terms(more_alarms=0.002, auto=True, every=5)
    route = plan.canary(SCOPE, TRIED, None, 0.1, ["b", "a", "b"], terms, said(5))
    assert route.trial is not None
    assert TRIED.trial is not None
    assert (route.trial.share, route.trial.assets, route.trial.begun) == (0.1, ("a", "b"), TRIED.trial.begun)
    assert (route.trial.more_alarms, route.trial.auto, route.trial.every) == (0.002, True, 5)
    wider = plan.canary(SCOPE, route, None, 0.5, [], Terms(), said(6))
    assert wider.trial is not None
    assert (wider.trial.share, wider.trial.assets) == (0.5, ())
    assert (wider.trial.more_alarms, wider.trial.auto, wider.trial.every) == (0.002, True, 5)
    narrow = plan.shadow(SCOPE, wider, TWO, Terms(auto=False), said(7))
    assert narrow.trial is not None
    assert (narrow.trial.share, narrow.trial.auto, narrow.trial.begun) == (0.0, False, TRIED.trial.begun)
    assert plan.same_trial(narrow, TRIED)
    assert not plan.same_trial(plan.promote(SCOPE, narrow, None, said(8)), TRIED)
    assert not plan.same_trial(None, TRIED)
    anew = plan.shadow(SCOPE, plan.rollback(SCOPE, narrow, said(8)), TWO, Terms(), said(9))
    assert not plan.same_trial(anew, TRIED)


REFUSED = {
    "nothing serves, shadow": (lambda: plan.shadow(SCOPE, None, ONE, Terms(), said()), "no version serves"),
    "nothing serves, canary": (
        lambda: plan.canary(SCOPE, None, ONE, 0.1, [], Terms(), said()),
        "no version serves",
    ),
    "nothing serves, promote": (lambda: plan.promote(SCOPE, None, None, said()), "no version serves"),
    "nothing serves, rollback": (lambda: plan.rollback(SCOPE, None, said()), "no version serves"),
    "a version instead of a scope": (
        lambda: plan.rollback("level:2", None, said()),
        "level:2 is a version, and what is taken back is a scope's",
    ),
    "it serves already": (lambda: plan.shadow(SCOPE, SERVED, ONE, Terms(), said()), "try another version"),
    "it is promoted already": (lambda: plan.promote(SCOPE, SERVED, ONE, said()), "serves level.v1 already"),
    "it served before": (
        lambda: plan.shadow(SCOPE, PROMOTED, ONE, Terms(), said()),
        "`rollback` lets it serve again",
    ),
    "another one is on trial": (
        lambda: plan.shadow(SCOPE, TRIED, THREE, Terms(), said()),
        "level:2 is on trial for level.v1: promote it or roll it back first",
    ),
    "no trial to widen": (
        lambda: plan.canary(SCOPE, SERVED, None, 0.1, [], Terms(), said()),
        "name the one to try",
    ),
    "no trial to promote": (lambda: plan.promote(SCOPE, SERVED, None, said()), "name the one to promote"),
    "nothing to take back": (lambda: plan.rollback(SCOPE, SERVED, said()), "there is nothing to take back"),
    "a canary of nobody": (lambda: plan.canary(SCOPE, TRIED, None, 0, [], Terms(), said()), "a share of"),
    "a canary of too many": (
        lambda: plan.canary(SCOPE, TRIED, None, 1.1, [], Terms(), said()),
        "above 0 and up to 1",
    ),
    "other signals": (
        lambda: plan.promote(SCOPE, SERVED, version(1, "weld", "weld.v1"), said()),
        "weld:1 judges weld.v1, and level.v1 has level.v1",
    ),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(refused: tuple[object, str]) -> None:
    act, why = refused
    with pytest.raises(Conflict) as caught:
        act()  # type: ignore[operator]
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "why"),
    [(1, "is kept to serve level.v1 again"), (2, "serves level.v1 and 1 more"), (3, "on trial")],
)
def test_what_a_route_names_is_not_retired(number: int, why: str) -> None:
    route = plan.shadow(SCOPE, PROMOTED, THREE, Terms(), said(3))
    other = plan.promote("acme.weld1", None, TWO, said(4))
    routes = {SCOPE: route, "acme.weld1": other}
    with pytest.raises(Conflict, match=why):
        plan.refuse_to_retire(routes, "level", number)
    plan.refuse_to_retire(routes, "level", 4)
    plan.refuse_to_retire(routes, "other", 1)
    assert plan.users(routes, "level", 2) == [SCOPE, "acme.weld1"]


VERBS = st.sampled_from(["shadow", "canary", "promote", "promote it", "rollback"])


@given(st.lists(st.tuples(VERBS, st.integers(1, 4), st.floats(0, 1)), max_size=30))
def test_whatever_is_asked_for_a_route_stays_one(acts: list[tuple[str, int, float]]) -> None:
    """Somebody serves, nobody is there twice, and each record is told from every other."""
    route, ids = plan.promote(SCOPE, None, ONE, said()), set[str]()
    for at, (verb, number, share) in enumerate(acts, 1):
        one, who = version(number), said(at)
        try:
            match verb:
                case "shadow":
                    route = plan.shadow(SCOPE, route, one, Terms(), who)
                case "canary":
                    route = plan.canary(SCOPE, route, one, share, [], Terms(), who)
                case "promote":
                    route = plan.promote(SCOPE, route, one, who)
                case "promote it":
                    route = plan.promote(SCOPE, route, None, who)
                case _:
                    route = plan.rollback(SCOPE, route, who)
        except Conflict:
            continue
        named = [each.version for each in route.versions()]
        assert len(set(named)) == len(named)
        assert route.event_id not in ids
        ids.add(route.event_id)
        assert route.at == who.at
        if route.trial is not None:
            assert route.trial.begun is not None
            assert route.trial.begun <= route.at


def test_the_same_contract_under_another_scope_is_another_route() -> None:
    assert plan.promote("acme.weld1", None, ONE, said()).event_id != SERVED.event_id
    assert replace(SERVED, scope="x") != SERVED


def test_all_versions_of_a_signal_set_are_for_the_same_frames() -> None:
    """Also at other scopes: an asset with a route of its own has no frames of its own."""
    some = replace(version(2), signals=("b",), columns=("a", "b"), features=("b.mean",))
    both = replace(version(1), signals=("a", "b"), features=("a.mean", "b.mean"))
    served = plan.promote(SCOPE, None, both, said())
    for made in (
        plan.shadow(SCOPE, served, some, Terms(), said(1)),
        plan.promote(SCOPE, served, some, said(1)),
        plan.promote("acme.weld1", None, some, said(1)),
    ):
        plan.refuse_other_columns({SCOPE: served}, made)


@pytest.mark.parametrize("signals", [("a", "b", "c"), ("a",), ("b", "a"), ("a", "x")])
def test_a_version_for_other_frames_is_refused(signals: tuple[str, ...]) -> None:
    both = replace(version(1), signals=("a", "b"))
    other = replace(version(2), signals=signals)
    served = plan.promote(SCOPE, None, both, said())
    for made in (
        plan.shadow(SCOPE, served, other, Terms(), said(1)),
        plan.canary(SCOPE, served, other, 0.5, (), Terms(), said(1)),
        plan.promote(SCOPE, served, other, said(1)),
        plan.promote("acme.weld1", None, other, said(1)),
    ):
        with pytest.raises(
            Conflict, match=r"and those of level\.v1 are a, b, by level:1 that serves level\.v1"
        ):
            plan.refuse_other_columns({SCOPE: served}, made)


def test_what_is_in_force_already_may_be_taken_back_whatever_it_reads() -> None:
    other = replace(TWO, signals=("b",))
    before = replace(PROMOTED, contract=other)
    plan.refuse_other_columns({SCOPE: before}, plan.rollback(SCOPE, before, said(3)))


def test_the_only_trial_is_meant_where_nothing_is_named() -> None:
    tried = plan.shadow(SCOPE, SERVED, TWO, Terms(), said(1))
    assert plan.only_trial({SCOPE: tried, "other.v1": SERVED}) == SCOPE
    with pytest.raises(Conflict, match="no version is on trial"):
        plan.only_trial({SCOPE: SERVED})
    with pytest.raises(Conflict, match=r"on trial for acme\.weld1, level\.v1: say which scope"):
        plan.only_trial({SCOPE: tried, "acme.weld1": replace(tried, scope="acme.weld1")})
