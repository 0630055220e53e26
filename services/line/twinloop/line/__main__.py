"""`python -m twinloop.line`"""

from __future__ import annotations

import sys
from functools import partial

from twinloop.line import app
from twinloop.line.limits import LineLimits
from twinloop.line.settings import LineSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.trust.bearer import Access
from twinloop.trust.errors import TrustError
from twinloop.trust.keys import Trusted


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(LineSettings)
    limits = load_toml(settings.assets, LineLimits)
    try:
        access, trusted = Access.of(settings), Trusted.load(settings.approvers)
    except TrustError as error:
        sys.stderr.write(f"This service cannot start: {error}\n")
        return 2
    return run("line", settings, partial(app.main, limits=limits, access=access, trusted=trusted))


if __name__ == "__main__":
    sys.exit(main())
