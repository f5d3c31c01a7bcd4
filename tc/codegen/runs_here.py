"""Whether this machine can run code for a target.

This module must not generate code.
"""

from __future__ import annotations

import functools
import sys

from tc.errors import CompileError, describe
from tc.target import Target, host
from tc.target_tables import LEVELS


@functools.cache
def _host() -> Target:
    return host()


def check_runs_here(target: Target) -> None:
    """Raise CompileError where this machine cannot run code for `target`."""
    here = _host()
    if target.arch not in (here.arch, "generic"):
        missing = [f"{target.arch} processor"]
    else:
        wanted = {*LEVELS[target.level].implies, *target.features}
        missing = sorted(f for f in wanted if not here.has(f))
    if missing or not sys.platform.startswith("linux"):
        raise CompileError(
            describe(
                f"code for target {target}",
                where="this machine",
                why=f"it lacks {', '.join(missing) or 'Linux'}",
                way_out='compile for target "host" here',
            )
        )
