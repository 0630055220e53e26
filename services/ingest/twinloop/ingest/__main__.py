"""`python -m twinloop.ingest`: the service."""

from __future__ import annotations

import sys
from functools import partial

from twinloop.ingest import app, signal_sets
from twinloop.ingest.errors import BadCatalogue
from twinloop.ingest.settings import IngestSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(IngestSettings)
    try:
        sets = signal_sets.load(settings.signal_sets)
    except BadCatalogue as error:
        sys.stderr.write(f"TWINLOOP_INGEST_SIGNAL_SETS: {error}\n")
        return 2
    return run("ingest", settings, partial(app.main, sets=sets))


if __name__ == "__main__":
    sys.exit(main())
