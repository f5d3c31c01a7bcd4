"""`tensorc explain MODEL`: the kernels of a compiled model, their time and what bounds them."""

from __future__ import annotations

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


@click.command("explain")
@model_argument
@batch_option
@length_option
@target_option
@precision_option
@threads_option
@with_settings
def command(
    settings: Settings,
    model: str,
    batch: int | None,
    length: int | None,
    target: str,
    precision: str,
    threads: int | None,
) -> None:
    """Show what tc made of MODEL: kernel, shapes, schedule, time, bound."""
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, batch, length, threads)
    with step(settings, source.work(target)):
        compiled = source.compile(target, precision, threads)
    with step(settings, "running"):
        source.call(compiled)  # explain measures at the sizes of the last call
        explained = compiled.explain()
    if settings.json:
        print_json({"model": model, "explain": explained.as_dict(), "stats": compiled.stats()})
    else:
        print(explained)
