"""What a person says to the twin and to the line."""

from __future__ import annotations

from argparse import Namespace
from typing import Final

from twinloop.cli import show
from twinloop.cli.answer import out
from twinloop.cli.client import Api
from twinloop.cli.errors import Unusable
from twinloop.cli.places import LINE, TWIN, Places
from twinloop.cli.views import Asset, Change, Cleared, ModeAnswer, Stations, Stopped

_WHOLE_ID: Final = 36
_MANY: Final = 1000


def twin(places: Places) -> Api:
    """The twin's API."""
    return Api("the twin", places.url(TWIN), places.token())


def line(places: Places) -> Api:
    """The line's API."""
    return Api("line", places.url(LINE), places.token())


def list_changes(options: Namespace, places: Places) -> int:
    """`twinloop changes list`."""
    with twin(places) as api:
        asset = options.asset and asset_called(options.asset, assets(api))
        answer = api.get("changes", asset=asset, state=options.state, limit=options.limit)
        changes = api.read(answer, list[Change])
    if options.waiting:
        answer = [one for one, read in zip(answer, changes, strict=True) if read.waits_for]
        changes = [one for one in changes if one.waits_for]
    return out(options, answer, lambda: show.changes_table(changes))


def show_change(options: Namespace, places: Places) -> int:
    """`twinloop changes show`."""
    with twin(places) as api:
        answer = api.get("changes", _change(options.change, api))
        change = api.read(answer, Change)
    return out(options, answer, lambda: show.change_page(change))


def approve(options: Namespace, places: Places) -> int:
    """`twinloop changes approve`."""
    return _decide(options, places, "approve")


def veto(options: Namespace, places: Places) -> int:
    """`twinloop changes veto`."""
    return _decide(options, places, "veto")


def modes(options: Namespace, places: Places) -> int:
    """`twinloop modes`."""
    with twin(places) as api:
        if options.asset:
            answer = [api.get("assets", asset_called(options.asset, assets(api)))]
        else:
            answer = api.get("assets")
        found = api.read(answer, list[Asset])
    return out(options, answer, lambda: show.modes_table(found))


def mode(options: Namespace, places: Places) -> int:
    """`twinloop mode`."""
    with twin(places) as api:
        asset = asset_called(options.asset, assets(api))
        answer = api.post("assets", asset, "mode", mode=options.mode, reason=options.reason)
        was = api.read(answer, ModeAnswer)
    return out(
        options,
        answer,
        lambda: show.sentence(
            f"{asset}: {was.requested} is requested, {was.actual} was in force. See what comes of it with "
            f"`twinloop modes {options.asset}`."
        ),
    )


def hand_back(options: Namespace, places: Places) -> int:
    """`twinloop hand-back`."""
    with twin(places) as api:
        asset = asset_called(options.asset, assets(api))
        answer = api.post("assets", asset, "hand-back", reason=options.reason)
    return out(
        options,
        answer,
        lambda: show.sentence(
            f"{asset} is handed back. Nothing acts on it until somebody promotes it: `twinloop mode`."
        ),
    )


def kill(options: Namespace, places: Places) -> int:
    """`twinloop kill`: stop, or with `--clear` let it be promoted again."""
    with line(places) as api:
        asset = options.asset
        if asset and "." not in asset:  # a whole name needs no look-up: stopping must not depend on one
            stations = api.read(api.get("stations"), Stations).stations
            asset = asset_called(asset, [one.asset for one in stations])
        if options.clear:
            answer = api.post("kill", "clear", reason=options.reason, asset=asset)
            cleared = api.read(answer, Cleared)
            return out(options, answer, lambda: _cleared(cleared))
        answer = api.post("kill", reason=options.reason, asset=asset)
        stopped = api.read(answer, Stopped)
    return out(options, answer, lambda: _stopped(stopped))


def stations(options: Namespace, places: Places) -> int:
    """`twinloop stations`."""
    with line(places) as api:
        answer = api.get("stations")
        found = api.read(answer, Stations)
    return out(options, answer, lambda: show.stations_table(found.stations, found.kill_switch))


def _decide(options: Namespace, places: Places, verb: str) -> int:
    with twin(places) as api:
        answer = api.post("changes", _change(options.change, api), verb, reason=options.reason)
        change = api.read(answer, Change)
    waits = f"; it still waits for {change.waits_for}" if change.waits_for else ""
    return out(
        options, answer, lambda: show.sentence(f"Change {change.change_id} is now {change.state}{waits}.")
    )


def _stopped(stopped: Stopped) -> None:
    show.sentence(f"Nothing is commanded any more at {', '.join(stopped.assets) or 'any station'}.")
    unconfirmed = [asset for asset, done in stopped.released.items() if not done]
    if unconfirmed:
        show.sentence(
            f"No device has confirmed yet that it has control at {', '.join(unconfirmed)}: its watchdog "
            "takes it within seconds; look with `twinloop stations`."
        )
    if not stopped.saved:
        show.sentence("It could not be saved, and ends when line is started anew: look at line's disk.")


def _cleared(cleared: Cleared) -> None:
    if cleared.assets:
        show.sentence(f"{', '.join(cleared.assets)} may be promoted again: `twinloop mode`.")
    else:
        show.sentence("Cleared; nothing is free by that, as another kill switch is still set.")


def assets(api: Api) -> list[str]:
    """Every asset that the twin follows."""
    return [one.asset for one in api.read(api.get("assets"), list[Asset])]


def whole_name(name: str, places: Places) -> str:
    """Of an asset: a whole name is taken as it is; the last part of one is looked up at the twin. Raises
    `Unusable`."""
    if "." in name:
        return name
    with twin(places) as api:
        return asset_called(name, assets(api))


def asset_called(name: str, known: list[str]) -> str:
    """The asset that is called `name`, or whose last parts are. Raises `Unusable`."""
    if name in known:
        return name
    found = [one for one in known if one.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise Unusable(f"{name} could be {' or '.join(found)}: give more of its name.")
    raise Unusable(f"There is no asset {name}: there are {', '.join(known) or 'none'}.")


def _change(name: str, api: Api) -> str:
    """The id of the change that `name` is the beginning of. Raises `Unusable`."""
    if len(name) >= _WHOLE_ID:
        return name
    changes = api.read(api.get("changes", limit=_MANY), list[Change])
    found = [one.change_id for one in changes if one.change_id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Unusable(
            f"{len(found)} changes begin with {name}: give more of the id (`--json` has all of it)."
        )
    raise Unusable(f"No change begins with {name}: see `twinloop changes list`.")
