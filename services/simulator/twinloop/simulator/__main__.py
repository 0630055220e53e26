"""`python -m twinloop.simulator`: the service."""

from __future__ import annotations

import sys
from functools import partial

from twinloop.runtime.service import run
from twinloop.runtime.settings import load, load_toml
from twinloop.simulator import app
from twinloop.simulator.settings import PlantTable, SimulatorSettings


def main() -> int:
    """Run until told to stop; the process's exit status."""
    settings = load(SimulatorSettings)
    table = load_toml(settings.stations, PlantTable)
    return run("simulator", settings, partial(app.main, table=table))


if __name__ == "__main__":
    sys.exit(main())
