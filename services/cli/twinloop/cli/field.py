"""What a person asks about the slow loop: findings, and which vehicles have joints of a station and time."""

from __future__ import annotations

from argparse import Namespace

from twinloop.cli import people, show
from twinloop.cli.answer import out
from twinloop.cli.client import Api
from twinloop.cli.errors import Unusable
from twinloop.cli.places import CONTROLLER, Places
from twinloop.cli.views import Finding, Recall


def controller(places: Places) -> Api:
    """The controller's API."""
    return Api("the controller", places.url(CONTROLLER), places.token())


def findings(options: Namespace, places: Places) -> int:
    """`twinloop findings`."""
    station = options.station and people.whole_name(options.station, places)
    with controller(places) as api:
        answer = api.get("findings", station=station, limit=options.limit)
        found = api.read(answer, list[Finding])
    return out(options, answer, lambda: show.findings_page(found))


def recall(options: Namespace, places: Places) -> int:
    """`twinloop recall`. Raises `Unusable` when no time lies between `--from` and `--to`."""
    if options.start >= options.end:
        raise Unusable("--from must be before --to: nothing can have been welded between them.")
    station = people.whole_name(options.station, places)
    with controller(places) as api:
        within = {"from": options.start.isoformat(), "to": options.end.isoformat()}
        answer = api.get("recall", station=station, **within)
        affected = api.read(answer, Recall)
    return out(options, answer, lambda: show.recall_table(affected))
