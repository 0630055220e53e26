"""Faults: real parts, killed for real under load of known content, and reconciled with an independent oracle.

`make fault`, or `python -m fault` with `tests` on the path. See README.md."""
