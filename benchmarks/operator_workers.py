"""The contenders of the operator rows: one small module each, in torch eager and compiled by tc.

Each function runs in a worker process of its own, and imports its framework there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.contenders import thread_count
from benchmarks.protocol import Array, Case
from benchmarks.worker import Prepared
from benchmarks.zoo import SEED

HEADS, WIDTH = 12, 64


@dataclass(frozen=True, slots=True)
class Operator:
    """Shapes of the inputs, and `apply(torch, *inputs)`; `hidden` is the width of a LayerNorm."""

    shapes: tuple[tuple[int, ...], ...]
    apply: Callable[..., Any] | None = None
    hidden: int = 0


def _attention(queries: int, keys: int, causal: bool = False) -> Operator:
    rest = (1, HEADS, keys, WIDTH)

    def apply(torch: Any, q: Any, k: Any, v: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return Operator(((1, HEADS, queries, WIDTH), rest, rest), apply)


OPERATORS = {
    "attention, 128 tokens": _attention(128, 128),
    "attention, 512 tokens": _attention(512, 512),
    "attention, 512 tokens, causal": _attention(512, 512, causal=True),
    "attention, 1 query, 128 keys": _attention(1, 128),
    "attention, 1 query, 2048 keys": _attention(1, 2048),
    "LayerNorm [128, 768]": Operator(((128, 768),), hidden=768),
    "LayerNorm [1, 768]": Operator(((1, 768),), hidden=768),
    "softmax [1536, 128]": Operator(((1536, 128),), lambda torch, x: torch.softmax(x, -1)),
    "GELU erf [128, 3072]": Operator(((128, 3072),), lambda torch, x: torch.nn.functional.gelu(x)),
    "GELU tanh [128, 3072]": Operator(
        ((128, 3072),), lambda torch, x: torch.nn.functional.gelu(x, approximate="tanh")
    ),
}


def _module(case: Case) -> tuple[Any, tuple[Any, ...]]:
    """The row's module and its inputs as tensors."""
    import torch

    torch.set_num_threads(thread_count())
    about = OPERATORS[str(case["operator"])]
    random = np.random.default_rng(SEED)
    inputs = [torch.from_numpy(random.standard_normal(s, np.float32)) for s in about.shapes]
    if about.hidden:
        return torch.nn.LayerNorm(about.hidden).eval(), tuple(inputs)
    apply = about.apply
    assert apply is not None

    class Applied(torch.nn.Module):
        def forward(self, *given: Any) -> Any:
            return apply(torch, *given)

    return Applied().eval(), tuple(inputs)


def _array(result: Any) -> Array:
    array: Array = result.detach().numpy()
    return array


def reference(case: Case) -> Prepared:
    """PyTorch eager in float64."""
    import torch

    module, inputs = _module(case)
    wide = [tensor.double() for tensor in inputs]
    with torch.no_grad():
        result = module.double()(*wide)
    return Prepared(lambda: result, _array)


def eager(case: Case) -> Prepared:
    """PyTorch eager."""
    import torch

    module, inputs = _module(case)
    torch.set_grad_enabled(False)  # of this process, which does nothing else
    return Prepared(lambda: module(*inputs), _array)


def tc(case: Case) -> Prepared:
    """tc.compile with default options: sizes stay symbolic where a model's would."""
    import torch

    import tc

    module, inputs = _module(case)
    torch.set_grad_enabled(False)
    compiled: Any = tc.compile(module, example_inputs=inputs)

    def inside() -> float:
        return float(compiled.stats()["last_kernel_seconds"])

    def measure(runs: int) -> dict[str, Any]:
        """Seconds of the kernels themselves, without the foreign call that starts them."""
        return {"kernel_seconds": sum(row.seconds for row in compiled.explain(runs).rows)}

    return Prepared(lambda: compiled(*inputs), _array, inside, measure)
