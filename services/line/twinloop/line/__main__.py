"""`python -m twinloop.line`"""

from __future__ import annotations

import sys
from functools import partial

from twinloop.line import app
from twinloop.line.limits import LineLimits
from twinloop.line.settings import LineSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(LineSettings)
    limits = load_toml(settings.assets, LineLimits)
    return run("line", settings, partial(app.main, limits=limits))


if __name__ == "__main__":
    sys.exit(main())
