"""tc, a tensor compiler: tensor expressions in, tuned machine code out.

The public functions are found here and imported when they are first used, so that `import tc`
is instant and needs neither torch nor LLVM. This module holds the list of public names and the
version; it must hold no logic and import nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tc.errors import (
    CompileError,
    DeviceError,
    InternalError,
    ScheduleError,
    TcError,
    TuningError,
    UnsupportedError,
)

if TYPE_CHECKING:  # what `__getattr__` finds, said to type checkers
    from tc import te as te
    from tc.target import Target as Target

__version__ = "0.1.0"

# Public name -> the module that defines it; "te" is a module itself.
_LAZY = {
    "build": "tc.api",
    "compile": "tc.api",
    "devices": "tc.api",
    "load": "tc.api",
    "stats": "tc.api",
    "tune": "tc.api",
    "tuned_devices": "tc.api",
    "Target": "tc.target",
    "target": "tc.target",
    "te": "tc.te",
}

__all__ = [
    "CompileError",
    "DeviceError",
    "InternalError",
    "ScheduleError",
    "TcError",
    "TuningError",
    "UnsupportedError",
    "__version__",
]
__all__ += _LAZY


def __getattr__(name: str) -> object:
    """Import the module behind a public name at its first use (PEP 562)."""
    home = _LAZY.get(name)
    if home is None:
        raise AttributeError(f"module 'tc' has no attribute {name!r}; public: {', '.join(__all__)}")
    module = importlib.import_module(home)
    value: object = module if home == f"tc.{name}" else getattr(module, name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
