"""The processes in which Triton's Python backend runs models."""

from __future__ import annotations

import contextlib

import psutil


def stubs(model: str, version: int | None = None, of: int | None = None) -> list[psutil.Process]:
    """Those of a model, or of one version of it, below the process `of`; by default below this one. None when
    `of` has ended.

    Found by the folder of the model in the command line.
    """
    folder = f"/{model}/" if version is None else f"/{model}/{version}/"
    found = []
    below = list[psutil.Process]()
    with contextlib.suppress(psutil.NoSuchProcess):
        below = psutil.Process(of).children(recursive=True)
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            words = " ".join(one.cmdline())
            if "triton_python_backend_stub" in words and folder in words:
                found.append(one)
    return found
