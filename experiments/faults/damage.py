"""Files damaged in the ways that disks and people have."""

from __future__ import annotations

import random
from pathlib import Path

HOWS = ("flipped", "truncated", "emptied", "deleted")
# Of a checkpoint, of a run whose environments go on exactly; others have no arrays. Whoever damages
# one compares with what it holds.
ARRAYS = "arrays.npz"
FILES = (ARRAYS, "manifest.json", "state.json", "variables.data-00000-of-00001", "variables.index")


def damage(path: Path, how: str, places: random.Random) -> None:
    """Flips one bit of a file, cuts it short, empties or deletes it; where is drawn."""
    whole = path.read_bytes()
    if how == "deleted":
        path.unlink()
    elif how == "flipped":
        changed = bytearray(whole)
        changed[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(changed)
    else:
        path.write_bytes(whole[: places.randrange(1, len(whole)) if how == "truncated" else 0])
