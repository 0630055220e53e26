"""`python -m twinloop.detector`"""

from __future__ import annotations

import sys

from twinloop.detector.app import main
from twinloop.detector.settings import DetectorSettings
from twinloop.runtime.service import run
from twinloop.runtime.settings import load

if __name__ == "__main__":
    sys.exit(run("detector", load(DetectorSettings), main, much_traffic=True))
