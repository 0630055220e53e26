"""Each program is handed its keys, and no others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from twinloop.local.handout import HANDED, PSEUDONYM_KEY, hand_out, main, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    source, into = tmp_path_factory.mktemp("keys"), tmp_path_factory.mktemp("handed")
    make(source)
    hand_out(source, into)
    return source, into


def test_everybody_has_what_is_theirs(made: tuple[Path, Path]) -> None:
    source, into = made
    for party, names in HANDED.items():
        for name in names:
            assert (into / party / name).exists()
    assert (into / "line/opcua/trusted-by-line/plc.cert.der").is_file()
    assert (into / "people/tokens/olga.token").read_text() == (source / "tokens/olga.token").read_text()


def test_no_private_key_is_handed_to_two(made: tuple[Path, Path]) -> None:
    _, into = made
    private = [*into.rglob("*.key.pem"), *into.rglob("*.key"), *into.rglob("*.token")]
    assert len(private) == len({one.name for one in private}) == 9
    for one in private:
        assert stat.S_IMODE(one.stat().st_mode) == 0o600


def test_what_was_handed_out_before_stays(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, into = made
    before = {one: one.read_bytes() for one in into.rglob("*") if one.is_file()}
    assert main(["--from", str(source), "--to", str(into)]) == 0
    assert {one: one.read_bytes() for one in into.rglob("*") if one.is_file()} == before
    assert len((source / PSEUDONYM_KEY).read_text().strip()) == 64


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--from", str(tmp_path / "keys"), "--to", str(tmp_path / "file")]) == 1
    assert "cannot be handed out" in capsys.readouterr().err
