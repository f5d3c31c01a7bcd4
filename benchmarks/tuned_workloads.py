"""Workloads of tuning, a small module and its inputs for each: the twelve that it is judged by, and
those that the cost model learns from, of the same kinds but of other shapes.

The kernel with the greatest share of a module's time is the workload.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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


def _attention(
    queries: int, keys: int, causal: bool = False, heads: int = 12, width: int = 64
) -> Made:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = (torch.randn(1, heads, n, width) for n in (queries, keys, keys))
    made = _module(lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=causal))
    return made, (q, k, v)


def _layer_norm(rows: int = 128, width: int = 768) -> Made:
    import torch

    return torch.nn.LayerNorm(width), (torch.randn(rows, width),)


def _rms_norm(rows: int, width: int) -> Made:
    import torch

    return torch.nn.RMSNorm(width), (torch.randn(rows, width),)


def _softmax(rows: int = 1536, width: int = 128) -> Made:
    import torch

    return torch.nn.Softmax(-1), (torch.randn(rows, width),)


def _gelu() -> Made:
    import torch
    from torch.nn.functional import gelu

    return _module(lambda x, y: gelu(x) * y + x), (torch.randn(128, 3072), torch.randn(128, 3072))


def _gated(x: Any, y: Any) -> Any:
    from torch.nn.functional import silu

    return silu(x) * y


def _pair(function: Callable[..., Any], rows: int, width: int) -> Made:
    """A function of two tensors of one shape."""
    import torch

    return _module(function), (torch.randn(rows, width), torch.randn(rows, width))


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

_PRODUCTS = (
    (1, 384, 1536), (1, 1024, 4096), (1, 2048, 2048), (1, 4096, 1000), (2, 768, 768),
    (2, 1536, 2048), (3, 512, 1000), (4, 2048, 1024), (5, 300, 2000), (6, 1024, 3072),
    (12, 640, 1920), (24, 384, 384), (40, 1000, 77), (64, 512, 2048), (200, 320, 640),
    (511, 129, 511),
)  # fmt: skip
_ATTENTIONS: tuple[tuple[int, int, bool, int, int], ...] = (
    (64, 64, False, 8, 32), (197, 197, False, 12, 64), (256, 256, True, 8, 80),
    (1, 128, False, 8, 32), (1, 1000, False, 12, 64), (1, 300, False, 6, 128),
    (1, 384, False, 16, 96),
)  # fmt: skip
_PAIRS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "gate 200x1536": (_gated, 200, 1536),
    "gate 33x500": (_gated, 33, 500),
    "sum and ReLU 1000x1000": (lambda x, y: (x + y).relu(), 1000, 1000),
    "tanh 64x4096": (lambda x, y: x.tanh() + y, 64, 4096),
    "tanh GELU 128x1024": (
        lambda x, y: x * ((x * 0.8 + x * x * x * 0.036).tanh() + 1) * 0.5 + y, 128, 1024
    ),
    "exp 300x700": (lambda x, y: (x * y).exp(), 300, 700),
    "sigmoid 512x512": (lambda x, y: x.sigmoid() * y, 512, 512),
    "polynomial 96x3072": (lambda x, y: ((x * y + 1) * x + 2) * y - x, 96, 3072),
}  # fmt: skip

LEARNED: dict[str, Callable[[], Made]] = {
    **{f"gemm {m}x{k}x{n}": partial(_linear, m, k, n) for m, k, n in _PRODUCTS},
    **{f"attention {' '.join(map(str, a))}": partial(_attention, *a) for a in _ATTENTIONS},
    **{name: partial(_pair, *pair) for name, pair in _PAIRS.items()},
    "LayerNorm 64x512": partial(_layer_norm, 64, 512),
    "LayerNorm 500x300": partial(_layer_norm, 500, 300),
    "RMSNorm 200x1024": partial(_rms_norm, 200, 1024),
    "softmax 300x1000": partial(_softmax, 300, 1000),
    "softmax 4000x50": partial(_softmax, 4000, 50),
}


def workload(name: str) -> Made:
    """The module in eval mode, and its inputs."""
    import torch

    torch.manual_seed(SEED)
    module, inputs = {**WORKLOADS, **LEARNED}[name]()
    return module.eval(), inputs
