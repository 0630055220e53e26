"""Become another command that does not outlive its parent: `tether.py PARENT_PID SIGNAL COMMAND...`.

Run as a script, on its own (`python -I -S`): it asks the kernel for SIGNAL at the parent's death, then
executes the command in place, so that the process id stays. Doing this between fork and exec of a process
with threads would not be safe; doing it here is.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the request was in place
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as problem:
        sys.exit(f"{command[0]}: {problem.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
