"""A run's settings in a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from warehouse.errors import FactoryError

C = TypeVar("C", bound=BaseModel)


def read_config(kind: type[C], path: Path) -> C:
    """The settings in `path`, checked; relative paths in it start at the working directory.

    Raises FactoryError, one sentence with every fault.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise FactoryError(f"There is no training config at {path}; name a TOML file.") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise FactoryError(f"The training config {path} is not valid: {problems}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FactoryError(f"The training config {path} cannot be read: {error}.") from error
