"""The tuning records that a compilation's options lead to.

This module must not tune.
"""

from __future__ import annotations

import warnings

from tc.autotune.records import Records, load
from tc.config import read as read_config
from tc.device.physical import cpu_name
from tc.errors import TuningError
from tc.frontend.options import Options
from tc.target import Target, host


def records_of(options: Options) -> Records:
    """The records for the options' target and threads.

    Raises:
        TuningError: a file that somebody named and that is no sound database. That of the cache
            folder is done without, with a warning.
    """
    cpu = processor(options.target)
    try:
        return load(options.tuning_db, options.target, cpu, options.threads)
    except TuningError as error:
        if options.tuning_db != options.cache_dir / "tuning.db" or read_config().tuning_db:
            raise
        warnings.warn(f"{error.message}: tuning records are not used", RuntimeWarning, stacklevel=2)
        return load(None, options.target, cpu, options.threads)


def processor(target: Target) -> str:
    """The processor's name, where a target's code runs on this machine; else ""."""
    return cpu_name() if target.arch == host().arch else ""
