"""Mixtures of experts of transformers while a model is traced, which has several forms for them.

One loops over the experts that were chosen, which no trace can hold; one copies the matrices of
its expert for each token. The form with rows sorted by their experts computes the same, and is
what tc has kernels for. This module must not import transformers where the model has not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

_MODULE: Final = "transformers.integrations.moe"
_SORTED: Final = "grouped_mm"
_OTHERS: Final = ("eager", "batched_mm", None)


def experts_functions() -> tuple[tuple[Any, str, Callable[..., Any]], ...]:
    """What is to be replaced while a model is traced: where it is, its name, its stand-in."""
    module = sys.modules.get(_MODULE)
    if module is None:
        return ()
    interface: Any = module.ExpertsInterface
    theirs = interface.get_interface

    def choose(self: Any, name: str | None, default: Any) -> Any:
        return theirs(self, _SORTED if name in _OTHERS else name, default)

    return ((interface, "get_interface", choose),)
