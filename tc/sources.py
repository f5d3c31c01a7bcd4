"""tc's own sources as a digest: what any cache of what tc made must be keyed by.

The version alone does not tell two states of a checkout. This module must not import the rest of
tc, so that asking costs no more than reading files.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


@functools.cache
def sources() -> str:
    """The digest, read once."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
