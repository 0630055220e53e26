"""`twinloop`: what a person says, once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twinloop.cli.arguments import parser
from twinloop.cli.errors import CliError
from twinloop.cli.handed_on import hand_on
from twinloop.cli.places import STATE, Places
from twinloop.cli.show import plain


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is said; returns the process's status: 0, 1 refused or tampered with, 2 could not be asked."""
    said = sys.argv[1:] if argv is None else list(argv)
    try:
        grammar = parser()
        options, words = grammar.parse_known_args(said)
        state = Path(os.environ.get(STATE) or ".twinloop").expanduser()
        places = Places(os.environ, options.stack or state, options.token_file)
        if (verb := getattr(options, "handed_on", None)) is not None:
            return hand_on(verb, words, places)
        if words:
            grammar.error(f"unrecognized arguments: {' '.join(words)}")
        status: int = options.verb(options, places)
        sys.stdout.flush()
    except CliError as error:
        sys.stderr.write(f"twinloop: {plain(error)}\n")
        return error.status
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
