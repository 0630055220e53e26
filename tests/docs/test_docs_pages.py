"""Pages that are made from the code are up to date."""

from __future__ import annotations

import re
from pathlib import Path

from docs import topics_page
from docs.metrics_page import PAGE, SERVICES, documented, page
from twinloop.local.services import select


def test_the_page_of_metrics_is_what_is_declared() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_the_page_of_topics_is_what_is_declared() -> None:
    assert topics_page.PAGE.read_text() == topics_page.page(), "run `make docs`"


def test_names_say_service_and_unit() -> None:
    for service in SERVICES:
        for name in documented(service):
            assert re.fullmatch(rf"twinloop_{service}_[a-z_]+", name)
            assert not name.endswith(("_ms", "_milliseconds"))


REPOSITORY = Path(__file__).parents[2]


def test_the_remedy_for_a_slow_model_is_more_time_than_it_had() -> None:
    (modelops,) = select(["modelops"])
    page = (REPOSITORY / "docs/howto/swap-a-model.md").read_text()
    (remedy,) = re.findall(r"`TWINLOOP_MODELOPS_BUDGET_S=([\d.]+) make up`", page)
    assert float(remedy) > float(modelops.settings["TWINLOOP_MODELOPS_BUDGET_S"])


def test_each_guardrail_of_the_page_of_safety_has_tests_of_its_number() -> None:
    tests = {
        name
        for file in REPOSITORY.glob("services/*/tests/test_*_guardrails.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    rows = re.findall(
        r"^\| (\d\d) \|.*\| (.*) \|$", (REPOSITORY / "docs/safety.md").read_text(), re.MULTILINE
    )
    assert [number for number, _ in rows] == [f"{n:02}" for n in range(1, 19)]
    for number, cell in rows:
        begins = re.findall(r"`(test_\w+)`", cell)
        assert begins
        for begin in begins:
            assert re.match(rf"test_(guardrail_)?{number}_", begin)
            assert any(one.startswith(begin) for one in tests), begin
