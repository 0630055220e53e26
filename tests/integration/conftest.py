"""What the files of this folder share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from support.plant import SharedPlc


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_plc(certs: Path) -> AsyncIterator[SharedPlc]:
    """For whose tests are in the module's loop."""
    one = SharedPlc(certs)
    yield one
    await one.stop()
