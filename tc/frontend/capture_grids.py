"""Functions of sizes that PyTorch, or Python, knows for numbers only, while a model is traced.

`torch.linspace`, `affine_grid` and the functions of `math` would turn a free size into the number
that the model is traced with, and the program would be for that one. They are said here in terms
of what takes free sizes. This module must not change what they give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.nn import functional

Size = Any  # an int or a torch.SymInt, whose arithmetic torch does not type
_LINSPACE: Final = torch.linspace
_AFFINE_GRID: Final = functional.affine_grid
_SQRT: Final = math.sqrt
_MOST: Callable[[Size, Size], Size] = torch.sym_max
_FREE: Final = (torch.SymInt, torch.SymFloat)


def _linspace(start: Any, end: Any, steps: Any, **options: Any) -> torch.Tensor:
    """`steps` numbers at equal distances, worked out from the nearer end."""
    kind = options.get("dtype") or torch.get_default_dtype()
    numbers = not isinstance(start, torch.Tensor) and not isinstance(end, torch.Tensor)
    if not isinstance(steps, torch.SymInt) or not numbers or not kind.is_floating_point:
        return _LINSPACE(start, end, steps, **options)
    count: Size = steps
    place = torch.arange(count, dtype=torch.float64, device=options.get("device"))
    last = count - 1
    step = (end - start) / _MOST(last, 1)
    front, back = start + step * place, end - step * (last - place)
    return torch.where(place < (count + 1) // 2, front, back).to(kind)


def _affine_grid(
    theta: torch.Tensor, size: Sequence[Size], align_corners: bool | None = None
) -> torch.Tensor:
    """theta · (x, y, 1) for the places of all pixels."""
    if not any(isinstance(n, torch.SymInt) for n in size) or not theta.is_floating_point():
        return _AFFINE_GRID(theta, list(size), align_corners)
    spatial = list(size[2:])
    axes = []
    for n in spatial:
        place = torch.arange(n, dtype=theta.dtype, device=theta.device)
        whole = _MOST(n - 1, 1) if align_corners else n
        axes.append((place * 2 - (n - 1)) / whole)
    places = torch.meshgrid(*axes, indexing="ij")[::-1]
    base = torch.stack([*places, torch.ones_like(places[0])], -1).unsqueeze(-2)
    for _ in spatial:
        theta = theta.unsqueeze(1)
    return (base * theta).sum(-1)


def _sqrt(x: Any) -> Any:
    return torch.sym_sqrt(x) if isinstance(x, _FREE) else _SQRT(x)


# (where a function is, its name, what stands in for it)
OF_SIZES: Final[tuple[tuple[Any, str, Callable[..., Any]], ...]] = (
    (torch, "linspace", _linspace),
    (functional, "affine_grid", _affine_grid),
    (math, "sqrt", _sqrt),
)
