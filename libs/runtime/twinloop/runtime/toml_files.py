"""Files that people write for a service: read once at its start, and refused with every bad field."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def refuse(header: str, problems: list[str]) -> NoReturn:
    """Say what must be mended on stderr, a line each, and exit with 2."""
    sys.stderr.write("\n".join([header, *[f"  {problem}" for problem in problems]]) + "\n")
    raise SystemExit(2)


def load_toml(path: Path, kind: type[M]) -> M:
    """The file's content as `kind`. On failure lists every bad field and exits with 2, like `load`."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        refuse(f"{path} cannot be read:", [str(error)])
    except tomllib.TOMLDecodeError as error:
        refuse(f"{path} is no valid TOML:", [str(error)])
    except ValidationError as error:
        refuse(
            f"{path} must be mended before this service can start:",
            [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()],
        )
