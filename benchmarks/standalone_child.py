"""One measurement of benchmarks.standalone in a fresh process: prints one line of JSON.

`python -m benchmarks.standalone_child` with one of `export CASE FOLDER`, `build FOLDER`,
`start FOLDER IDS REPEATS` and `memory FOLDER IDS NEW`; CASE is JSON as the workers are told it.
A fresh process each time, because caches and the peak memory of children are those of a process.
"""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.contenders import torch_case
from benchmarks.generators import torch_model
from benchmarks.protocol import Case
from benchmarks.standalone_workers import layer_inputs, layer_module

GCC = ("CC=gcc", "CFLAGS=-O3")
POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported: a module, what tc.compile is told of it, and the bounds of the export."""

    module: Any
    options: dict[str, Any] = field(default_factory=dict)
    bounds: dict[str, int] = field(default_factory=dict)


def source(case: Case) -> Source:
    """The case's model. A layer is for its one token alone."""
    if "layer" in case:
        arrays = layer_inputs(case)
        import torch

        inputs = tuple(torch.from_numpy(array) for array in arrays)
        return Source(layer_module(case), {"example_inputs": inputs, "dynamic": False})
    if "new" in case:
        return Source(torch_model(case)[0])
    bounds = {"max_batch": int(case["batch"]), "max_length": int(case["length"])}
    return Source(torch_case(case)[0], bounds=bounds)


def measure_export(case: Case, folder: Path) -> dict[str, Any]:
    """Seconds of compiling and of writing the folder, and what was written."""
    tc: Any = importlib.import_module("tc")
    given = source(case)
    start = time.perf_counter()
    model = tc.compile(given.module, **given.options)
    compiled_at = time.perf_counter()
    exported = model.export_c(folder, **given.bounds)
    return {
        "compile_seconds": compiled_at - start,
        "export_seconds": time.perf_counter() - compiled_at,
        "lines": exported.lines,
        "weights_bytes": exported.weights,
    }


def measure_build(folder: Path) -> dict[str, Any]:
    """Seconds of `make CC=gcc`, and the most memory that one of its processes took."""
    start = time.perf_counter()
    command = ["make", "-C", str(folder), *GCC]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or ["make failed"])[0])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"seconds": time.perf_counter() - start, "peak_bytes": peak}


def generate_command(folder: Path, ids: str, new: int) -> list[str]:
    """model_cli that generates."""
    weights = str(folder / "weights.bin")
    words = ["generate", "--ids", ids, "--max-new-tokens", str(new)]
    return [str(folder / "model_cli"), "--weights", weights, *words]


def measure_start(folder: Path, ids: str, repeats: int) -> dict[str, Any]:
    """Median seconds from starting the process to its end with one new token."""
    times = []
    for _ in range(repeats + 1):  # the first one finds the weights outside the page cache
        start = time.perf_counter()
        subprocess.run(generate_command(folder, ids, 1), capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times[1:])}


def private_bytes(smaps: str, mapped: str) -> int:
    """Bytes that are private to a process, of its /proc smaps, but for the file `mapped`."""
    total, counts = 0, True
    for line in smaps.splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):  # a mapping: addresses, mode, offset, device, inode, path
            counts = not (len(rest) >= 5 and " ".join(rest[4:]).endswith(mapped))
        elif counts and name in ("Private_Clean:", "Private_Dirty:"):
            total += int(rest[0]) * 1024
    return total


def measure_memory(folder: Path, ids: str, new: int) -> dict[str, Any]:
    """The most memory private to the process while it generates, without the mapped weights."""
    command = generate_command(folder, ids, new)
    most = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        smaps = Path(f"/proc/{process.pid}/smaps")
        while process.poll() is None:
            try:
                most = max(most, private_bytes(smaps.read_text(), "/weights.bin"))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                break  # it has just ended
            time.sleep(POLL_SECONDS)
    if process.returncode or not most:
        raise SystemExit(f"model_cli ended with {process.returncode}")
    return {"private_bytes": most}


def main(arguments: list[str]) -> None:
    """Print the figures, or {"unavailable": reason}."""
    try:
        match arguments:
            case ["export", about, folder]:
                figures = measure_export(json.loads(about), Path(folder))
            case ["build", folder]:
                figures = measure_build(Path(folder))
            case ["start", folder, ids, repeats]:
                figures = measure_start(Path(folder), ids, int(repeats))
            case ["memory", folder, ids, new]:
                figures = measure_memory(Path(folder), ids, int(new))
            case _:
                raise SystemExit(f"unknown measurement {arguments}")
    except (ImportError, FileNotFoundError) as error:
        figures = {"unavailable": str(error)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
