"""The page trains models, so playing it needs torch: `make test-train`."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_howto_swap.py"]
