"""A page of commands, played: each ```bash block is run, the ```text block after it is what must be printed.

All blocks of a page are one shell, in their order, so that what one exports the next one has. The first
command that does not end with 0 ends it. In a ```text block `…` stands for anything within a line, and alone
in a line for any number of lines; blank lines and the number of spaces do not count.

Why not a tool for this: cram, prysk, tesh and byexample want each command behind a prompt, which nobody can
copy.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ANYTHING = "…"
_MARK, _FAILED = "\x1e", "\x15"


class PageFailed(AssertionError):
    """Raised when a page does not do what it says; the text has the line, and what was printed."""


@dataclass(frozen=True, slots=True)
class Step:
    """A block of commands: its first `line` in the page, and what it promises to print, if it does."""

    line: int
    commands: str
    promised: str | None = None


def fences(text: str, language: str) -> list[str]:
    """The contents of all blocks in a language."""
    return [one.content for one in MarkdownIt().parse(text) if one.type == "fence" and one.info == language]


def steps(text: str) -> list[Step]:
    """The blocks of commands of a page. Raises `PageFailed` for a promise that belongs to none."""
    found: list[Step] = []
    for one in MarkdownIt().parse(text):
        if one.type != "fence" or one.map is None:
            continue
        line = one.map[0] + 2
        if one.info == "bash":
            found.append(Step(line, one.content))
        elif one.info == "text":
            if not found or found[-1].promised is not None:
                raise PageFailed(f"line {line}: what printed this?")
            found[-1] = Step(found[-1].line, found[-1].commands, one.content)
    return found


def keeps(promised: str, printed: str) -> bool:
    """Whether what was printed is what was promised."""
    pattern = ""
    for line in _lines(promised):
        if line == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split(ANYTHING)) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def play(steps: Sequence[Step], folder: Path, environ: Mapping[str, str], limit_s: float) -> Iterator[Step]:
    """Run the steps in `folder`; each is given once it is done and has kept its promise.

    After `limit_s` everything that still runs in the foreground is killed. Raises `PageFailed`.
    """
    script = folder / ".page.sh"
    script.write_text(_script(steps))
    with subprocess.Popen(
        ["bash", script.name],
        cwd=folder,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as shell:
        timer = threading.Timer(limit_s, os.killpg, (shell.pid, signal.SIGKILL))
        timer.start()
        try:
            yield from _follow(shell, steps)
        finally:
            timer.cancel()
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)


def _script(steps: Sequence[Step]) -> str:
    """Each step, a line that says that it is done, and a wait until it may go on. No command is given
    input."""
    told = f"""trap 'printf "{_FAILED}%s\\n" "$BASH_COMMAND"' ERR"""
    lines = ["set -e", told, "exec 9<&0 </dev/null"]
    for number, one in enumerate(steps):
        lines += [one.commands, f"printf '{_MARK}{number}\\n'; read -r -u 9"]
    return "\n".join(lines)


def _follow(shell: subprocess.Popen[str], steps: Sequence[Step]) -> Iterator[Step]:
    assert shell.stdin is not None
    assert shell.stdout is not None
    printed, failed, done = "", "", 0
    for line in shell.stdout:
        if line.startswith(_FAILED):
            failed = line[1:].strip()
        elif line == f"{_MARK}{done}\n":
            step = steps[done]
            if step.promised is not None and not keeps(step.promised, printed):
                raise PageFailed(f"line {step.line} prints otherwise:\n{_difference(step.promised, printed)}")
            yield step
            shell.stdin.write("\n")
            shell.stdin.flush()
            printed, done = "", done + 1
        else:
            printed += line
    if done < len(steps):
        why = f"`{failed}` failed" if failed else f"the shell ended with {shell.wait()}"
        raise PageFailed(f"line {steps[done].line}: {why}:\n{printed}")


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _difference(promised: str, printed: str) -> str:
    return "\n".join(
        difflib.unified_diff(_lines(promised), _lines(printed), "promised", "printed", lineterm="")
    )
