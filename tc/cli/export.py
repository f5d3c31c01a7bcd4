"""`tensorc export MODEL -o out/`: a model as C sources, weights and a Makefile.

This module must not write any C.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tc.cli.model import Source, open_model
from tc.cli.options import (
    Settings,
    model_argument,
    precision_option,
    target_option,
    with_settings,
)
from tc.cli.output import print_json, step
from tc.errors import CompileError, describe


def _bake(_context: click.Context, _option: click.Parameter, value: str) -> str | int:
    """What `export_c` takes."""
    if value in ("none", "auto", "all"):
        return value
    if value.isdecimal():
        return int(value)
    raise click.BadParameter(f"{value!r} is not none, auto, all or a number of bytes")


@click.command("export")
@model_argument
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="The folder to write."
)
@target_option
@precision_option
@click.option("--max-batch", type=click.IntRange(1), help="The most sequences of a call (8).")
@click.option(
    "--max-length",
    type=click.IntRange(1),
    help="The most positions (what the model has, at most 1024).",
)
@click.option(
    "--bake",
    callback=_bake,
    default="none",
    show_default=True,
    metavar="none|auto|all|BYTES",
    help="Which weights become part of the sources: arrays of at most so many bytes.",
)
@click.option(
    "--name",
    default="model",
    show_default=True,
    help="What files, symbols and the program are called after.",
)
@click.option("--build", is_flag=True, help="Run make.")
@click.option(
    "--run", is_flag=True, help="Compare it with PyTorch on random inputs, emulated if need be."
)
@with_settings
def command(
    settings: Settings,
    model: str,
    output: Path,
    target: str,
    precision: str,
    max_batch: int | None,
    max_length: int | None,
    bake: str | int,
    name: str,
    build: bool,
    run: bool,
) -> None:
    """Write MODEL as C that needs a compiler and nothing else."""
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, length=_LENGTH if _has_length(model) else None)
    if source.compiled is not None:
        why = "it is compiled already, and C is made from the model itself"
        raise CompileError(describe(f"MODEL {model!r}", why=why, way_out="give the model"))
    with step(settings, f"compiling for {target}"):
        compiled = source.compile(target, precision, None, whole=True)
    with step(settings, f"writing {output}"):
        exported = compiled.export_c(
            output, max_batch=max_batch, max_length=max_length, bake=bake, name=name
        )
    found: dict[str, Any] = {
        "model": model,
        "output": str(output),
        "target": str(exported.target),
        "lines": exported.lines,
        "weights": exported.weights,
    }
    if build or run:
        with step(settings, "building"):
            found["program"] = str(exported.build())
    if run:
        with step(settings, "running"):
            found["difference"] = _difference(source, exported)
    _show(settings, found)


_LENGTH = 16  # of the inputs that are run: an emulator is slow


def _has_length(model: str) -> bool:
    return (Path(model) / "config.json").exists()


def _show(settings: Settings, found: dict[str, Any]) -> None:
    if settings.json:
        print_json(found)
        return
    lines, weights = found["lines"], found["weights"] / 1e6
    print(
        f"{found['output']}: {lines} lines of C for {found['target']}, {weights:.1f} MB of weights"
    )
    if "program" in found:
        print(f"built {found['program']}")
    for name, value in found.get("difference", {}).items():
        print(f"{name}: largest difference to PyTorch {value:.2e}")


def _difference(source: Source, exported: Any) -> dict[str, float]:
    """The largest difference of each result to what PyTorch computes, relative to its largest."""
    from tc.frontend.exporting import differences

    return differences(source.module, source.args, source.kwargs, exported)
