"""`tensorc explain MODEL`: the kernels of a compiled model, their time and what bounds them.

Of a target that this machine cannot run: the inner loops of its kernels, by looking alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tc.cli.model import compiled_of, opened
from tc.cli.options import Asked, Settings, with_model, with_settings
from tc.cli.output import print_json, step
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, TcError, describe
from tc.target import Target

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("explain")
@click.option("--static", is_flag=True, help="Run nothing: count what the inner loops do.")
@click.option("--trace", type=_FILE, metavar="FILE",
              help="Write the kernels of one call, thread by thread, for Perfetto.")  # fmt: skip
@click.option("--plot", type=_FILE, metavar="FILE",
              help="Draw the kernels below the machine's roofs, as PNG.")  # fmt: skip
@with_settings
@with_model
def command(
    settings: Settings,
    asked: Asked,
    static: bool,
    trace: Path | None,
    plot: Path | None,
) -> None:
    """Show what tc made of MODEL: kernel, shapes, schedule, time, bound.

    For another kind of machine, or with --static, its inner loops: instructions, spills, cycles.
    """
    static = static or not _runs_here(asked.target)
    if static and (trace or plot):
        raise click.UsageError("--trace and --plot show what was measured: not for --static")
    if plot is not None:
        from tc.cli.roofline import require_matplotlib

        require_matplotlib()  # before a compilation that would be for nothing
    source = opened(settings, asked)
    if static and source.compiled is not None:
        why = "it is compiled already, and loops are counted in code made anew"
        raise CompileError(describe(f"MODEL {asked.model!r}", why=why, way_out="give the model"))
    compiled = compiled_of(settings, asked, source)
    if static:
        _show_loops(settings, asked.model, compiled)
        return
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
        found = {"model": asked.model, "explain": explained.as_dict(), "stats": compiled.stats()}
        if explained.accuracy is not None:
            found["accuracy"] = explained.accuracy.as_dict()
        print_json(found)
    else:
        print(explained)


def _runs_here(target: str) -> bool:
    try:
        check_runs_here(Target.parse(target))
    except CompileError:
        return False
    return True


def _show_loops(settings: Settings, model: str, compiled: Any) -> None:
    with step(settings, "counting"):
        found = compiled.explain(static=True)
    if settings.json:
        print_json({"model": model, "loops": found.as_dict()})
    else:
        print(found)


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
