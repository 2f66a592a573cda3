"""Errors that a person reads.

A `FactoryError` carries one whole sentence: what was wrong, where, and what to do. The command line prints it and
exits with status 1 (2 for wrong usage); nothing else in the program catches it to carry on.
"""

from __future__ import annotations


class FactoryError(Exception):
    """Something the user can mend: bad input, a missing program, a full disk."""
