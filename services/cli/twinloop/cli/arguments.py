"""What can be said, and in which words."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from twinloop.cli import audit, field, models, people, watch
from twinloop.cli.capacity.verb import add, capacity
from twinloop.cli.handed_on import RECORDINGS, TRAIN
from twinloop.cli.places import STATE, Places
from twinloop.contracts.changes import State
from twinloop.contracts.modes import Mode

Verb = Callable[[Namespace, Places], int]

_EPILOG: Final = """\
Addresses and who you are come from the environment (TWINLOOP_TWIN_URL, TWINLOOP_LINE_URL,
TWINLOOP_CONTROLLER_URL, TWINLOOP_MODELOPS_URL, and TWINLOOP_TOKEN or TWINLOOP_TOKEN_FILE), else from
endpoints.env in the state folder of a local stack.

Status: 0 done; 1 refused, or an audit store was tampered with; 2 it could not be asked.
"""


def parser() -> ArgumentParser:
    """The whole grammar. What was chosen is the function `verb`, or the name `handed_on`: then what is not
    known here is for the trainer."""
    top = ArgumentParser(
        prog="twinloop",
        description="Say to Twinloop what it may do.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--state",
        dest="stack",
        type=Path,
        help=f"state folder of a local stack (default: ${STATE}, else .twinloop)",
    )
    top.add_argument("--token-file", type=Path, help="file with your token")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    changes = verbs.add_parser("changes", help="what is proposed, and what becomes of it")
    of_changes = changes.add_subparsers(metavar="VERB", required=True)
    listed = _verb(of_changes, "list", people.list_changes, "the newest first")
    listed.add_argument("--asset", help="only of this one")
    listed.add_argument("--state", choices=[*map(str, State)], help="only in this state")
    listed.add_argument("--waiting", action="store_true", help="only those that wait for a person")
    listed.add_argument("--limit", type=_count, default=50, help="at most so many (default: 50)")
    shown = _verb(of_changes, "show", people.show_change, "one of them, with both forecasts beside it")
    approved = _verb(of_changes, "approve", people.approve, "release it (operator)")
    vetoed = _verb(of_changes, "veto", people.veto, "reject it (operator)")
    for one in (shown, approved, vetoed):
        one.add_argument("change", metavar="CHANGE", type=_said, help="its id, or the beginning of it")
    for one in (approved, vetoed):
        _reason(one)

    modes = _verb(verbs, "modes", people.modes, "how far Twinloop may go at each asset")
    modes.add_argument("asset", nargs="?", metavar="ASSET", help="only of this one")
    mode = _verb(verbs, "mode", people.mode, "ask for a mode: down (operator), or one step up (engineer)")
    hand_back = _verb(verbs, "hand-back", people.hand_back, "end an operator's override (operator)")
    for one in (mode, hand_back):
        one.add_argument("asset", metavar="ASSET", help="its name, or the last part of it")
        _reason(one)
    mode.add_argument("mode", metavar="MODE", choices=[*map(str, Mode)], help=", ".join(Mode))

    kill = _verb(verbs, "kill", people.kill, "stop: nothing is commanded any more (operator)")
    kill.add_argument("--asset", help="only at this one; default: everywhere")
    kill.add_argument("--clear", action="store_true", help="take it back (engineer)")
    _reason(kill)
    _verb(verbs, "stations", people.stations, "what the line and its devices are at")

    findings = _verb(
        verbs, "findings", field.findings, "what vehicles tell about the stations that built them"
    )
    findings.add_argument("--station", type=_said, help="only of this one")
    findings.add_argument("--limit", type=_count, default=50, help="at most so many (default: 50)")
    recall = _verb(verbs, "recall", field.recall, "vehicles with joints of a station and time (operator)")
    recall.add_argument("--station", required=True, type=_said, help="its name, or the last part of it")
    recall.add_argument("--from", dest="start", metavar="FROM", required=True, type=_time, help="ISO 8601")
    recall.add_argument("--to", dest="end", metavar="TO", required=True, type=_time, help="not included")

    _models(verbs.add_parser("models", help="which models serve: stage, try, promote, take back, retire"))
    _handed_on(verbs, RECORDINGS, "what was recorded, as CSV files; `twinloop recordings --help`")
    _handed_on(verbs, TRAIN, "a model, on recordings; `twinloop train --help`")

    add(
        _verb(
            verbs,
            "capacity",
            capacity,
            "what a load needs: replicas, memory, Kafka, Triton; by what was measured",
        )
    )

    of_audit = verbs.add_parser("audit", help="who did what").add_subparsers(metavar="VERB", required=True)
    verified = _verb(of_audit, "verify", audit.verify, "whether stores are as they were written")
    verified.add_argument("path", metavar="PATH", type=Path, help="a store, or the folder of several")
    verified.add_argument("--kafka", action="store_true", help="compare with the copies on the topic, too")
    return top


def _models(parser: ArgumentParser) -> None:
    """The verbs for models. A data scientist may say all of them."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    listed = _verb(verbs, "list", models.list_models, "who is served by what, trials, and every version")
    listed.add_argument("--model", type=_said, help="only of this one")
    staged = _verb(verbs, "stage", models.stage, "check a model that was trained, and load it for nobody yet")
    staged.add_argument("folder", metavar="FOLDER", type=Path, help="as training has written it")
    shadow = _verb(verbs, "shadow", models.shadow, "try a version beside the one that serves")
    canary = _verb(verbs, "canary", models.canary, "let it, or the one on trial, decide for some assets")
    watched = _verb(verbs, "watch", watch.watch, "follow a trial until it may be decided, or is over")
    watched.add_argument(
        "scope", metavar="SCOPE", nargs="?", type=_said, help="default: the only one with a trial"
    )
    promote = _verb(verbs, "promote", models.promote, "let it, or the one on trial, serve")
    rollback = _verb(verbs, "rollback", models.rollback, "end a trial, or let the version before serve again")
    retire = _verb(verbs, "retire", models.retire, "unload a version that serves nobody, and keep it aside")
    shadow.add_argument("version", metavar="VERSION", type=_version, help="such as weld:3")
    retire.add_argument("version", metavar="VERSION", type=_version, help="such as weld:3")
    for one in (canary, promote):
        one.add_argument(
            "version", metavar="VERSION", nargs="?", type=_version, help="default: that on trial"
        )
    for one in (shadow, canary, promote):
        one.add_argument(
            "--scope", type=_said, help="asset, or signal set (default: the version's, or the only trial's)"
        )
    for one in (canary, promote):
        one.add_argument("--cold", action="store_true", help="also where it has no verdict yet")
    rollback.add_argument("scope", metavar="SCOPE", type=_said, help="asset or signal set")
    canary.add_argument("--share", type=_share, help="share of the assets, such as 0.1")
    canary.add_argument("--asset", action="append", type=_said, help="this asset; may be said more than once")
    for one in (shadow, canary):
        one.add_argument("--auto", action="store_true", help="promote it once it has shown enough")
        one.add_argument("--more-alarms", type=_share, help="share of windows, at most (default: 0.01)")
    for one in (staged, shadow, canary, promote, rollback, retire):
        _reason(one)
    for one in (staged, shadow, canary, promote, retire):
        one.add_argument(
            "--wait",
            type=_seconds,
            default=models.PATIENT_S,
            metavar="SECONDS",
            help="for an answer: a load on a GPU takes minutes (default: %(default)g)",
        )
    differs = _verb(verbs, "diff", models.diff, "two versions side by side")
    differs.add_argument("one", metavar="VERSION", type=_version)
    differs.add_argument("other", metavar="OTHER", type=_version)


def _verb(verbs: Any, name: str, verb: Verb, help_: str) -> ArgumentParser:
    made: ArgumentParser = verbs.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    made.add_argument("--json", action="store_true", help="for scripts: what the service answers")
    made.set_defaults(verb=verb)
    return made


def _handed_on(verbs: Any, name: str, help_: str) -> None:
    verbs.add_parser(name, add_help=False, help=help_).set_defaults(handed_on=name)


def _reason(one: ArgumentParser) -> None:
    one.add_argument("--reason", required=True, type=_said, help="why; it is written down with your name")


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError
    return text.strip()


def _count(text: str) -> int:
    if not 1 <= int(text) <= 1000:
        raise ValueError
    return int(text)


def _share(text: str) -> float:
    if not 0 < float(text) <= 1:
        raise ValueError
    return float(text)


def _seconds(text: str) -> float:
    if not 0 < float(text) < 1e6:
        raise ValueError
    return float(text)


def _version(text: str) -> str:
    model, colon, number = text.strip().rpartition(":")
    if not (model and colon and number.isdecimal()):
        raise ValueError
    return text.strip()


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


_time.__name__ = "time in ISO 8601, in UTC if it names no zone"
_said.__name__ = "text"
_share.__name__ = "share, above 0 and up to 1"
_version.__name__ = "version, such as weld:3"
_count.__name__ = "number from 1 to 1000"
