"""`python -m twinloop.modelops`"""

from __future__ import annotations

import sys
from functools import partial

from twinloop.modelops import app
from twinloop.modelops.settings import ModelopsSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.tritonio.serving import ServingTable, Target
from twinloop.trust.bearer import Access
from twinloop.trust.errors import TrustError


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(ModelopsSettings)
    table = ServingTable() if settings.serving is None else load_toml(settings.serving, ServingTable)
    try:
        access = Access.of(settings)
    except TrustError as error:
        sys.stderr.write(f"This must be mended before modelops can start:\n  {error}\n")
        return 2
    target = Target(settings.platform, table)
    return run("modelops", settings, partial(app.main, access=access, target=target))


if __name__ == "__main__":
    sys.exit(main())
