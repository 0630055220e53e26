"""`twinloop train` and `recordings` become the trainer, `train` in the environment that has torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from twinloop.cli.__main__ import main
from twinloop.cli.handed_on import PYTHON, command


def python_at(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_environment_to_train_in_lies_beside_that_of_the_services(tmp_path: Path) -> None:
    python = python_at(tmp_path / ".venv-train" / "bin" / "python")
    line = command("train", ["--model", "m", "--help"], {}, tmp_path / ".venv")
    assert line == [str(python), "-m", "twinloop.trainer", "train", "--model", "m", "--help"]
    other = python_at(tmp_path / "other" / "python")
    assert command("train", [], {PYTHON: str(other)}, tmp_path / ".venv")[0] == str(other)


def test_its_words_are_handed_on_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = python_at(tmp_path / "python")
    became: list[list[str]] = []
    monkeypatch.setenv(PYTHON, str(python))
    monkeypatch.setattr("os.execve", lambda path, line, environ: became.append(line))
    main(["train", "--architecture", "novelty", "--from", "2026-01-01"])
    assert became[0][3:] == ["train", "--architecture", "novelty", "--from", "2026-01-01"]


def test_without_one_it_says_how_to_make_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(PYTHON, "/nowhere/python")
    assert main(["train", "--help"]) == 2
    assert "make install-train" in capsys.readouterr().err


def test_recordings_are_those_of_the_stack_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[list[str], Mapping[str, str]]] = []
    (tmp_path / "endpoints.env").write_text("TWINLOOP_HISTORIAN_FOLDER=/where/parquet\n")
    monkeypatch.setenv("TWINLOOP_STATE", str(tmp_path))
    monkeypatch.delenv("TWINLOOP_HISTORIAN_FOLDER", raising=False)
    monkeypatch.setattr("os.execve", lambda path, line, environ: became.append((line, environ)))
    main(["recordings", "--signal-set", "weld.v1", "--into", "here"])
    ((line, environ),) = became
    assert line == [sys.executable, "-m", "twinloop.trainer", "recordings", *line[4:]]
    assert line[4:] == ["--signal-set", "weld.v1", "--into", "here"]
    assert environ["TWINLOOP_HISTORIAN_FOLDER"] == "/where/parquet"


def test_a_stack_may_be_named_before_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[tuple[list[str], Mapping[str, str]]] = []
    (tmp_path / "endpoints.env").write_text("TWINLOOP_HISTORIAN_FOLDER=/there/parquet\n")
    monkeypatch.delenv("TWINLOOP_HISTORIAN_FOLDER", raising=False)
    monkeypatch.setattr("os.execve", lambda path, line, environ: became.append((line, environ)))
    said = ["recordings", "--asset", "a", "b", "--to", "2026-01-01", "--into=here"]
    main(["--state", str(tmp_path), *said])
    ((line, environ),) = became
    assert line[3:] == said
    assert environ["TWINLOOP_HISTORIAN_FOLDER"] == "/there/parquet"


def test_help_names_the_program_that_people_call(tmp_path: Path) -> None:
    called = [sys.executable, "-m", "twinloop.cli", "recordings", "--help"]
    done = subprocess.run(called, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.startswith("usage: twinloop recordings ")


def test_without_the_trainer_it_says_where_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["recordings", "--help"]) == 2
    assert "image of the trainer" in capsys.readouterr().err


def test_of_other_verbs_no_word_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["modes", "weld1", "weld2"])
    assert ended.value.code == 2
    assert "unrecognized arguments: weld2" in capsys.readouterr().err
