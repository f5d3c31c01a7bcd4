"""The options of compiling a model, checked once and handed down as one frozen value.

This module must not import torch, nor act on an option.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tc.config import read as read_config
from tc.errors import TuningError, UnsupportedError, describe
from tc.frozen import frozen
from tc.target import Target

PRECISIONS: Final = ("fp32", "bf16", "int8")
FALLBACKS: Final = ("warn", "error")
CODEGENS: Final = ("llvm", "c")


@frozen
class Options:
    """How a model is compiled.

    Attributes:
        target: the machine.
        precision: of contractions, one of `PRECISIONS`.
        threads: of a call, at least 1.
        tuning_db: file of tuning records; where there is none, those that ship with tc are used.
        dynamic: False bakes the sizes.
        fallback: "warn" lets an operator that tc lacks run eagerly, "error" forbids it.
        cache_dir: folder of compiled code.
        dump_ir: folder that receives the IR after each pass, or None.
        debug: what to print of a compilation, 0 (nothing) to 4.
        codegen: what makes the machine code, one of `CODEGENS`; "none": nothing does.
        kept: parameters whose products stay in a longer precision than `precision`, and in which.
        factors: parameters that another program of the model multiplies with, see
            `graph.precision.shorten`.
    """

    target: Target
    precision: str
    threads: int
    tuning_db: Path
    dynamic: bool
    fallback: str
    cache_dir: Path
    dump_ir: Path | None = None
    debug: int = 0
    codegen: str = "llvm"
    kept: tuple[tuple[str, str], ...] = ()
    factors: tuple[str, ...] = ()

    @staticmethod
    def of(
        target: str | Target = "host",
        precision: str = "fp32",
        threads: int | None = None,
        tuning_db: str | os.PathLike[str] | None = None,
        dynamic: bool = True,
        fallback: str = "warn",
        codegen: str = "llvm",
    ) -> Options:
        """Check options as a user gives them; what is None comes from the environment.

        Raises:
            UnsupportedError: a value that is not one of those listed in the message.
            TuningError: a `tuning_db` that does not exist.
        """
        config = read_config()
        chosen = _target(target)
        _among("precision", precision, PRECISIONS)
        _among("fallback", fallback, FALLBACKS)
        _among("codegen", codegen, CODEGENS)
        if not isinstance(dynamic, bool):
            raise _bad("dynamic", dynamic, "True or False")
        if threads is not None and (type(threads) is not int or not 1 <= threads <= 1024):
            raise _bad("threads", threads, "a whole number from 1 to 1024")
        if tuning_db is not None and not isinstance(tuning_db, (str, os.PathLike)):
            raise _bad("tuning_db", tuning_db, "a path")
        if tuning_db is not None and not Path(tuning_db).exists():
            why, way_out = "no such file", "tune something first, or name another file"
            raise TuningError(describe(f"tuning_db={str(tuning_db)!r}", why=why, way_out=way_out))
        return Options(
            chosen,
            precision,
            threads or config.num_threads or chosen.cores,
            Path(tuning_db) if tuning_db is not None else config.records,
            dynamic,
            fallback,
            config.cache_dir,
            config.dump_ir,
            config.debug,
            codegen,
        )


def from_mapping(options: Mapping[str, object], known: Iterable[str]) -> dict[str, object]:
    """Options given by name, as to torch.compile; UnsupportedError names an unknown one."""
    names = tuple(known)
    for name in options:
        if name not in names:
            raise UnsupportedError(
                describe(f"option {name!r}", why="unknown", way_out=f"known: {', '.join(names)}")
            )
    return dict(options)


def _target(target: object) -> Target:
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        return Target.parse(target)
    raise _bad("target", target, "text such as 'host', or a Target")


def _among(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise _bad(name, value, " or ".join(map(repr, known)))


def _bad(name: str, value: object, wanted: str) -> UnsupportedError:
    return UnsupportedError(
        describe(f"{name}={value!r}", why="no such value", way_out=f"use {wanted}")
    )
