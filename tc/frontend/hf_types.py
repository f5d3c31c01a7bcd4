"""The classes of transformers, asked for without importing it.

A process that has not imported transformers has no object of its classes, and importing it takes
longer than compiling a small model. This module must not import transformers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from transformers import GenerationMixin
    from transformers.cache_utils import Cache
    from transformers.utils.generic import ModelOutput


def is_output(value: object) -> TypeGuard[ModelOutput]:
    """Whether it is a `ModelOutput`."""
    kind = _class("transformers.utils.generic", "ModelOutput")
    return kind is not None and isinstance(value, kind)


def is_output_class(kind: type) -> bool:
    """Whether a class is `ModelOutput` or one made from it."""
    base = _class("transformers.utils.generic", "ModelOutput")
    return base is not None and issubclass(kind, base)


def is_cache(value: object) -> TypeGuard[Cache]:
    """Whether it is a `Cache`."""
    kind = _class("transformers.cache_utils", "Cache")
    return kind is not None and isinstance(value, kind)


def sliding_layer() -> Any:
    """The class of a cache's layer that keeps a sliding window, or None."""
    return _class("transformers.cache_utils", "DynamicSlidingWindowLayer")


def is_generative(model: object) -> TypeGuard[GenerationMixin]:
    """Whether a model has transformers' `generate`."""
    kind = _class("transformers.generation.utils", "GenerationMixin")
    return kind is not None and isinstance(model, kind)


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)
