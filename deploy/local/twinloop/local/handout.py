"""`python -m twinloop.local.handout --from <folder> --to <folder>`: each program its keys, and no others.

`twinloop.local.certs` makes everything in one folder. Containers are handed what their program needs, in a
folder (a volume) of their own: the twin's signing key is for the twin alone. Runs at every start: what
changed is replaced.
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

from twinloop.local import certs
from twinloop.local.errors import CannotStart

PSEUDONYM_KEY: Final = "ingest/pseudonym.key"
"""The secret of the keyed hash of VINs; with another one every vehicle would get another pseudonym."""

HANDED: Final[Mapping[str, Sequence[str]]] = {
    "ingest": (PSEUDONYM_KEY,),
    "twin": ("signing/twin.key.pem", "people.toml"),
    "line": (
        "opcua/line.cert.der",
        "opcua/line.key.pem",
        "opcua/trusted-by-line",
        "signing/trusted",
        "people.toml",
    ),
    "simulator": ("opcua/plc.cert.der", "opcua/plc.key.pem", "opcua/trusted-by-plc"),
    "access": ("people.toml",),
    "people": ("tokens",),
}
"""What goes to whom. `access`: services that only tell people apart; `people`: those who speak for them."""


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
    parser = argparse.ArgumentParser(prog="python -m twinloop.local.handout", description=__doc__)
    parser.add_argument("--from", type=Path, required=True, metavar="FOLDER", dest="source")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", dest="into")
    options = parser.parse_args(arguments)
    try:
        make(options.source)
        hand_out(options.source, options.into)
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
