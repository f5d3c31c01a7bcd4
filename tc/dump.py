"""What a user may see of a compilation: TC_DUMP_IR and TC_DEBUG.

`dumper` gives a function that is told what each pass made. This module must not change anything,
nor know the passes: it goes by the ending of their names.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from tc.errors import UnsupportedError, describe

Dump: TypeAlias = Callable[[str, object], None]

# TC_DEBUG from which something is printed; what is not named here belongs to a kernel's passes.
_LEVELS: Final = {"schedule": 1, "main": 2, "scheduled": 2, "llvm": 4}
_PASS: Final = 3


def dumper(folder: Path | None, debug: int) -> Dump | None:
    """Writes each IR to a file of its own, and prints what `debug` asks for to stderr.

    Every program gets a new folder in `folder`: program0, program1, …; the files in it are
    numbered in the order of the passes. Debug level 1 prints the schedule of each kernel, 2 the
    graph and the scheduled loops, 3 the IR after each pass, 4 the LLVM text too.

    Returns:
        None where nothing is wanted.

    Raises:
        UnsupportedError: a folder that cannot be written to.
    """
    if folder is None and debug == 0:
        return None
    numbers = itertools.count()
    own = None if folder is None else _new_folder(folder)

    def dump(name: str, ir: object) -> None:
        text = str(ir)
        if own is not None:
            _write(own / f"{next(numbers):04}_{name}.txt", text)
        if debug >= _LEVELS.get(name.rpartition(".")[2], _PASS):
            print(f"--- {name}", text, sep="\n", file=sys.stderr)

    return dump


def _new_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            own = folder / f"program{number}"
            try:
                own.mkdir()
            except FileExistsError:
                continue
            return own
    except OSError as error:
        raise _unusable(folder, error) from error
    raise AssertionError("a count does not end")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise _unusable(file, error) from error


def _unusable(path: Path, error: OSError) -> UnsupportedError:
    return UnsupportedError(
        describe(
            f"TC_DUMP_IR={path}",
            where="environment",
            why=f"cannot write there ({error.strerror})",
            way_out="set it to a folder that you may write to, or unset it",
        )
    )
