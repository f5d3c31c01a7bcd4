"""The options that every command takes, before the command's name or after it.

This module must not print or run anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import click

from tc.frozen import frozen

Function = TypeVar("Function", bound=Callable[..., Any])
_SEED = click.IntRange(0, (1 << 63) - 1)


@frozen
class Settings:
    """What the shared options say.

    Attributes:
        json: print one JSON document on stdout instead of tables.
        quiet: print no progress.
        seed: of random inputs and weights.
    """

    json: bool = False
    quiet: bool = False
    seed: int = 0

    def updated(self, given: Mapping[str, Any]) -> Settings:
        """With what was given here; an option that was not given keeps its value."""
        json, quiet, seed = given["as_json"], given["quiet"], given["seed"]
        return replace(
            self,
            json=self.json or bool(json),
            quiet=self.quiet or bool(quiet),
            seed=self.seed if seed is None else int(seed),
        )


def shared_options(function: Function) -> Function:
    """Add the shared options: the function gets `as_json`, `quiet` and `seed`."""
    for option in (
        click.option("--seed", type=_SEED, help="Seed of random inputs (0)."),
        click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
        click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    ):
        function = option(function)
    return function


def with_settings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options; the function gets them as one `Settings`, its first argument."""

    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, **given: Any) -> Any:
        mine = {name: given.pop(name) for name in ("as_json", "quiet", "seed")}
        base = ctx.obj if isinstance(ctx.obj, Settings) else Settings()
        return function(base.updated(mine), **given)

    return shared_options(run)


@frozen
class Asked:
    """What a command on a model is asked for; see the options of these names."""

    model: str
    batch: int | None
    length: int | None
    target: str
    precision: str
    threads: int | None


def with_model(function: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Add MODEL, its inputs and how it is compiled; the function gets them as one `Asked`, after
    its settings. To stand below `with_settings`. The model is "" where it is not given."""

    @functools.wraps(function)
    def run(settings: Settings, /, **given: Any) -> Any:
        values = {f.name: given.pop(f.name) for f in fields(Asked)}
        asked = Asked(**{**values, "model": values["model"] or ""})
        return function(settings, asked, **given)

    argument = model_argument if required else click.argument("model", required=False)
    options = (threads_option, precision_option, target_option, length_option, batch_option)
    for option in (*options, argument):
        run = option(run)
    return run


model_argument = click.argument("model", metavar="MODEL")
target_option = click.option(
    "--target", default="host", show_default=True, metavar="TARGET", help="What to compile for."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of products with constant weights.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1), help="Threads of a call (default: all cores)."
)
_SIZE = click.IntRange(1, (1 << 31) - 1)
batch_option = click.option("--batch", type=_SIZE, help="Batch size of the inputs (1).")
length_option = click.option("--length", type=_SIZE, help="Length of the inputs in tokens (128).")
