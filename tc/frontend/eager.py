"""Whole calls that run eagerly, since no program can serve them and the model itself can.

They are warned of once and counted like operators that tc lacks. This module must not run a model.
"""

from __future__ import annotations

import threading
import warnings

from tc.device.run_stats import Stats
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.options import Options
from tc.frontend.saved import host_runs
from tc.frontend.tensors import FallbackWarning


class EagerCalls:
    """The eager calls of one model: `stats` counts them under the name `counted_as`."""

    def __init__(self, model: str, options: Options) -> None:
        self.counted_as = f"{model}.forward"
        self.stats = Stats(0, 0)
        # Eager would run here what was compiled for another machine.
        self._forbidden = options.fallback == "error" or not host_runs(options.target)
        self._lock = threading.Lock()
        self._warned = False

    def allow(self, why: NoProgramError) -> None:
        """Warn once that calls run eagerly.

        Raises:
            NoProgramError: `why` itself, where the options forbid fallbacks, or the target is
                another machine.
        """
        if self._forbidden:
            raise why
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            warnings.warn(
                f"{self.counted_as} runs eagerly: {why.message}; fallback='error' forbids that",
                FallbackWarning,
                stacklevel=2,
            )

    def count(self, why: NoProgramError) -> None:
        """Count one call more, as `allow` does."""
        self.allow(why)
        with self._lock:
            self.stats.count_fallback(self.counted_as)
