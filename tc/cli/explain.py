"""`tensorc explain MODEL`: the kernels of a compiled model, their time and what bounds them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tc.cli.model import open_model
from tc.cli.options import (
    Settings,
    batch_option,
    length_option,
    model_argument,
    precision_option,
    target_option,
    threads_option,
    with_settings,
)
from tc.cli.output import print_json, step
from tc.errors import TcError, describe

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("explain")
@model_argument
@batch_option
@length_option
@click.option("--trace", type=_FILE, metavar="FILE",
              help="Write the kernels of one call, thread by thread, for Perfetto.")  # fmt: skip
@click.option("--plot", type=_FILE, metavar="FILE",
              help="Draw the kernels below the machine's roofs, as PNG.")  # fmt: skip
@target_option
@precision_option
@threads_option
@with_settings
def command(
    settings: Settings,
    model: str,
    batch: int | None,
    length: int | None,
    trace: Path | None,
    plot: Path | None,
    target: str,
    precision: str,
    threads: int | None,
) -> None:
    """Show what tc made of MODEL: kernel, shapes, schedule, time, bound."""
    if plot is not None:
        from tc.cli.roofline import require_matplotlib

        require_matplotlib()  # before a compilation that would be for nothing
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, batch, length, threads)
    with step(settings, source.work(target)):
        compiled = source.compile(target, precision, threads)
    with step(settings, "running"):
        source.call(compiled)  # explain measures at the sizes of the last call
        explained = compiled.explain()
    if trace is not None:
        from tc.device.run_trace import chrome_trace

        write(trace, json.dumps(chrome_trace(explained)).encode())
    if plot is not None:
        from tc.cli.roofline import roofline

        write(plot, roofline(explained))
    if settings.json:
        print_json({"model": model, "explain": explained.as_dict(), "stats": compiled.stats()})
    else:
        print(explained)


def write(path: Path, content: bytes) -> None:
    """Write a file.

    Raises:
        TcError: the system refuses.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise TcError(
            describe(f"file {path}", why=str(error.strerror), way_out="give a path to write to")
        ) from error
