"""What nobody may tell: the content of the files that only their owner may read."""

from __future__ import annotations

from pathlib import Path


def secrets_of(folder: Path) -> list[str]:
    """Words, and every line of a key; of an authority, of users, of plants and of people."""
    files = [one for one in folder.rglob("*") if one.is_file() and not one.stat().st_mode & 0o077]
    lines = [line.strip() for one in files for line in one.read_text().splitlines()]
    # What is in a certificate, which may lie beside its key, is no secret.
    public = "\n".join(one.read_text() for one in folder.rglob("*.cert.pem"))
    found = [line for line in lines if len(line) > 20 and "-----" not in line and line not in public]
    assert len(found) > 20
    return found
