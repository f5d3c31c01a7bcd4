"""The contenders of the standalone rows: models exported as C and built by gcc, and their peers.

An export is made in a process of its own and kept in the row's scratch folder, so that the worker
that calls it has neither tc nor torch in it.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import contenders, generators
from benchmarks.contenders import thread_count
from benchmarks.exported import LIBRARY, Instance, build_library
from benchmarks.protocol import ROOT, Array, Case, WorkerError
from benchmarks.worker import Prepared
from benchmarks.zoo import SEED, case_inputs, prompt_ids

HEADS, WIDTH = 12, 64
HIDDEN = HEADS * WIDTH


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on one token: shapes of its inputs, f32, and `build(torch)`, its module.

    `calls` are made from C one after another for one time: what takes microseconds is not measured
    with what Python leaves of the caches.
    """

    shapes: tuple[tuple[int, ...], ...]
    build: Callable[[Any], Any]
    calls: int = 1


def _attention(torch: Any) -> Any:
    class Attention(torch.nn.Module):
        def forward(self, query: Any, keys: Any, values: Any) -> Any:
            return torch.nn.functional.scaled_dot_product_attention(query, keys, values)

    return Attention()


def _norm(torch: Any) -> Any:
    norm = torch.nn.LayerNorm(HIDDEN)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


def _mlp(torch: Any) -> Any:
    linear, inner = torch.nn.Linear, 4 * HIDDEN
    return torch.nn.Sequential(linear(HIDDEN, inner), torch.nn.GELU(), linear(inner, HIDDEN))


ROW = ((1, HIDDEN),)
CACHED = (1, HEADS, 128, WIDTH)
LAYERS = {
    "LayerNorm [1, 768]": Layer(ROW, _norm, 64),
    "GELU [1, 768]": Layer(ROW, lambda torch: torch.nn.GELU(), 64),
    "GELU tanh [1, 768]": Layer(ROW, lambda torch: torch.nn.GELU(approximate="tanh"), 64),
    "Linear 768 → 50257": Layer(ROW, lambda torch: torch.nn.Linear(HIDDEN, 50257)),
    "attention, 128 cached keys": Layer(((1, HEADS, 1, WIDTH), CACHED, CACHED), _attention, 16),
    "MLP 768–3072–768": Layer(ROW, _mlp),
}


def layer_inputs(case: Case) -> list[Array]:
    """The inputs of the case's layer."""
    random = np.random.default_rng(SEED)
    return [random.standard_normal(s, np.float32) for s in LAYERS[str(case["layer"])].shapes]


def layer_module(case: Case) -> Any:
    """The case's layer with seeded random weights."""
    import torch

    torch.set_num_threads(thread_count())
    torch.manual_seed(SEED)
    return LAYERS[str(case["layer"])].build(torch).eval()


def _layer(case: Case, wide: bool) -> Prepared:
    import torch

    torch.set_grad_enabled(False)  # of this process, which does nothing else
    module, inputs = layer_module(case), [torch.from_numpy(a) for a in layer_inputs(case)]
    if wide:
        module, inputs = module.double(), [tensor.double() for tensor in inputs]
    return Prepared(lambda: module(*inputs), lambda result: result.numpy())


def layer_reference(case: Case) -> Prepared:
    """PyTorch eager in float64; a fact of it is how many bytes of f32 a call reads."""
    size = sum(parameter.numel() for parameter in layer_module(case).parameters())
    size += sum(array.size for array in layer_inputs(case))
    return replace(_layer(case, wide=True), facts={"bytes": 4.0 * size})


def layer_eager(case: Case) -> Prepared:
    """PyTorch eager."""
    return _layer(case, wide=False)


def exported_folder(case: Case) -> Path:
    """The case's model as C, built: made now if no other worker of the row has.

    Raises UnavailableError, or WorkerError where the export or the build fails.
    """
    scratch = Path(str(case["scratch"]))
    folder = scratch / "exported"
    with (scratch / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "Makefile").exists():
            export_child(case, folder)
        if not (folder / LIBRARY).exists():
            build_library(folder)
    return folder


def export_child(case: Case, folder: Path) -> None:
    """Export in a process of its own."""
    command = ["-m", "benchmarks.standalone_child", "export", json.dumps(dict(case)), str(folder)]
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WorkerError(f"export: {said[:200]}")


def c(case: Case, threads: int | None = None) -> Prepared:
    """The exported model on as many threads as cores."""
    folder, count = exported_folder(case), threads or thread_count()
    if "new" in case:
        return _generating(folder, count, case)
    if "layer" in case:
        return _calling(folder, count, layer_inputs(case), LAYERS[str(case["layer"])].calls)
    given = case_inputs(case)
    limits = {"batch": int(case["batch"]), "length": int(case["length"])}
    return _calling(folder, count, given, 1, limits)


def c_one_thread(case: Case) -> Prepared:
    """The exported model on one thread."""
    return c(case, 1)


def _calling(
    folder: Path,
    threads: int,
    given: dict[str, Array] | list[Array],
    calls: int,
    limits: dict[str, int] | None = None,
) -> Prepared:
    instance = Instance(folder, threads, limits or {})
    if isinstance(given, dict):
        given = [given[name] for name in instance.inputs]
    call = instance.bind(given)
    return Prepared(lambda: call(calls), lambda results: results[0].copy(), lambda: call.last)


def _generating(folder: Path, threads: int, case: Case) -> Prepared:
    ids, new = prompt_ids(case)[0], int(case["new"])
    instance = Instance(folder, threads, {"batch": 1, "length": len(ids) + new})
    return Prepared(lambda: instance.generate(ids, new), lambda made: made[None])


def tc_c(case: Case) -> Prepared:
    """tc.compile with the host's C compiler in LLVM's place."""
    if "new" in case:
        return generators.tc(case, codegen="c")
    return contenders.tc(case, codegen="c")
