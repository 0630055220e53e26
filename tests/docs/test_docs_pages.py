"""Pages that are made from the code are up to date."""

from __future__ import annotations

import re

from docs.metrics_page import PAGE, SERVICES, documented, page


def test_the_page_of_metrics_is_what_is_declared() -> None:
    assert PAGE.read_text() == page(), "run `make docs`"


def test_names_say_service_and_unit() -> None:
    for service in SERVICES:
        for name in documented(service):
            assert re.fullmatch(rf"twinloop_{service}_[a-z_]+", name)
            assert not name.endswith(("_ms", "_milliseconds"))
