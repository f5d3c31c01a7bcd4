"""`tensorc bench MODEL`: latency percentiles and throughput, beside PyTorch's own if asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tc.cli.model import BATCH, Source, compiled_of, opened
from tc.cli.options import Asked, Settings, with_model, with_settings
from tc.cli.output import print_json, print_table, progress, step
from tc.cli.timing import Latency, take_turns

COLUMNS = ("min", "mean", "median", "p90", "p95", "p99", "max")


@click.command("bench")
@click.option("--repeat", type=click.IntRange(1), default=100, show_default=True,
              help="Timed calls.")  # fmt: skip
@click.option("--warmup", type=click.IntRange(1), default=10, show_default=True,
              help="Calls before those.")  # fmt: skip
@click.option("--peers", metavar="NAMES", default="",
              help="Compare with these, separated by commas: eager, inductor.")  # fmt: skip
@with_settings
@with_model
def command(
    settings: Settings,
    asked: Asked,
    repeat: int,
    warmup: int,
    peers: str,
) -> None:
    """Measure the latency of MODEL: all contenders in one process, in turn, call by call."""
    source = opened(settings, asked)
    names = [name.strip() for name in peers.split(",") if name.strip()]
    if names and source.module is None:
        raise click.UsageError("--peers needs a model that PyTorch can run, not a compiled one")
    compiled = compiled_of(settings, asked, source)
    calls: dict[str, Callable[[], object]] = {"tc": lambda: source.call(compiled)}
    for name in names:
        with step(settings, f"preparing {name}"):
            calls[name] = _peer(name, source, asked.threads)
    taken: dict[str, list[float]] = {}
    stopped = False
    try:
        with progress(settings, "measuring", repeat) as tick:
            take_turns(calls, warmup, repeat, tick, taken)
    except KeyboardInterrupt:
        if not all(taken.get(name) for name in calls):
            raise
        stopped = True  # what was measured so far is an answer too
    items = asked.batch or BATCH
    found = {name: Latency.of(seconds, items) for name, seconds in taken.items()}
    _show(settings, source, found, items, compiled)
    if stopped:
        raise KeyboardInterrupt


def _peer(name: str, source: Source, threads: int | None) -> Callable[[], object]:
    from tc.frontend.folder import peer

    return peer(name, source.module, source.args, source.kwargs, threads)


def _show(
    settings: Settings, source: Source, found: dict[str, Latency], items: int, compiled: Any
) -> None:
    inputs = _shapes(source)
    if settings.json:
        print_json(
            {
                "model": source.name,
                "inputs": inputs,
                "unit": "seconds",
                "latency": {name: latency.as_dict() for name, latency in found.items()},
                "stats": compiled.stats(),
            }
        )
        return
    rows = [
        (
            name,
            *(f"{1e3 * getattr(latency, column):.3f}" for column in COLUMNS),
            f"{latency.throughput:.1f}",
            str(latency.calls),
        )
        for name, latency in found.items()
    ]
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in inputs.items())
    unit = "items/s" if items > 1 else "calls/s"
    columns = ("ms", *COLUMNS, unit, "calls")
    print_table(f"Latency of {source.name} ({shapes})", columns, rows)


def _shapes(source: Source) -> dict[str, list[int]]:
    """The shapes of the inputs by name, or by number."""
    named = {**{str(n): value for n, value in enumerate(source.args)}, **source.kwargs}
    return {name: list(value.shape) for name, value in named.items() if hasattr(value, "shape")}
