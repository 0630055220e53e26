"""`python -m twinloop.twin`"""

from __future__ import annotations

import sys
from functools import partial

from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.twin import app
from twinloop.twin.assets import TwinAssets
from twinloop.twin.settings import TwinSettings


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(TwinSettings)
    assets = load_toml(settings.assets, TwinAssets)
    return run("twin", settings, partial(app.main, assets=assets))


if __name__ == "__main__":
    sys.exit(main())
