"""`python -m twinloop.controller`: the service."""

from __future__ import annotations

import sys
from functools import partial

from twinloop.controller import app
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.settings import ControllerSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(ControllerSettings)
    policy = load_toml(settings.assets, ControllerPolicy)
    return run("controller", settings, partial(app.main, policy=policy))


if __name__ == "__main__":
    sys.exit(main())
