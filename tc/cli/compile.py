"""`tensorc compile MODEL -o x.tc`: compile a model once and keep the result.

`save` sees to it that the file appears whole or not at all. This module must not write anything
itself.
"""

from __future__ import annotations

from pathlib import Path

import click

from tc.cli.model import open_model
from tc.cli.options import (
    Settings,
    model_argument,
    precision_option,
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
@precision_option
@threads_option
@with_settings
def command(
    settings: Settings,
    model: str,
    output: Path,
    target: str,
    precision: str,
    threads: int | None,
) -> None:
    """Compile MODEL and save it: `tc.load` runs it without torch."""
    if not output.parent.is_dir():
        why = f"there is no folder {str(output.parent)!r}"
        raise CompileError(
            describe(f"output {str(output)!r}", why=why, way_out="name another place")
        )
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, threads=threads)
    if source.compiled is not None:
        raise CompileError(
            describe(f"MODEL {model!r}", why="it is compiled already", way_out="use it as it is")
        )
    with step(settings, f"compiling for {target}"):
        compiled = source.compile(target, precision, threads)
    with step(settings, f"saving {output}"):
        compiled.save(output)
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
