"""What the local stack says of how models are served can be read."""

from __future__ import annotations

from twinloop.local.places import find_places
from twinloop.runtime.settings import load_toml
from twinloop.tritonio.serving import ServingTable


def test_the_vehicles_come_after_the_line() -> None:
    table = load_toml(find_places().config / "serving.toml", ServingTable)
    assert table.of("cells").priority > table.of("weld").priority
