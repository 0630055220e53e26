"""`python -m twinloop.twin`"""

from __future__ import annotations

import sys
from functools import partial

from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.trust.bearer import Access
from twinloop.trust.errors import TrustError
from twinloop.trust.keys import Signer
from twinloop.twin import app
from twinloop.twin.assets import TwinAssets
from twinloop.twin.settings import TwinSettings


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(TwinSettings)
    assets = load_toml(settings.assets, TwinAssets)
    try:
        signer, access = Signer.load(settings.signing_key), Access.of(settings)
    except TrustError as error:
        sys.stderr.write(f"This must be mended before the twin can start:\n  {error}\n")
        return 2
    return run("twin", settings, partial(app.main, assets=assets, signer=signer, access=access))


if __name__ == "__main__":
    sys.exit(main())
