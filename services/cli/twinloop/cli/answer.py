"""The end of every command: for a script what the service said, for a person what that means."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable


def out(options: Namespace, answer: object, page: Callable[[], None]) -> int:
    """Write `answer` as JSON if that is asked for, else show `page`; 0, the status of what went well."""
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        page()
    return 0
