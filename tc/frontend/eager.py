"""Whole calls that run eagerly, since no program can hold the cache that they take or give.

They are warned of once and counted like operators that tc lacks. This module must not run a model.
"""

from __future__ import annotations

import threading
import warnings

from tc.device.run_stats import Stats
from tc.errors import UnsupportedError
from tc.frontend.options import Options
from tc.frontend.tensors import FallbackWarning


class EagerCalls:
    """The eager calls of one model: `stats` counts them under the name `counted_as`."""

    def __init__(self, model: str, options: Options) -> None:
        self.counted_as = f"{model}.forward"
        self.stats = Stats(0, 0)
        self._options = options
        self._lock = threading.Lock()

    def __call__(self, why: UnsupportedError) -> None:
        """Count one more; see `hf_dispatch.OnEager`.

        Raises:
            UnsupportedError: `why` itself, where the options forbid fallbacks.
        """
        if self._options.fallback == "error":
            raise why
        with self._lock:
            first = self.stats.count_fallback(self.counted_as)
        if first:
            warnings.warn(
                f"{self.counted_as} runs eagerly: {why.message}; fallback='error' forbids that",
                FallbackWarning,
                stacklevel=2,
            )
