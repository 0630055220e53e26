"""`python -m mutation [target ...]`: break the guards one operator at a time; the tests must notice.

Each target is a pure module that decides about safety, with the tests that are to hold it. Cosmic Ray makes
the mutants, in a copy of the checkout, so that nobody's files change. Status 1 when a target's tests notice
less than `WANTED` of them.

Left out are mutants that say nothing: `|` in annotations, operators that no float has (they raise, and any
test would notice), `is` against `==` on enumerations, and what declares a class (`frozen=True`).
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult

REPOSITORY = Path(__file__).resolve().parents[2]
WANTED = 0.90
_LIMIT_S = 60
_EXCLUDED = (
    "core/ReplaceBinaryOperator_BitOr_.*",
    "core/ReplaceBinaryOperator_.*_(RShift|LShift|BitOr|BitAnd|BitXor|Pow|FloorDiv|Mod)$",
    "core/ReplaceComparisonOperator_(Is_Eq|Eq_Is|IsNot_NotEq|NotEq_IsNot)$",
)


@dataclass(frozen=True, slots=True)
class Target:
    """`module` as a path in the checkout; `tests` are run by pytest, the quickest first."""

    module: str
    tests: tuple[str, ...]


TARGETS = {
    "controls": Target(
        "libs/contracts/twinloop/contracts/controls.py", ("libs/contracts/tests/test_contracts_controls.py",)
    ),
    "controller-guard": Target(
        "services/controller/twinloop/controller/guard.py",
        (
            "services/controller/tests/test_controller_guard.py",
            "services/controller/tests/test_controller_guardrails.py",
        ),
    ),
    "line-guard": Target(
        "services/line/twinloop/line/guard.py",
        ("services/line/tests/test_line_guard.py", "services/line/tests/test_line_guardrails.py"),
    ),
    "line-setpoints": Target(
        "services/line/twinloop/line/setpoints.py",
        ("services/line/tests/test_line_guard.py", "services/line/tests/test_line_guardrails.py"),
    ),
    "line-envelope": Target(
        "services/line/twinloop/line/envelope.py",
        ("services/line/tests/test_line_envelope.py", "services/line/tests/test_line_guardrails.py"),
    ),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of the module: `where` is a line, `noticed` whether a test failed."""

    what: str
    where: int
    noticed: bool


def mutants_of(target: Target, folder: Path) -> list[Mutant]:
    """Every mutant of the target, each tested in the copy of the checkout at `folder`."""
    config, session = folder / "cosmic-ray.toml", folder / "session.sqlite"
    sources = ":".join(str(one) for pattern in ("libs/*", "services/*") for one in folder.glob(pattern))
    environment = {
        **os.environ,
        "PYTHONPATH": f"{sources}:{folder / 'tests'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {' '.join(target.tests)}"
    config.write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps(target.module)}\n"
        f"timeout = {_LIMIT_S}.0\n"
        "excluded-modules = []\n"
        f"test-command = {json.dumps(command)}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(_EXCLUDED)}\n"
    )

    def tool(name: str, *arguments: str) -> str:
        return subprocess.run(
            [str(Path(sys.executable).parent / name), *arguments],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    subprocess.run(command.split(), cwd=folder, env=environment, check=True, capture_output=True)
    tool("cosmic-ray", "init", config.name, session.name)
    tool("cr-filter-operators", session.name, config.name)
    _leave_out_declarations(session, folder / target.module)
    tool("cosmic-ray", "exec", config.name, session.name)
    return list(_read(tool("cosmic-ray", "dump", session.name)))


def _leave_out_declarations(session: Path, module: Path) -> None:
    """Classes' own lines: their keywords, decorators and fields."""
    classes = [one for one in ast.walk(ast.parse(module.read_text())) if isinstance(one, ast.ClassDef)]
    declared: set[int] = set()
    for one in classes:
        first = min([one.lineno, *(mark.lineno for mark in one.decorator_list)])
        declared |= set(range(first, (one.end_lineno or one.lineno) + 1))
        for method in one.body:
            if isinstance(method, ast.FunctionDef):
                declared -= set(range(method.lineno, (method.end_lineno or method.lineno) + 1))
    with use_db(session, WorkDB.Mode.open) as work:
        for item in work.pending_work_items:
            if item.mutations[0].start_pos[0] in declared:
                work.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))


def _read(dump: str) -> Iterable[Mutant]:
    for line in dump.splitlines():
        item, result = json.loads(line)
        if result is None or result["worker_outcome"] == "skipped":
            continue
        for one in item["mutations"]:
            yield Mutant(
                f"{one['operator_name'].removeprefix('core/')} in {one['definition_name'] or 'the module'}",
                one["start_pos"][0],
                result["test_outcome"] != "survived",
            )


def copied(folder: Path) -> Path:
    """The tracked files of the checkout, in `folder`."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in names:
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def told(name: str, mutants: list[Mutant]) -> tuple[str, bool]:
    """What to say of a target, and whether enough was noticed."""
    noticed = sum(one.noticed for one in mutants)
    share = noticed / len(mutants) if mutants else 0.0
    lines = [f"{name}: {noticed} of {len(mutants)} mutants noticed ({share:.1%})"]
    lines += [f"  survived: line {one.where}: {one.what}" for one in mutants if not one.noticed]
    return "\n".join(lines), share >= WANTED


def main() -> int:
    """Mutate, test, tell; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}; default: all")
    given = parser.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    good = True
    with tempfile.TemporaryDirectory(prefix="twinloop-mutants-") as scratch:

        def work(name: str) -> tuple[str, bool]:
            return told(name, mutants_of(TARGETS[name], copied(Path(scratch) / name)))

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as workers:
            for text, enough in workers.map(work, given.targets or TARGETS):
                good = good and enough
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
