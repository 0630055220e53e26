"""A tar file that somebody sent: the files of an artefact, and nothing else. Pure."""

from __future__ import annotations

import io
import tarfile

from twinloop.modelops.errors import Refused, Step
from twinloop.tritonio.artefact import FILES


def files_of(sent: bytes) -> dict[str, bytes]:
    """The contents of `FILES`, by name. Nothing is written anywhere. Raises `Refused`.

    Not compressed: what is in it can then be no larger than what was sent.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(sent), mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in FILES:
                    if member.isdir() and name in ("", "."):
                        continue
                    raise Refused(Step.UNPACK, f"{name[:80]!r} is no part of an artefact: {_DUE}")
                if not member.isreg():
                    raise Refused(Step.UNPACK, f"{name} is no plain file")
                if name in found:
                    raise Refused(Step.UNPACK, f"{name} is there twice")
                content = tar.extractfile(member)
                assert content is not None
                found[name] = content.read(len(sent) + 1)  # a sparse file would be larger than what was sent
                if len(found[name]) != member.size:
                    raise Refused(Step.UNPACK, f"{name} is cut off")
    except (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError) as error:
        raise Refused(Step.UNPACK, f"what was sent is no tar file: {error}") from error
    if missing := [name for name in FILES if name not in found]:
        raise Refused(Step.UNPACK, f"{', '.join(missing)} is missing: {_DUE}")
    return found


_DUE = f"send an uncompressed tar with {', '.join(FILES)}"
