"""Real parts of Fourier transforms, as models that mix tokens so take them.

tc has no complex numbers. The real part of the transform of real numbers is made of products with
matrices of cosines and sines, of any length, which costs as much as a linear layer of that width.
Transforms whose imaginary part is looked at, of complex numbers, padded, or scaled are left alone.
This module must not change any value that the graph computes, but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.fx import GraphModule, Node

from tc.frontend.capture_composites import replace_by

_aten = torch.ops.aten
_OF_SEVERAL: Final = (_aten.fft_fftn.default, _aten.fft_fft2.default)
_OF_ONE: Final = _aten.fft_fft.default


def expand_transforms(module: GraphModule) -> None:
    """Replace the real part of each transform of real numbers by what it consists of."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target is _aten.real.default:
            source, dims = _transformed(node.args[0])
            if dims and source.meta["val"].dtype in (torch.float32, torch.float64):
                replace_by(module, node, [source], _real_part(dims))


def _transformed(node: Any) -> tuple[Node, tuple[int, ...]]:
    """What the transforms that give `node` begin with, and along which dims they are."""
    dims: tuple[int, ...] = ()
    while node.op == "call_function" and node.target in (*_OF_SEVERAL, _OF_ONE):
        size, dim, norm = _arguments(node)
        if size is not None or norm not in (None, "backward"):
            return node, ()
        own = range(node.meta["val"].dim()) if dim is None else dim
        dims = (*((own,) if isinstance(own, int) else own), *dims)
        node = node.args[0]
    return node, dims


def _arguments(node: Node) -> tuple[Any, Any, Any]:
    """Size, dims and scaling of a transform."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    found = [
        node.args[n] if n < len(node.args) else node.kwargs.get(a.name, a.default_value)
        for n, a in enumerate(schema.arguments)
    ]
    return found[1], found[2], found[3]


def _real_part(dims: Sequence[int]) -> Callable[[torch.Tensor], torch.Tensor]:
    def made(x: torch.Tensor) -> torch.Tensor:
        real = x
        imaginary: torch.Tensor | None = None
        for number, dim in enumerate(dims):
            cosines, sines = _matrices(x, dim)
            last = number == len(dims) - 1
            # (a + i b)(c - i s) = (a c + b s) + i (b c - a s)
            a, b = real, imaginary
            real = _along(a, cosines, dim)
            if b is not None:
                real = real + _along(b, sines, dim)
            if not last:
                imaginary = -_along(a, sines, dim)
                imaginary = imaginary if b is None else imaginary + _along(b, cosines, dim)
        return real

    return made


def _matrices(x: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of 2 pi j k / n. The product is reduced first: large angles lose digits."""
    size = x.shape[dim]
    places = x.new_ones((size,), dtype=torch.long).cumsum(0) - 1
    turns = torch.remainder(places.unsqueeze(1) * places, size).to(x.dtype) / size
    angles = turns * (2 * math.pi)
    return torch.cos(angles), torch.sin(angles)


def _along(x: torch.Tensor, matrix: torch.Tensor, dim: int) -> torch.Tensor:
    return (x.transpose(dim, -1) @ matrix).transpose(dim, -1)
