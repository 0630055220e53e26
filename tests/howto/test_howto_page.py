"""How pages are played, on pages that are made up; and what the real one must hold."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from howto.page import PageFailed, fences, keeps, play, steps

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "swap-a-model.md"
MODULE = ROOT / "docs" / "examples" / "own_detector.py"


def page(*blocks: str) -> str:
    return "\n".join(f"words\n\n```{one.partition(':')[0]}\n{one.partition(':')[2]}\n```\n" for one in blocks)


def played(folder: Path, *blocks: str, limit_s: float = 60) -> int:
    return len(list(play(steps(page(*blocks)), folder, os.environ, limit_s)))


def test_blocks_are_one_shell_and_print_what_is_promised(tmp_path: Path) -> None:
    assert (
        played(tmp_path, "bash:export NAME=x\ncd /", "bash:pwd; echo $NAME; echo e >&2", "text:/\nx\ne") == 2
    )
    assert not steps(page("python:import this"))


@pytest.mark.parametrize(
    ("promised", "printed", "kept"),
    [
        ("a … c", "a b b c", True),
        ("a … c", "a b b d", False),
        ("… c", "a\nb c", False),
        ("…\nb c", "a\n\nb   c\n", True),
        ("…\nb", "b", True),
        ("a\n…", "a", True),
        ("a", "a\nb", False),
        ("a.c", "abc", False),
        ("", "", True),
        ("", "a", False),
    ],
)
def test_what_varies_is_said_and_nothing_else_may(promised: str, printed: str, kept: bool) -> None:
    assert keeps(promised, printed) is kept


@pytest.mark.parametrize(
    ("block", "why"),
    [
        ("bash:echo before\nfalse\ntouch after", "line 10: `false` failed:\nbefore"),
        ("bash:exit 3", "line 10: the shell ended with 3"),
        ("bash:no-such-command", "no-such-command"),
    ],
)
def test_the_first_command_that_fails_ends_it(tmp_path: Path, block: str, why: str) -> None:
    with pytest.raises(PageFailed) as failed:
        played(tmp_path, "bash:true", block, "bash:touch after")
    assert why in str(failed.value)
    assert not (tmp_path / "after").exists()


def test_a_broken_promise_ends_it_and_shows_the_difference(tmp_path: Path) -> None:
    with pytest.raises(PageFailed, match=r"line 4 prints otherwise:(.|\n)*-b\n\+c"):
        played(tmp_path, "bash:echo a; echo c", "text:a\nb", "bash:touch after")
    assert not (tmp_path / "after").exists()


def test_what_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(PageFailed, match="the shell ended with -9"):
        played(tmp_path, "bash:sleep 1000", limit_s=0.5)


def test_a_promise_of_nobody_is_no_page() -> None:
    for blocks in (("text:a",), ("bash:true", "text:a", "text:b")):
        with pytest.raises(PageFailed, match="what printed this"):
            steps(page(*blocks))


def test_the_page_uses_every_verb_that_a_model_s_life_has() -> None:
    said = "\n".join(one.commands for one in steps(PAGE.read_text()))
    for verb in ("list", "stage", "diff", "shadow", "watch", "canary", "promote", "rollback", "retire"):
        assert f"twinloop models {verb}" in said
    assert "--csv recordings/*.csv" in said


def test_the_module_that_the_page_shows_is_the_one_that_its_commands_train() -> None:
    (shown,) = fences(PAGE.read_text(), "python")
    text = MODULE.read_text()
    assert text.endswith(shown)
    assert len(text.splitlines()) < 40
    assert f"--module {MODULE.relative_to(ROOT)}:Forecast" in PAGE.read_text()


def test_continuous_integration_plays_the_page() -> None:
    assert re.search(r"^make .*\btest-train\b", (ROOT / ".ci" / "run").read_text(), re.M)
    _, _, recipe = (ROOT / "Makefile").read_text().partition("\ntest-train:")
    assert "tests/howto" in recipe.partition("\n\n")[0]
