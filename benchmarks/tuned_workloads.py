"""The twelve workloads that tuning is judged by: a small module and its inputs for each.

The kernel with the greatest share of a module's time is the workload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.zoo import SEED

Made = tuple[Any, tuple[Any, ...]]


def _linear(rows: int, inner: int, columns: int) -> Made:
    import torch

    return torch.nn.Linear(inner, columns), (torch.randn(rows, inner),)


def _module(function: Callable[..., Any]) -> Any:
    """A module that calls a function."""
    import torch

    class Function(torch.nn.Module):
        def forward(self, *args: Any) -> Any:
            return function(*args)

    return Function()


def _attention(queries: int, keys: int, causal: bool) -> Made:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = (torch.randn(1, 12, n, 64) for n in (queries, keys, keys))
    made = _module(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=causal))
    return made, (q, k, v)


def _layer_norm() -> Made:
    import torch

    return torch.nn.LayerNorm(768), (torch.randn(128, 768),)


def _softmax() -> Made:
    import torch

    return torch.nn.Softmax(-1), (torch.randn(1536, 128),)


def _gelu() -> Made:
    import torch
    from torch.nn.functional import gelu

    return _module(lambda x, y: gelu(x) * y + x), (torch.randn(128, 3072), torch.randn(128, 3072))


WORKLOADS: dict[str, Callable[[], Made]] = {
    "gemm large": lambda: _linear(128, 768, 3072),
    "gemm tall": lambda: _linear(2048, 256, 256),
    "gemm odd": lambda: _linear(97, 331, 211),
    "gemm M=1": lambda: _linear(1, 768, 3072),
    "gemm M=4": lambda: _linear(4, 768, 3072),
    "gemm M=16": lambda: _linear(16, 768, 3072),
    "attention 128": lambda: _attention(128, 128, False),
    "attention 512 causal": lambda: _attention(512, 512, True),
    "attention decode": lambda: _attention(1, 512, False),
    "LayerNorm": _layer_norm,
    "softmax": _softmax,
    "GELU chain": _gelu,
}


def workload(name: str) -> Made:
    """The module in eval mode, and its inputs."""
    import torch

    torch.manual_seed(SEED)
    module, inputs = WORKLOADS[name]()
    return module.eval(), inputs
