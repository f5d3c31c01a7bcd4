"""Kernels that were scheduled and emitted before, on disk: what the pipeline knows of each.

The level above the cache of compiled objects: with it a kernel that was made once costs no more
than its naive loops. An entry is found by everything that it depends on, the sources of tc too.
This module must not schedule or emit anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tc import __version__
from tc.codegen.cache import ObjectCache
from tc.codegen.llvm.emit import KernelText
from tc.device.artifact import KernelInfo
from tc.device.artifact_io import kernel_from_json, kernel_to_json
from tc.frozen import frozen
from tc.sources import sources
from tc.target import Target

NO_CODE: Final = KernelText("", ())


@frozen
class StoredKernel:
    """A kernel's description, and what was emitted for it; nothing in a store without code."""

    info: KernelInfo
    code: KernelText = NO_CODE


class KernelStore:
    """The kernels for one target in a cache folder; one that cannot be used holds nothing."""

    def __init__(self, folder: Path, target: Target, code: bool = True) -> None:
        """`code` tells whether what is emitted for a kernel is stored with it."""
        from tc.codegen.llvm.machine import version

        self._cache = ObjectCache(folder, "kernels" if code else "descriptions")
        self._maker = "\n".join(
            (__version__, version(), sources(), str(target), target.llvm_triple)
        )

    def key(self, naive: str, fixed: tuple[bool, ...], schedule: str) -> str:
        """What a kernel depends on.

        Args:
            naive: its loops before scheduling.
            fixed: for each input whether its data are constant.
            schedule: the steps that were asked for; "default" for the analytical ones.
        """
        given = "".join("c" if f else "v" for f in fixed)
        return "\n".join((self._maker, given, schedule, naive))

    def get(self, key: str) -> StoredKernel | None:
        """What was stored under `key`, or None."""
        data = self._cache.get(key)
        if data is None:
            return None
        try:
            found = json.loads(data)
            code = KernelText(str(found["llvm"]), tuple(map(str, found["messages"])))
            return StoredKernel(kernel_from_json(found["kernel"]), code)
        except (KeyError, TypeError, ValueError):
            return None  # made anew, and written over

    def put(self, key: str, kernel: StoredKernel) -> None:
        """Store a kernel."""
        found = {
            "kernel": kernel_to_json(kernel.info),
            "llvm": kernel.code.text,
            "messages": list(kernel.code.messages),
        }
        self._cache.put(key, json.dumps(found).encode())
