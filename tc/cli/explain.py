"""`tensorc explain MODEL`: the kernels of a compiled model, their time and what bounds them."""

from __future__ import annotations

from typing import Any

import click

from tc.cli.model import open_model
from tc.cli.options import (
    Settings,
    batch_option,
    length_option,
    model_argument,
    target_option,
    threads_option,
    with_settings,
)
from tc.cli.output import print_json, step

CALLS = 5  # the first ones touch fresh memory


@click.command("explain")
@model_argument
@batch_option
@length_option
@target_option
@threads_option
@with_settings
def command(
    settings: Settings,
    model: str,
    batch: int | None,
    length: int | None,
    target: str,
    threads: int | None,
) -> None:
    """Show what tc made of MODEL: kernel, shapes, schedule, time, bound."""
    with step(settings, f"loading {model}"):
        source = open_model(model, settings, batch, length, threads)
    with step(settings, f"compiling for {target}"):
        compiled = source.compile(target, threads)
    with step(settings, "running"):
        for _ in range(CALLS):
            source.call(compiled)
        explained = compiled.explain()
    if settings.json:
        print_json({"model": model, "explain": _data(explained), "stats": compiled.stats()})
    else:
        print(explained)


def _data(explained: Any) -> object:
    """The rows as data where the object has them, else the lines of its text."""
    as_dict = getattr(explained, "as_dict", None)
    return as_dict() if callable(as_dict) else str(explained).splitlines()
