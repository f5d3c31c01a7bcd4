"""Layers of a cache that keep a sliding window, while a model is traced.

Eager cuts the rows of a layer to the window in each call. Whether there is anything to cut depends
on the length, so a trace of it would hold for short sequences or for long ones alone. While a
model is traced the layers keep all rows that the call attends to, and what is left of them is cut
where the result is made. This module must not change how a layer behaves for anyone else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import torch

from tc.frontend.hf_types import sliding_layer

_ONE_AT_A_TIME: Final = threading.RLock()


@contextlib.contextmanager
def whole_windows() -> Iterator[None]:
    """Let this thread's layers of a sliding window keep what they are given."""
    kind = sliding_layer()
    if kind is None:
        yield
        return
    with _ONE_AT_A_TIME:
        thread = threading.get_ident()
        update, get_mask_sizes = kind.update, kind.get_mask_sizes

        def whole_update(
            layer: Any, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if threading.get_ident() != thread or layer.record_past:
                return update(layer, keys, values, *args, **kwargs)  # type: ignore[no-any-return]
            layer.cumulative_length += keys.shape[-2]
            if layer.is_initialized:
                keys = torch.cat([layer.keys, keys], dim=-2)
                values = torch.cat([layer.values, values], dim=-2)
            layer.keys, layer.values, layer.is_initialized = keys, values, True
            return keys, values

        def whole_mask_sizes(layer: Any, queries: int) -> tuple[int, int]:
            if threading.get_ident() != thread or layer.record_past:
                return get_mask_sizes(layer, queries)  # type: ignore[no-any-return]
            rows = layer.keys.shape[-2] if layer.is_initialized else 0
            return rows + queries, layer.cumulative_length - rows

        kind.update, kind.get_mask_sizes = whole_update, whole_mask_sizes
        try:
            yield
        finally:
            kind.update, kind.get_mask_sizes = update, get_mask_sizes
