"""`python -m twinloop.historian`"""

from __future__ import annotations

import sys

from twinloop.historian.app import main
from twinloop.historian.settings import HistorianSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load

if __name__ == "__main__":
    sys.exit(run("historian", load(HistorianSettings), main))
