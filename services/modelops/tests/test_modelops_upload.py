"""What somebody sends is an artefact's four files, or nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.packing import packed
from twinloop.modelops.errors import Refused
from twinloop.modelops.upload import files_of
from twinloop.tritonio.artefact import FILES

GOOD = {name: name.encode() for name in FILES}


def test_the_files_come_as_they_were_sent() -> None:
    assert files_of(packed(GOOD)) == GOOD
    assert files_of(packed({f"./{name}": content for name, content in GOOD.items()})) == GOOD


def with_member(change: Callable[[tarfile.TarInfo], None], content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in FILES[1:]:
            member = tarfile.TarInfo(name)
            member.size = len(GOOD[name])
            tar.addfile(member, io.BytesIO(GOOD[name]))
        odd = tarfile.TarInfo(FILES[0])
        odd.size = len(content)
        change(odd)
        tar.addfile(odd, io.BytesIO(content))
    return out.getvalue()


def kind(type_: bytes, link: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = type_, link

    return change


def named(name: str) -> Callable[[tarfile.TarInfo], None]:
    def change(member: tarfile.TarInfo) -> None:
        member.name = name

    return change


def sparse(member: tarfile.TarInfo) -> None:
    """A file of a terabyte, of which nothing is sent."""
    member.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(10**12), "GNU.sparse.map": "0,0"}


def endless(type_: bytes) -> bytes:
    """A name for a name for a name ..., each a header of its own."""
    out = b""
    for _ in range(2000):
        longer = tarfile.TarInfo("name")
        longer.type, longer.size = type_, 13
        out += longer.tobuf(tarfile.GNU_FORMAT) + b"13 path=abcd\n".ljust(512, b"\0")
    return out + b"\0" * 1024


BAD = {
    "names without end": (endless(tarfile.GNUTYPE_LONGNAME), "is no tar file"),
    "headers without end": (endless(tarfile.XHDTYPE), "is no tar file"),
    "no tar": (b"nonsense", "is no tar file"),
    "nothing": (b"", "is no tar file"),
    "compressed": (gzip.compress(packed(GOOD)), "is no tar file"),
    "one is missing": (packed({one: GOOD[one] for one in FILES[1:]}), "model.onnx is missing"),
    "one is there twice": (with_member(named("card.json")), "is there twice"),
    "another file": (packed({**GOOD, "run.sh": b"rm"}), "'run.sh' is no part of an artefact"),
    "out of the folder": (with_member(named("../model.onnx")), "is no part of an artefact"),
    "an absolute path": (with_member(named("/etc/passwd")), "is no part of an artefact"),
    "a link": (with_member(kind(tarfile.SYMTYPE, "/etc/passwd")), "is no plain file"),
    "a hard link": (with_member(kind(tarfile.LNKTYPE, "card.json")), "is no plain file"),
    "a device": (with_member(kind(tarfile.CHRTYPE)), "is no plain file"),
    "a folder": (with_member(kind(tarfile.DIRTYPE)), "is no plain file"),
    "cut off": (with_member(lambda _: None, b"x" * 5000)[:-12_000], ""),
    "sparse": (with_member(sparse), ""),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_anything_else_is_refused(bad: tuple[bytes, str]) -> None:
    sent, why = bad
    with pytest.raises(Refused, match=r"^unpack: ") as caught:
        files_of(sent)
    assert why in str(caught.value)


@given(st.binary(max_size=2000), st.integers(0, 10_000))
def test_garbage_is_refused_and_nothing_worse(garbage: bytes, at: int) -> None:
    good = packed(GOOD)
    for sent in (garbage, good[:at] + garbage + good[at + len(garbage) :]):
        with suppress(Refused):
            assert set(files_of(sent)) == set(FILES)
