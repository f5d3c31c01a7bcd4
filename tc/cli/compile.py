"""`tensorc compile MODEL -o x.tc`: compile a model once and keep the result.

The file appears whole or not at all: it is written beside its place under another name first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tc.cli.model import open_model
from tc.cli.options import (
    Settings,
    model_argument,
    target_option,
    threads_option,
    with_settings,
)
from tc.cli.output import print_json, step
from tc.errors import CompileError, describe


@click.command("compile")
@model_argument
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="Where to save it."
)
@target_option
@threads_option
@with_settings
def command(settings: Settings, model: str, output: Path, target: str, threads: int | None) -> None:
    """Compile MODEL and save it: `tc.load` runs it without torch."""
    if not output.parent.is_dir():
        raise _unwritable(output, f"there is no folder {str(output.parent)!r}")
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, threads=threads)
    if source.compiled is not None:
        raise CompileError(
            describe(f"MODEL {model!r}", why="it is compiled already", way_out="use it as it is")
        )
    with step(settings, f"compiling for {target}"):
        compiled = source.compile(target, threads)
    with step(settings, f"saving {output}"), replacing(output) as partial:
        compiled.save(str(partial))
    stats = compiled.stats()
    size = size_of(output)
    if settings.json:
        print_json({"model": model, "output": str(output), "bytes": size, "stats": stats})
        return
    kernels, fallbacks = stats["kernels"], sum(stats["fallbacks"].values())
    print(f"{output}: {size / 1e6:.1f} MB, {kernels} kernels, {fallbacks} fallback calls")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `output` when all went well, else goes away.

    Raises:
        CompileError: the place cannot be written to.
    """
    partial = output.with_name(f".{output.name}.partial-{os.getpid()}")
    try:
        yield partial
        if output.is_dir():
            shutil.rmtree(output)
        os.replace(partial, output)
    except OSError as error:
        raise _unwritable(output, error.strerror or str(error)) from error
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unwritable(output: Path, why: str) -> CompileError:
    return CompileError(
        describe(
            f"output {str(output)!r}", why=f"cannot be written: {why}", way_out="name another place"
        )
    )
