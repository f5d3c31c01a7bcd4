"""Whose code is read to its last line when a model is described, and whose is known by its version.

The standard library, PyTorch, NumPy and tc itself are fixed by the versions that every description
begins with. Any other installed package is too, unless a class of the model comes from it.
Everything else is the user's own. This module must not import a package.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Iterable
from enum import Enum
from typing import Final

_FIXED: Final = frozenset(sys.stdlib_module_names) - {"__main__"} | {"torch", "numpy", "tc"}

_INSTALLED: Final = ("/site-packages", "/dist-packages")


class Origin(Enum):
    """Where code comes from."""

    FIXED = "fixed"  # what it does follows from versions
    PACKAGE = "package"  # installed, and defines a part of the model: what is used of it is read
    OWN = "own"  # the user's: all of it is read, and nothing is left open


class Packages:
    """The origin of modules by name; `used` are the packages that a version stands for."""

    def __init__(self, classes: Iterable[type]) -> None:
        """`classes` are those of the model's modules."""
        self._read = {_top(cls.__module__) for cls in classes}
        self._known: dict[str, Origin] = {}
        self.used: dict[str, str] = {}

    def origin(self, module: str) -> Origin:
        """Of the module of that name."""
        top = _top(module)
        found = self._known.get(top)
        if found is None:
            found = self._known[top] = self._find(top)
        return found

    def _find(self, top: str) -> Origin:
        if top in _FIXED:
            return Origin.FIXED
        module = sys.modules.get(top)
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.startswith(_folders()):
            return Origin.OWN
        version = getattr(module, "__version__", None)
        if top in self._read or not isinstance(version, str):
            return Origin.PACKAGE
        self.used[top] = version
        return Origin.FIXED


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def _folders() -> tuple[str, ...]:
    """Where installed packages lie."""
    named = tuple(f"{path}/" for path in sys.path if path.endswith(_INSTALLED))
    return (*named, f"{sysconfig.get_paths()['purelib']}/")
