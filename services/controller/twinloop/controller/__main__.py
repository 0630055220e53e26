"""`python -m twinloop.controller`: the service."""

from __future__ import annotations

import sys
from functools import partial

from twinloop.controller import app
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.settings import ControllerSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.trust.bearer import Access, AccessSettings
from twinloop.trust.errors import TrustError


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(ControllerSettings)
    policy = load_toml(settings.assets, ControllerPolicy)
    field = None
    if settings.field is not None:
        rules = load_toml(settings.field, FieldRules)
        try:
            field = (rules, Access.of(load(AccessSettings)))
        except TrustError as error:
            sys.stderr.write(f"This must be mended before the controller can start:\n  {error}\n")
            return 2
    return run("controller", settings, partial(app.main, policy=policy, field=field))


if __name__ == "__main__":
    sys.exit(main())
