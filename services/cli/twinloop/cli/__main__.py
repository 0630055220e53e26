"""`twinloop`: what a person says, once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twinloop.cli.arguments import parser
from twinloop.cli.errors import CliError
from twinloop.cli.places import STATE, Places
from twinloop.cli.show import plain
from twinloop.cli.train import VERB, train


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is said; returns the process's status: 0, 1 refused or tampered with, 2 could not be asked."""
    said = sys.argv[1:] if argv is None else list(argv)
    try:
        if said[:1] == [VERB]:  # its words are the trainer's
            return train(said[1:])
        options = parser().parse_args(said)
        state = options.stack or Path(os.environ.get(STATE) or ".twinloop").expanduser()
        status: int = options.verb(options, Places(os.environ, state, options.token_file))
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
