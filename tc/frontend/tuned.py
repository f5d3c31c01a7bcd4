"""The tuning records that a compilation's options lead to.

This module must not tune.
"""

from __future__ import annotations

from tc.autotune.records import Records, load
from tc.config import read as read_config
from tc.device.physical import cpu_name
from tc.errors import TuningError, describe
from tc.frontend.options import Options
from tc.target import Target, host


def records_of(options: Options) -> Records:
    """The records for the options' target and threads.

    Raises:
        TuningError: a file that somebody named and that is no sound database. That of the cache
            folder is done without, with a warning.
    """
    path, target = options.tuning_db, options.target
    named = path != options.cache_dir / "tuning.db" or read_config().tuning_db is not None
    return load(path, target, processor(target), options.threads, named)


def processor(target: Target) -> str:
    """The processor's name, where a target's code runs on this machine; else ""."""
    return cpu_name() if runs_here(target) else ""


def runs_here(target: Target) -> bool:
    """Whether this machine can run a target's code."""
    here = host()
    wanted = target.llvm_features.split(",")
    return target.arch == here.arch and all(here.has(f[1:]) for f in wanted if f[:1] == "+")


def require_here(target: Target) -> None:
    """Raise TuningError for a target whose code this machine cannot run."""
    if not runs_here(target):
        raise TuningError(
            describe(
                f"target {str(target)!r}",
                why="this machine cannot run its code, so nothing can be measured",
                way_out="tune on such a machine and import its records with `tensorc db import`",
            )
        )
