"""The settings that the environment gives: the only file in tc that reads environment variables.

`read` returns a frozen `Config`; whoever needs a setting is handed it. This module must not
create folders, open files or import anything but the standard library and platformdirs, and
arguments given by a caller always override what is read here.

| variable | meaning | default |
|---|---|---|
| TC_NUM_THREADS | threads of a compiled program, at least 1 | the target's cores |
| TC_CACHE_DIR | folder of compiled code | the user's cache folder |
| TC_TUNING_DB | sqlite file of tuning records | in the user's cache folder |
| TC_DEBUG | what to print, 0 (nothing) to 4 (everything) | 0 |
| TC_DUMP_IR | folder that receives the IR after each pass | none |
| CC | words that call the C compiler | cc, gcc or clang; the target's cross compiler |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from tc.errors import UnsupportedError, describe
from tc.frozen import frozen

MAX_DEBUG = 4


@frozen
class Config:
    """Settings of one process; `None` means that the variable was not set."""

    num_threads: int | None
    cache_dir: Path
    tuning_db: Path | None
    debug: int
    dump_ir: Path | None
    cc: str | None = None

    @property
    def records(self) -> Path:
        """The file of tuning records; it need not exist."""
        return self.tuning_db or self.cache_dir / "tuning.db"


def read(environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings from `environ` (default: the process's own environment).

    A variable that is set to the empty string counts as not set. No folder is created.

    Raises:
        UnsupportedError: a value that is not a number in its range, or not a usable path.
    """
    env = os.environ if environ is None else environ
    return Config(
        num_threads=_integer(env, "TC_NUM_THREADS", low=1, high=None),
        cache_dir=_path(env, "TC_CACHE_DIR") or Path(platformdirs.user_cache_dir("tc")),
        tuning_db=_path(env, "TC_TUNING_DB"),
        debug=_integer(env, "TC_DEBUG", low=0, high=MAX_DEBUG) or 0,
        dump_ir=_path(env, "TC_DUMP_IR"),
        cc=env.get("CC", "").strip() or None,
    )


def _integer(env: Mapping[str, str], name: str, *, low: int, high: int | None) -> int | None:
    text = env.get(name, "").strip()
    if not text:
        return None
    try:
        value = int(text)
    except ValueError:
        value = low - 1  # falls out of the range below: one message serves both faults
    if value < low or (high is not None and value > high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UnsupportedError(
            describe(
                f"{name}={text!r}",
                where="environment",
                why=f"expected an integer {span}",
                way_out=f"set {name} to such a number or unset it",
            )
        )
    return value


def _path(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    if not text:
        return None
    try:
        if "\0" in text:
            raise ValueError("it holds a NUL character")
        return Path(text).expanduser()
    except (ValueError, RuntimeError) as error:
        raise UnsupportedError(
            describe(
                f"{name}={text!r}",
                where="environment",
                why=f"not a usable path ({error})",
                way_out=f"set {name} to a path or unset it",
            )
        ) from error
