"""Errors that a person reads.

A `FactoryError` carries one whole sentence: what was wrong, where, and what to do. The command line prints it
and exits with status 1 (2 for wrong usage); nothing else in the program catches it to carry on.
"""

from __future__ import annotations

import errno
from pathlib import Path


class FactoryError(Exception):
    """Something the user can mend: bad input, a missing program, a full disk.

    `reason` is its code where the ledger or a program tells cases apart.
    """

    reason: str = ""


def storage_error(error: OSError, path: Path) -> FactoryError:
    """The sentence for a failed write under `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FactoryError(f"The disk that holds {path} is full; free some space and run the command again.")
    why = error.strerror or str(error)
    return FactoryError(f"Cannot write {path}: {why}; mend that and run the command again.")
