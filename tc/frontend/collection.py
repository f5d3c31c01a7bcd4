"""When Python looks for cycles among its objects.

This module must not import what makes many of them, which is to be imported inside of it.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Let nobody look for cycles meanwhile, if anybody would; then once, among what was made.

    PyTorch and transformers are half a million objects, and a trace makes millions beside them,
    nearly all of them long lived: the collector looks through them over and over again for a sixth
    of the time of an import, and a third of that of a trace. What is left counts as old at the
    end, as all that was there before does: a look at all objects takes half a second, and there
    would be one soon after.
    """
    if not gc.isenabled():
        yield
        return
    _age()
    gc.disable()
    try:
        yield
    finally:
        gc.collect(0)
        _age()
        gc.enable()


def _age() -> None:
    """Let all objects count as old, as after a look at all of them, but without one."""
    if not gc.get_freeze_count():  # or what somebody has frozen would thaw
        gc.freeze()
        gc.unfreeze()
