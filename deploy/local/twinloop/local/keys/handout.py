"""`python -m twinloop.local.keys.handout --from <folder> --to <folder>`: each program its keys, no others.

`twinloop.local.keys.certs` makes everything in one folder. Containers are handed what their program needs, in
a folder (a volume) of their own: the twin's signing key is for the twin alone. Runs at every start: what
changed is replaced.

With `--kafka <folder>` also what makes Kafka ask who one is (TLS, SCRAM, ACLs), in a folder there for each of
its users, the broker, and the administrator.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from twinloop.local.errors import CannotStart
from twinloop.local.keys import certs
from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import ADMIN, BROKER, Secrets, Secure
from twinloop.local.parts.kafka_secured import write_key_store
from twinloop.runtime.credentials import secret_of

PSEUDONYM_KEY: Final = "ingest/pseudonym.key"
"""The secret of the keyed hash of VINs; with another one every vehicle would get another pseudonym."""

HANDED: Final[Mapping[str, Sequence[str]]] = {
    "ingest": (PSEUDONYM_KEY, "people.toml"),
    "twin": ("signing/twin.key.pem", "people.toml"),
    "line": (
        "opcua/line.cert.der",
        "opcua/line.key.pem",
        "opcua/trusted-by-line",
        "signing/trusted",
        "people.toml",
    ),
    "simulator": (
        "opcua/plc.cert.der",
        "opcua/plc.key.pem",
        "opcua/trusted-by-plc",
        "senders/plant.token",
    ),
    "access": ("people.toml",),
    "people": ("tokens",),
}
"""What goes to whom. `access`: services that only tell people apart; `people`: those who speak for them."""

KAFKA: Final = "kafka"
"""What containers call Kafka's."""
USERS: Final = (
    *("ingest", "detector", "modelops", "controller", "twin", "line", "historian"),
    *("provision", "monitor"),
)
"""Users of Kafka that containers are."""


def make(folder: Path) -> None:
    """Make what `folder` lacks. Raises `CannotStart`."""
    certs.make(folder, datetime.now(UTC))
    key = folder / PSEUDONYM_KEY
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = key.with_suffix(".new")
        aside.touch(mode=0o600)
        aside.write_text(f"{secrets.token_hex(32)}\n")
        aside.replace(key)


def make_secured(folder: Path, prefix: str) -> Secrets:
    """Make what `folder` lacks for a Kafka that is known as `KAFKA`, with users at the site `prefix`."""
    secrets_ = Secrets(folder, Secure(sites=(prefix,)), (KAFKA,))
    secrets_.make(datetime.now(UTC))
    write_key_store(secrets_)
    return secrets_


def hand_out_secured(made: Secrets, prefix: str, into: Path) -> None:
    """Copy to each user of Kafka below `into` his password, to the broker and the administrator their keys,
    and to everybody whom to believe."""
    for program in (*USERS, BROKER, ADMIN):
        (into / program).mkdir(parents=True, exist_ok=True)
        shutil.copy2(made.authorities, into / program / "ca.pem")
    for program in USERS:
        shutil.copy2(made.kafka_password(f"{prefix}{program}"), into / program / "password")
    for what in ("cert", "key"):
        shutil.copy2(made.kafka / f"{ADMIN}.{what}.pem", into / ADMIN / f"{what}.pem")
    shutil.copy2(made.kafka / "broker.pem", into / BROKER / "broker.pem")
    lines = [f"{user} {secret_of(made.kafka_password(user))}\n" for user in made.secure.users()]
    write(into / BROKER / "users", "".join(lines).encode(), private=True)


def hand_out(source: Path, into: Path) -> None:
    """Copy to each one's folder below `into` what is theirs."""
    for party, files in HANDED.items():
        for name in files:
            given, there = source / name, into / party / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if given.is_dir():
                shutil.copytree(given, there, dirs_exist_ok=True)
            else:
                shutil.copy2(given, there)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m twinloop.local.keys.handout", description=__doc__)
    parser.add_argument("--from", type=Path, required=True, metavar="FOLDER", dest="source")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", dest="into")
    parser.add_argument("--kafka", type=Path, metavar="FOLDER")
    parser.add_argument("--prefix", default="", help="of the site, as TWINLOOP_TOPIC_PREFIX")
    options = parser.parse_args(arguments)
    try:
        made = make_secured(options.source, options.prefix) if options.kafka else None
        make(options.source)
        hand_out(options.source, options.into)
        if made is not None:
            hand_out_secured(made, options.prefix, options.kafka)
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except OSError as problem:
        print(f"The keys cannot be handed out to {options.into}: {problem}", file=sys.stderr)
        return 1
    print(f"handed out to {', '.join(HANDED)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
