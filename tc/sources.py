"""tc's own sources as a digest: what any cache of what tc made must be keyed by.

The version alone does not tell two states of a checkout. This module must not import the rest of
tc, so that asking costs no more than reading files.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator


@functools.cache
def sources() -> str:
    """The digest, read once."""
    root = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.sha256()
    for name in sorted(_modules(root, "")):
        with open(os.path.join(root, name), "rb", buffering=0) as file:
            content = file.read()
        digest.update(f"{name}\n".encode())
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _modules(folder: str, inside: str) -> Iterator[str]:
    """The modules in a folder by their paths; objects for each would take most of the time."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _modules(entry.path, f"{inside}{entry.name}/")
            elif entry.name.endswith(".py"):
                yield inside + entry.name
