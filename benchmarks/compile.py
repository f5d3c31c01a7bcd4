"""Compile time, memory, start-up and call overhead.

Every figure comes from fresh processes; a compile is cold in an empty cache folder, and warm in
the folder that the cold one left.
"""

from __future__ import annotations

import compileall
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import report
from benchmarks.part import Options, Outcome, Part, Quiet, run_as_program
from benchmarks.protocol import ROOT, worker_environment
from benchmarks.verdict import Verdict, verdict

MODEL = "BERT-base"
OVERHEAD_MODEL = "MiniLM-L6"
COMPILERS = ("tc", "inductor")
CACHES = ("TC_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
START_REPEATS = 5
CHILD_SECONDS = 900

IMPORT_CODE = "import time; t = time.perf_counter(); import tc; print(time.perf_counter() - t)"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a value as text, the raw number, and the name of its goals.

    `scale` turns the number into the unit of the goals; `reason` says why there is none.
    """

    what: str
    value: str
    number: float | None = None
    goal: str = ""
    scale: float = 1.0
    reason: str = ""


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


def child(
    arguments: Sequence[str],
    cores: tuple[int, ...],
    cache: str,
    module: str = "benchmarks.compile_child",
) -> dict[str, Any]:
    """The figures of one child of `module`; {"unavailable": reason} where it has none."""
    done = fresh(["-m", module, *arguments], cores, cache)
    if done.returncode:
        return {"unavailable": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def seconds_figure(what: str, seconds: float, goal: str = "", scale: float = 1.0) -> Figure:
    """A time, in the unit that suits its size."""
    match seconds:
        case _ if seconds < 1e-3:
            text = f"{seconds * 1e6:.1f} µs"
        case _ if seconds < 1:
            text = f"{seconds * 1e3:.0f} ms"
        case _:
            text = f"{seconds:.2f} s"
    return Figure(what, text, seconds, goal, scale)


def memory_figure(what: str, size: int, weights: int, goal: str = "") -> Figure:
    """Bytes beyond those of the process before, over those of the weights."""
    return Figure(what, f"{size / weights:.2f} × weights", size / weights, goal)


def absent(what: str, goal: str, found: Mapping[str, Any]) -> Figure:
    """A figure that could not be had."""
    return Figure(what, "unavailable", goal=goal, reason=found["unavailable"])


def compile_figures(name: str, state: str, found: dict[str, Any]) -> list[Figure]:
    """What one compile of MODEL took; `state` is "cold" or "warm"."""
    prefix, ours = f"{name} {state}:", name == "tc"
    goal = f"compile {state}" if ours else ""
    if "unavailable" in found:
        return [absent(f"{prefix} compile and first call", goal, found)]
    weights = found["weights_bytes"]
    total = found["compile_seconds"] + found["first_call_seconds"]
    after = found["after_export_seconds"]
    exported = "compile after export" if ours and state == "cold" else ""
    outside = exported and "compile outside LLVM"
    memory = "memory" if ours and state == "cold" else ""
    figures = [
        seconds_figure(f"{prefix} compile of {MODEL}", found["compile_seconds"]),
        seconds_figure(f"{prefix} compile and first call", total, goal),
        *(
            [
                seconds_figure(f"{prefix} of it after torch.export", after, exported),
                seconds_figure(
                    f"{prefix} of that outside LLVM", after - found["llvm_seconds"], outside
                ),
            ]
            if ours
            else []
        ),
        memory_figure(
            f"{prefix} peak memory, compiling", found["compile_peak_bytes"], weights, memory
        ),
        memory_figure(
            f"{prefix} peak memory, running", found["running_peak_bytes"], weights, memory
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


def load_figures(saved: Mapping[str, Any], found: Mapping[str, Any]) -> list[Figure]:
    """What loading a saved MODEL took, in a process without torch."""
    for each in (saved, found):
        if "unavailable" in each:
            return [absent("tc.load", "memory", each)]
    weights = saved["weights_bytes"]
    return [
        seconds_figure("tc: save", saved["save_seconds"]),
        Figure("tc: size of the file", f"{saved['file_bytes'] / weights:.2f} × weights"),
        seconds_figure("tc.load alone", found["load_seconds"]),
        seconds_figure(
            "tc.load and first call", found["load_seconds"] + found["first_call_seconds"]
        ),
        memory_figure("tc.load: peak memory, with calls", found["peak_bytes"], weights, "memory"),
    ]


def measure_load(cores: tuple[int, ...]) -> tuple[list[Figure], dict[str, Any]]:
    """Saving and loading MODEL, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as cache:
        report.announce(f"tc.load of {MODEL} …")
        path = os.path.join(cache, "model.tc")
        saved = child(["save", MODEL, path], cores, cache)
        found = child(["load", MODEL, path], cores, cache) if "unavailable" not in saved else {}
    return load_figures(saved, found), {"save": saved, "load": found}


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
        ("import tc", imports, "import"),
        ("python -m tc --help", helps, "help"),
    ):
        times = [value for value in found if value is not None]
        if len(times) < len(found):
            figures.append(Figure(what, "failed", goal=goal, reason="the process failed"))
        else:
            figures.append(seconds_figure(what, statistics.median(times), goal))
    return figures


def measure_overhead(cores: tuple[int, ...]) -> list[Figure]:
    """Time of a call outside compiled code."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-cache-") as cache:
        report.announce("call overhead …")
        found = child(["overhead", OVERHEAD_MODEL], cores, cache)
    goals = {"plain module": "call plain", OVERHEAD_MODEL: "call hugging face"}
    if "unavailable" in found:
        return [absent(f"call overhead, {what}", goal, found) for what, goal in goals.items()]
    return [
        seconds_figure(f"call overhead, {what}", found[what]["overhead_seconds"], goal, 1e6)
        for what, goal in goals.items()
    ]


def judge(figures: Sequence[Figure]) -> list[Verdict]:
    """A verdict for each figure that has goals."""
    return [
        verdict(
            figure.what,
            figure.goal,
            None if figure.number is None else figure.number * figure.scale,
            reason=figure.reason,
        )
        for figure in figures
        if figure.goal
    ]


ROWS = ("start", "call overhead", "compile", "load")


def run(options: Options) -> Outcome:
    """Measure the rows that were asked for; the machine is looked at before each."""
    chosen, quiet, cores = options.chosen(ROWS), Quiet(options), options.cores
    compileall.compile_dir(ROOT / "tc", quiet=2)
    compileall.compile_dir(ROOT / "benchmarks", quiet=2)
    names = options.contenders(["tc"] if options.quick else COMPILERS)
    figures: list[Figure] = []
    raw: dict[str, Any] = {}
    for row in chosen:
        quiet()
        match row:
            case "start":
                figures += measure_start(cores)
            case "call overhead":
                figures += measure_overhead(cores)
            case "compile":
                found, raw["compile"] = measure_compiles(names, cores)
                figures += found
            case _:
                found, raw["load"] = measure_load(cores)
                figures += found
    table = report.Table(
        "Compiling and starting",
        ("what", "value", "reason"),
        tuple((figure.what, figure.value, figure.reason) for figure in figures),
        quiet.notes,
    )
    failed = any(figure.reason for figure in figures if figure.goal)
    return Outcome(
        (table,), tuple(judge(figures)), {"figures": figures, "raw": raw}, failed, quiet.busy
    )


PART = Part("compile time, memory, start-up, call overhead", lambda: ROWS, COMPILERS, run)

if __name__ == "__main__":
    run_as_program("compile")
