"""Which repositories are held out. By repository and never by row, or near-copies of one task sit on both
sides.

The choice is a hash of the name alone: it is the same in every export and on every machine, and stays when
others join.
"""

from __future__ import annotations

import hashlib

HELD_OUT_SHARE = 26 / 256


def held_out(repo: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether `repo` belongs to the `share` of all repositories that is kept from training."""
    return int.from_bytes(hashlib.sha256(repo.encode()).digest()[:8], "big") < share * 2**64
