"""Tensors continued beyond their edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from tc import te
from tc.errors import CompileError, UnsupportedError
from tc.ir.expr import Expr, equal, select
from tc.ir.tensor import Tensor
from tc.ops.dims import Dim, known, larger, tidy
from tc.ops.promotion import number_as
from tc.ops.samples import array, ints, sample
from tc.ops.table import Kind, operator
from tc.ops.views import Index, mapped, view


def _sides(x: Tensor, pad: Sequence[Dim], op: str) -> list[tuple[Dim, Dim]]:
    """Elements before and after, for each dim; `pad` begins with the last dim."""
    if len(pad) % 2 or len(pad) > 2 * x.rank:
        raise CompileError(f"{op}: {len(pad)} numbers for {x.rank} dims; give two for each dim")
    sides: list[tuple[Dim, Dim]] = [(0, 0)] * x.rank
    for n in range(len(pad) // 2):
        sides[x.rank - 1 - n] = (pad[2 * n], pad[2 * n + 1])
    return sides


def padded(x: Tensor, pad: Sequence[Dim], value: float = 0.0) -> Tensor:
    """x with a constant around it; a negative number takes elements away."""
    sides = _sides(x, pad, "pad")
    shape = [
        s if side == (0, 0) else larger(s + side[0] + side[1], 0)
        for s, side in zip(x.shape, sides, strict=True)
    ]

    def element(*index: Expr) -> Expr:
        inside: Expr | None = None
        at = []
        for i, s, (before, after) in zip(index, x.shape, sides, strict=True):
            place = i - before
            at.append(place)
            for off, check in ((before, before <= i), (after, place < s)):
                value_ = known(off)
                if value_ is None or value_ > 0:
                    inside = check if inside is None else inside & check
        if inside is None:
            return x[tuple(at)]
        return select(inside, x[tuple(at)], number_as(value, x.dtype))

    return te.compute(shape, element, te.fresh("pad"))


def _pad_widths(x: Any, pad: Sequence[int]) -> list[tuple[int, int]]:
    pairs = [(pad[n], pad[n + 1]) for n in range(0, len(pad), 2)]
    return [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]


def _cropped(x: Any, pad: Sequence[int]) -> Any:
    """x without what negative numbers take away."""
    for axis, (before, after) in enumerate(_pad_widths(x, pad)):
        x = np.take(x, range(max(-before, 0), x.shape[axis] - max(-after, 0)), axis)
    return x


def _pad_ref(x: Any, pad: Sequence[int], value: float = 0.0) -> Any:
    widths = np.maximum(_pad_widths(x, pad), 0)
    return np.pad(_cropped(x, pad), widths, constant_values=np.asarray(value).astype(x.dtype))


@operator(
    "constant_pad_nd",
    aten=("aten.constant_pad_nd.default",),
    kind=Kind.POINTWISE,
    reference=_pad_ref,
    samples=(
        sample(array(3, 5), (1, 2), 0.5),
        sample(array(2, 3, 5), (1, -1, 0, 2), 0),
        sample(ints(3, 4), (0, 1), -100),
        sample(array(0, 3), (1, 1), 1.0),
    ),
)
def build_constant_pad_nd(x: Tensor, pad: Sequence[Dim], value: float = 0) -> Tensor:
    """x with a constant around it."""
    return padded(x, pad, value)


def _spread_ref(x: Any, stride: Sequence[int], sides: Sequence[Sequence[int]]) -> Any:
    rank = len(stride)
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[-rank:], stride, strict=True)]
    wide = np.zeros((*x.shape[:-rank], *sizes), x.dtype)
    places: Any = (..., *(slice(None, None, s) for s in stride))
    wide[places] = x
    return _pad_ref(wide, [n for side in reversed(sides) for n in side])


@operator(
    "spread",
    aten=(),
    kind=Kind.POINTWISE,
    reference=_spread_ref,
    samples=(
        sample(array(2, 3, 4), (2,), ((1, 2),)),
        sample(array(2, 3, 5), (3, 1), ((0, 1), (2, -1))),
        sample(ints(3, 4), (1, 2), ((-1, 0), (0, 3))),
    ),
)
def build_spread(x: Tensor, stride: Sequence[int], sides: Sequence[Sequence[int]]) -> Tensor:
    """x with stride - 1 zeros between the elements of its last dims, and so many at their ends."""
    first = x.rank - len(stride)
    own = list(zip(x.shape[first:], stride, sides, strict=True))
    sizes = [tidy((n - 1) * s + (1 + before + after)) for n, s, (before, after) in own]

    def element(*index: Expr) -> Expr:
        there: Expr | None = None
        at = list(index[:first])
        for i, (size, step, (before, _)) in zip(index[first:], own, strict=True):
            place = i - before
            at.append(place if step == 1 else place // step)
            ok = (place >= 0) & (at[-1] < size)
            ok = ok if step == 1 else ok & equal(place % step, 0)
            there = ok if there is None else there & ok
        assert there is not None
        return select(there, x[tuple(at)], number_as(0, x.dtype))

    return te.compute((*x.shape[:first], *sizes), element, te.fresh("spread"))


_MODES: Final[dict[str, Any]] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _around(x: Tensor, pad: Sequence[Dim], mode: str) -> Tensor:
    """x continued beyond its edges: mirrored, its edge repeated, or from the other side."""
    sides = _sides(x, pad, "pad")
    shape = [s + b + a for s, (b, a) in zip(x.shape, sides, strict=True)]

    def one(i: Expr, size: Expr, side: tuple[Dim, Dim]) -> Expr:
        if side == (0, 0):
            return i
        place, last = i - side[0], tidy(size - 1)
        match mode:
            case "replicate":
                return te.minimum(te.maximum(place, 0), last)
            case "circular":
                return _turned(i, size, *side)
        mirrored = select(place < 0, 0 - place, place)
        return select(last < mirrored, last * 2 - mirrored, mirrored)

    def place(index: Index) -> list[Expr]:
        return [one(i, s, side) for i, s, side in zip(index, x.shape, sides, strict=True)]

    return mapped("pad", x, shape, place)


def _turned(i: Expr, size: Expr, before: Dim, after: Dim) -> Expr:
    """The place of a circular padding; what a negative number takes away does not come around."""
    first, last = larger(0 - tidy(before), 0), larger(0 - tidy(after), 0)
    return (i - (before + first)) % tidy(size - first - last) + first


@operator(
    "pad",
    aten=("aten.pad.default",),
    kind=Kind.POINTWISE,
    reference=lambda x, pad, mode="constant", value=None: (
        _pad_ref(x, pad, value or 0)
        if mode == "constant"
        else np.pad(_cropped(x, pad), np.maximum(_pad_widths(x, pad), 0), mode=_MODES[mode])
    ),
    samples=(
        sample(ints(3, 5), (0, 1), "constant", -100.0),
        sample(array(3, 5), (2, 1), "constant", None),
        sample(array(2, 3, 5), (2, 1), "reflect", None),
        sample(array(2, 3, 5), (2, 1), "replicate", None),
        sample(array(2, 3, 5), (2, 1), "circular", None),
        sample(array(2, 3, 5), (-2, 2), "circular", None),
    ),
)
def build_pad(
    x: Tensor, pad: Sequence[Dim], mode: str = "constant", value: float | None = None
) -> Tensor:
    """x continued beyond its edges by a constant or by its own elements."""
    if mode == "constant":
        return padded(x, pad, 0 if value is None else value)
    if mode not in _MODES:
        raise UnsupportedError(f"pad: mode {mode!r}; known are constant and {', '.join(_MODES)}")
    return _around(x, pad, mode)


@view("reflection_pad", lambda x, pad: np.pad(x, _pad_widths(x, pad), mode="reflect"),
      sample(array(2, 3, 5), (2, 1)),
      aten=("aten.reflection_pad1d.default", "aten.reflection_pad2d.default",
            "aten.reflection_pad3d.default"))  # fmt: skip
def build_reflection_pad(x: Tensor, pad: Sequence[Dim]) -> Tensor:
    """x mirrored at its edges."""
    return _around(x, pad, "reflect")


@view("replication_pad", lambda x, pad: np.pad(x, _pad_widths(x, pad), mode="edge"),
      sample(array(2, 3, 5), (2, 1)),
      aten=("aten.replication_pad1d.default", "aten.replication_pad2d.default",
            "aten.replication_pad3d.default"))  # fmt: skip
def build_replication_pad(x: Tensor, pad: Sequence[Dim]) -> Tensor:
    """x with its edges repeated."""
    return _around(x, pad, "replicate")
