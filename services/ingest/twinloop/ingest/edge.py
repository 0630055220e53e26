"""`twinloop-edge`: what only the edge can do, because it holds the key of the pseudonyms.

    twinloop-edge resolve --vins FILE                  every VIN with its pseudonym
    twinloop-edge resolve --vins FILE --recall FILE    only those of the VINs that a recall list names

A pseudonym cannot be turned back. Whoever knows VINs hashes them and compares: the list comes in, the VINs
never go out. The key is read from the file that
TWINLOOP_INGEST_PSEUDONYM_KEY_FILE names. `-` is standard input, for one of the two
files; a recall list is any text with pseudonyms in it, such as what `twinloop recall` prints.

Exit status: 0; 1 when a pseudonym of the list belongs to none of the VINs, which is told on standard error;
2 when it was asked for wrongly, which no VIN or no pseudonym at all is taken for.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from twinloop.ingest.pseudonyms import is_vin, pseudonym
from twinloop.runtime.credentials import AccessUnusable, secret_of

KEY = "TWINLOOP_INGEST_PSEUDONYM_KEY"
KEY_FILE = f"{KEY}_FILE"
_PSEUDONYM = re.compile(r"(?<![0-9A-Za-z])[0-9A-Fa-f]{32}(?![0-9A-Za-z])")


def resolve(vins: Iterable[str], key: bytes, wanted: Sequence[str] | None) -> list[tuple[str, str]]:
    """VINs with their pseudonyms, sorted; those in `wanted`, or all when it is `None`."""
    known = {pseudonym(vin, key): vin.upper() for vin in vins}
    kept = known if wanted is None else {name: known[name] for name in wanted if name in known}
    return sorted((vin, name) for name, vin in kept.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the process's exit status."""
    parser = argparse.ArgumentParser(prog="twinloop-edge", description="Find the vehicles of pseudonyms.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("resolve", help="hash own VINs and print those that are on a recall list")
    one.add_argument("--vins", required=True, metavar="FILE", help="own VINs, one a line; - for stdin")
    one.add_argument("--recall", metavar="FILE", help="text with pseudonyms (default: print every VIN)")
    given = parser.parse_args(argv)
    try:
        key = (
            secret_of(Path(os.environ[KEY_FILE])) if KEY_FILE in os.environ else os.environ.get(KEY, "")
        ).encode()
    except AccessUnusable as error:
        parser.error(f"{KEY_FILE}: {error}")
    if len(key) < 16:
        parser.error(f"{KEY_FILE} must name a file with the key of the pseudonyms, 16 characters or more")
    if given.vins == given.recall == "-":
        parser.error("--vins and --recall cannot both be standard input")
    try:
        vins = [line.strip() for line in _read(given.vins).splitlines() if line.strip()]
        wanted = None if given.recall is None else _PSEUDONYM.findall(_read(given.recall).lower())
    except OSError as error:  # without the file's name: who forgets FILE has put a VIN there
        parser.error(f"a file cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        parser.error(f"a file is no text: {error}")
    if not vins:
        parser.error("--vins: there is no VIN in it")
    if wrong := [number for number, vin in enumerate(vins, start=1) if not is_vin(vin)]:
        parser.error(f"--vins: not a VIN: number {', '.join(map(str, wrong[:5]))} of those given")
    if wanted is not None and not wanted:
        parser.error("--recall: there is no pseudonym in it; was the recall answered, and with vehicles?")
    found = resolve(vins, key, wanted)
    sys.stdout.writelines(f"{vin} {name}\n" for vin, name in found)
    strangers = set(wanted or ()) - {name for _, name in found}
    if strangers:
        sys.stderr.write(f"{len(strangers)} pseudonyms belong to none of these VINs\n")
    return 1 if strangers else 0


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text()


if __name__ == "__main__":
    sys.exit(main())
