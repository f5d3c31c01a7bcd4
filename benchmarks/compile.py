"""`python -m benchmarks.compile`: compile time, memory, import time and call overhead.

Every figure comes from fresh processes; a compile is cold in an empty cache folder, and warm in
the folder that the cold one left.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import load, report
from benchmarks.models import add_options
from benchmarks.protocol import ROOT, worker_environment

MODEL = "BERT-base"
OVERHEAD_MODEL = "MiniLM-L6"
COMPILERS = ("tc", "inductor")
CACHES = ("TC_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
START_REPEATS = 5
CHILD_SECONDS = 900

IMPORT_CODE = "import time; t = time.perf_counter(); import tc; print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value as text, the goal it is held against, the raw number."""

    what: str
    value: str
    goal: str = ""
    number: float | None = None


def fresh(
    command: Sequence[str], cores: tuple[int, ...], cache: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `command` on `cores`, caches in folder `cache`."""
    environment = worker_environment(cores)
    if cache is not None:
        environment |= {name: os.path.join(cache, name) for name in CACHES}
    return subprocess.run(
        ["taskset", "-c", ",".join(map(str, cores)), sys.executable, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        check=False,
    )


def child(arguments: Sequence[str], cores: tuple[int, ...], cache: str) -> dict[str, Any]:
    """The figures of one child; {"unavailable": reason} where it has none."""
    done = fresh(["-m", "benchmarks.compile_child", *arguments], cores, cache)
    if done.returncode:
        return {"unavailable": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def seconds_figure(what: str, seconds: float, goal: str = "") -> Figure:
    """A time, in the unit that suits its size."""
    match seconds:
        case _ if seconds < 1e-3:
            text = f"{seconds * 1e6:.1f} µs"
        case _ if seconds < 1:
            text = f"{seconds * 1e3:.0f} ms"
        case _:
            text = f"{seconds:.2f} s"
    return Figure(what, text, goal, seconds)


def compile_figures(name: str, state: str, found: dict[str, Any]) -> list[Figure]:
    """What one compile of MODEL took; `state` is "cold" or "warm"."""
    prefix = f"{name} {state}:"
    if "unavailable" in found:
        return [Figure(f"{prefix} compile of {MODEL}", "unavailable", found["unavailable"])]
    ours, weights = name == "tc", found["weights_bytes"]
    goal = {"cold": "< 6 s", "warm": "< 1 s"}[state] if ours else ""
    peak, running = (found[key] / weights for key in ("compile_peak_bytes", "running_peak_bytes"))
    total = found["compile_seconds"] + found["first_call_seconds"]
    after = total - found["export_seconds"]
    figures = [
        seconds_figure(f"{prefix} compile of {MODEL}", found["compile_seconds"]),
        seconds_figure(f"{prefix} compile and first call", total),
        *([seconds_figure(f"{prefix} of it after torch.export", after, goal)] if ours else []),
        Figure(f"{prefix} peak memory, compiling", f"{peak:.2f} × weights", "< 2 ×" * ours, peak),
        Figure(
            f"{prefix} peak memory, running", f"{running:.2f} × weights", "1.1 ×" * ours, running
        ),
    ]
    timed = {key: value for key, value in found["stats"].items() if key.endswith("_seconds")}
    return figures + [seconds_figure(f"{prefix} stats {k}", v) for k, v in sorted(timed.items())]


def measure_compiles(
    names: Sequence[str], cores: tuple[int, ...]
) -> tuple[list[Figure], dict[str, Any]]:
    """Cold and warm compiles of MODEL, and torch.export alone."""
    figures, raw = [], {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as cache:
        report.announce(f"torch.export of {MODEL} …")
        export = child(["export", MODEL], cores, cache)
        if "export_seconds" in export:
            figures.append(seconds_figure("torch.export alone", export["export_seconds"]))
        for name in names:
            for state in ("cold", "warm"):
                report.announce(f"{name} {state} compile of {MODEL} …")
                raw[f"{name} {state}"] = child(["compile", name, MODEL], cores, cache)
                figures += compile_figures(name, state, raw[f"{name} {state}"])
    return figures, {"export": export, **raw}


def measure_start(cores: tuple[int, ...]) -> list[Figure]:
    """Median seconds of `import tc` and of `python -m tc --help`."""
    imports, helps = [], []
    for _ in range(START_REPEATS):
        done = fresh(["-c", IMPORT_CODE], cores)
        imports.append(float(done.stdout) if done.returncode == 0 else None)
        start = time.perf_counter()
        done = fresh(["-m", "tc", "--help"], cores)
        helps.append(time.perf_counter() - start if done.returncode == 0 else None)
    figures = []
    for what, found, goal in (
        ("import tc", imports, "< 0.3 s"),
        ("python -m tc --help", helps, "< 0.5 s"),
    ):
        times = [value for value in found if value is not None]
        if len(times) < len(found):
            figures.append(Figure(what, "failed", goal))
        else:
            figures.append(seconds_figure(what, statistics.median(times), goal))
    return figures


def measure_overhead(cores: tuple[int, ...]) -> list[Figure]:
    """Time of a call outside compiled code."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as cache:
        report.announce("call overhead …")
        found = child(["overhead", OVERHEAD_MODEL], cores, cache)
    if "unavailable" in found:
        return [Figure("call overhead", "unavailable", found["unavailable"])]
    goals = {"plain module": "< 20 µs", OVERHEAD_MODEL: "< 60 µs"}
    return [
        seconds_figure(f"call overhead, {what}", found[what]["overhead_seconds"], goal)
        for what, goal in goals.items()
    ]


def run(options: argparse.Namespace) -> tuple[list[report.Table], dict[str, Any]]:
    """Measure everything; tables to show and figures for JSON."""
    cores = load.chosen_cores()
    busy = load.require_quiet(cores, options.force)
    figures = [*measure_start(cores), *measure_overhead(cores)]
    names = ["tc"] if options.quick else options.peers
    compiles, raw = measure_compiles(names, cores)
    figures += compiles
    table = report.Table(
        "Compiling and starting",
        ("what", "value", "goal or reason"),
        tuple((figure.what, figure.value, figure.goal) for figure in figures),
        (f"UNRELIABLE: the cores were {busy:.0%} busy (--force)",) * (busy > load.BUSY_LIMIT),
    )
    return [table], {"compile": figures, "compile_raw": raw}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compile", description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=COMPILERS, default=list(COMPILERS))
    add_options(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 1 when the machine is busy."""
    options = parse(arguments)
    try:
        tables, figures = run(options)
    except load.LoadError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for table in tables:
        report.show(table)
    report.write(tables, figures, load.chosen_cores(), options.json, options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
