"""When Python looks for cycles among its objects.

This module must not import what makes many of them, which is to be imported inside of it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Let nobody look for cycles meanwhile, if anybody would.

    PyTorch and transformers are half a million objects, and a trace makes millions beside them,
    nearly all of them long lived: the collector looks through them over and over again for a sixth
    of the time of an import, and a third of that of a trace.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
