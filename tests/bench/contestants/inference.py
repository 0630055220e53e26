"""Asking Triton, and nothing else: windows that lie ready, two requests under way at a time."""

from __future__ import annotations

import asyncio

import numpy as np
from common import MODEL, SIGNALS, TRITON, WINDOW, Progress, request
from tritonclient.grpc.aio import InferenceServerClient

BATCH = 1024


async def main() -> None:
    client, progress = InferenceServerClient(TRITON), Progress()
    windows = np.random.default_rng(0).normal(size=(BATCH, WINDOW, SIGNALS)).astype(np.float32)

    async def ask() -> None:
        while True:
            await client.infer(MODEL, request(windows))
            progress.add(BATCH)

    await asyncio.gather(ask(), ask())


asyncio.run(main())
