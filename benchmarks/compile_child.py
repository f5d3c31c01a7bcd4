"""One measurement of benchmarks.compile in a fresh process: prints one line of JSON.

`python -m benchmarks.compile_child` with one of `compile CONTENDER MODEL`, `export MODEL`,
`save MODEL FILE`, `load MODEL FILE` and `overhead MODEL`. A fresh process each time, because
imports, caches and peak memory are those of a process.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo import MODELS

BATCH, LENGTH = 1, 128
CALLS = 500
STATUS = Path("/proc/self/status")


def memory(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes; 0 where /proc does not tell."""
    if not STATUS.exists():
        return 0
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields[key].split()[0]) * 1024


def reset_peak() -> None:
    """Let VmHWM start again from the present size."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def compiler(contender: str) -> Callable[[Any], Any]:
    """The function that compiles a module. Raises ImportError where it is not installed."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    match contender:
        case "tc":
            tc: Any = importlib.import_module("tc")
            return lambda module: tc.compile(module, target="host")
        case "inductor":
            config: Any = importlib.import_module("torch._inductor.config")
            config.freezing = True
            config.compile_threads = 1
            return lambda module: torch.compile(module, dynamic=False)
        case _:
            raise ValueError(f"unknown contender {contender!r}")


def torch_inputs(model: str, length: int) -> dict[str, Any]:
    """The model's arguments as tensors."""
    import torch

    given = MODELS[model].inputs(BATCH, length)
    return {name: torch.from_numpy(array) for name, array in given.items()}


def measure_compile(contender: str, model: str) -> dict[str, Any]:
    """Seconds to a compiled model and through its first call; memory beyond the loaded model."""
    import torch

    compile_module = compiler(contender)
    exporting = time_export()
    in_llvm = time_llvm() if contender == "tc" else []
    module = MODELS[model].build()
    given = torch_inputs(model, LENGTH)
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    with torch.no_grad():
        loaded = memory("VmRSS")
        reset_peak()
        start = time.perf_counter()
        compiled = compile_module(module)
        compiled_at = time.perf_counter()
        compiled(**given)
        called_at = time.perf_counter()
        peak = memory("VmHWM") - loaded
        reset_peak()
        for _ in range(3):
            compiled(**given)
        running = memory("VmHWM") - loaded
    return {
        "compile_seconds": compiled_at - start,
        "first_call_seconds": called_at - compiled_at,
        "export_seconds": sum(end - begin for begin, end in exporting),
        "after_export_seconds": called_at - max([start, *(end for _, end in exporting)]),
        "llvm_seconds": covered(in_llvm),
        "weights_bytes": weights,
        "compile_peak_bytes": peak,
        "running_peak_bytes": running,
        "stats": numbers(compiled.stats()) if hasattr(compiled, "stats") else {},
    }


def measure_save(model: str, path: str) -> dict[str, Any]:
    """Seconds that saving a compiled model takes, and what the file and the weights are long."""
    module = MODELS[model].build()
    compiled = compiler("tc")(module)
    start = time.perf_counter()
    compiled.save(path)
    return {
        "save_seconds": time.perf_counter() - start,
        "file_bytes": Path(path).stat().st_size,
        "weights_bytes": sum(p.numel() * p.element_size() for p in module.parameters()),
    }


def measure_load(model: str, path: str) -> dict[str, Any]:
    """Seconds of tc.load and of the first call, and the memory of a process without torch."""
    tc: Any = importlib.import_module("tc")
    numpy_inputs = MODELS[model].inputs(BATCH, LENGTH)
    loaded = memory("VmRSS")
    reset_peak()
    start = time.perf_counter()
    compiled = tc.load(path)
    loaded_at = time.perf_counter()
    compiled(**numpy_inputs)
    called_at = time.perf_counter()
    for _ in range(3):
        compiled(**numpy_inputs)
    assert "torch" not in sys.modules
    return {
        "load_seconds": loaded_at - start,
        "first_call_seconds": called_at - loaded_at,
        "peak_bytes": memory("VmHWM") - loaded,
    }


def time_export() -> list[tuple[float, float]]:
    """(begin, end) of each call of torch.export from now on."""
    import torch

    export, spent = torch.export.export, list[tuple[float, float]]()

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return export(*args, **kwargs)
        finally:
            spent.append((start, time.perf_counter()))

    torch.export.export = timed
    return spent


def time_llvm() -> list[tuple[float, float]]:
    """When LLVM is at work from now on: (begin, end) of each call that takes it long.

    The end is by the thread's processor time, so that a wait for the interpreter, which the
    other threads of a compilation hold, does not count as LLVM's.
    """
    import llvmlite.binding as llvm

    spent: list[tuple[float, float]] = []

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start, used = time.perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent.append((start, start + time.thread_time() - used))

        return call

    passes = type(llvm.create_new_module_pass_manager())
    for owner, name in ((llvm, "parse_assembly"), (llvm.TargetMachine, "emit_object"),
                        (passes, "run")):  # fmt: skip
        setattr(owner, name, timed(getattr(owner, name)))
    return spent


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """The seconds that lie in at least one of these spans."""
    total, last = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, last))
        last = max(last, end)
    return total


def measure_export(model: str) -> dict[str, Any]:
    """Seconds of torch.export alone, which tc.compile contains."""
    import torch

    module, given = MODELS[model].build(), torch_inputs(model, LENGTH)
    start = time.perf_counter()
    with torch.no_grad():
        torch.export.export(module, (), given, strict=False)
    return {"export_seconds": time.perf_counter() - start}


def numbers(stats: dict[str, Any]) -> dict[str, Any]:
    """The entries of stats() that are plain numbers."""
    return {key: value for key, value in stats.items() if isinstance(value, (int, float))}


def call_overhead(compiled: Any, given: dict[str, Any]) -> dict[str, float]:
    """Medians over many calls: seconds of a call, and of it outside compiled code."""
    import torch

    whole, outside = [], []
    with torch.no_grad():
        for _ in range(10):
            compiled(**given)
        for _ in range(CALLS):
            start = time.perf_counter()
            compiled(**given)
            seconds = time.perf_counter() - start
            whole.append(seconds)
            outside.append(seconds - compiled.stats()["last_kernel_seconds"])
    return {
        "call_seconds": statistics.median(whole),
        "overhead_seconds": statistics.median(outside),
    }


def measure_overhead(model: str) -> dict[str, Any]:
    """Call overhead of tc for a plain module and for a Hugging Face model."""
    import torch

    compile_module = compiler("tc")
    plain = compile_module(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU()).eval())
    hugging_face = compile_module(MODELS[model].build())
    return {
        "plain module": call_overhead(plain, {"input": torch.ones(1, 64)}),
        model: call_overhead(hugging_face, torch_inputs(model, 16)),
    }


def main(arguments: list[str]) -> None:
    """Print the figures, or {"unavailable": reason}."""
    try:
        match arguments:
            case ["compile", contender, model]:
                figures = measure_compile(contender, model)
            case ["export", model]:
                figures = measure_export(model)
            case ["save", model, path]:
                figures = measure_save(model, path)
            case ["load", model, path]:
                figures = measure_load(model, path)
            case ["overhead", model]:
                figures = measure_overhead(model)
            case _:
                raise SystemExit(f"unknown measurement {arguments}")
    except ImportError as error:
        figures = {"unavailable": str(error)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1:])
