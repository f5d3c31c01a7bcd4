"""Adaptive pooling: each dim cut into so many nearly equal parts, which may overlap by one.

Part i of m of n elements goes from i n // m to the first that is not below (i + 1) n / m.
"""

from __future__ import annotations

from collections.abc import Sequence

from tc import te
from tc.frozen import frozen
from tc.ir import monoid as monoids
from tc.ir.expr import Const, Expr, cast, select
from tc.ir.tensor import Tensor
from tc.ops import pool_reference
from tc.ops.dims import Dim, known, same, tidy
from tc.ops.pool import batched
from tc.ops.promotion import compute_type
from tc.ops.reductions import rowwise
from tc.ops.samples import array, sample

Sizes = Dim | Sequence[Dim]


@frozen
class Parts:
    """The parts of one dim; `longest` is as much as any of them may have."""

    size: Expr
    count: Expr
    longest: Expr
    equal: bool

    @staticmethod
    def of(size: Expr, count: Dim) -> Parts:
        """A dim of that size in so many parts."""
        if same(size, count):
            return Parts(size, tidy(count), Const(1), True)
        m, n = known(count), known(size)
        if m is not None and m < 2:
            return Parts(size, Const(m), size, True)
        if m is None or n is None:
            return Parts(size, tidy(count), (size + count - 1) // count + 1, False)
        longest = max((-(-(i + 1) * n // m) - i * n // m for i in range(m)), default=0)
        return Parts(size, Const(m), Const(longest), n % m == 0)

    def begin(self, part: Expr) -> Expr:
        """The first element of a part."""
        return part * self.size // self.count

    def width(self, part: Expr) -> Expr:
        """How many elements a part has."""
        if self.equal:
            return self.longest
        return ((part + 1) * self.size + (self.count - 1)) // self.count - self.begin(part)


def _parts(x: Tensor, sizes: Sizes, rank: int) -> list[Parts]:
    given = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
    wanted = given * rank if len(given) == 1 else given
    return [Parts.of(n, m) for n, m in zip(x.shape[2:], wanted, strict=True)]


def _cell(
    parts: Sequence[Parts], index: Sequence[Expr], taps: Sequence[Expr]
) -> tuple[list[Expr], Expr | None]:
    """Where an element of a part stands, and whether the part has it, if not each has."""
    places, ok = [], None
    for p, i, k in zip(parts, index, taps, strict=True):
        places.append(p.begin(i) + k)
        if not p.equal:
            inside = k < p.width(i)
            ok = inside if ok is None else ok & inside
    return places, ok


def adaptive_avg(x: Tensor, rank: int, sizes: Sizes) -> Tensor:
    """The mean of each part."""
    parts, inner = _parts(x, sizes, rank), compute_type(x.dtype)

    def element(*index: Expr) -> Expr:
        ks = [te.reduce_axis(p.longest, "k") for p in parts]
        places, ok = _cell(parts, index[2:], ks)
        value = cast(x[(*index[:2], *places)], inner)
        total = te.sum(value if ok is None else select(ok, value, Const(0, inner)), ks)
        count: Expr = Const(1)
        for p, i in zip(parts, index[2:], strict=True):
            count = count * p.width(i)
        return cast(total / cast(count, inner), x.dtype)

    shape = (*x.shape[:2], *(p.count for p in parts))
    return te.compute(shape, element, te.fresh("adaptive_avg_pool"))


def adaptive_max(x: Tensor, rank: int, sizes: Sizes, place: bool) -> Tensor:
    """The greatest element of each part, or where it stands, counted through the dims."""
    parts, fold = _parts(x, sizes, rank), monoids.argmax_of(x.dtype)

    def element(*index: Expr) -> Expr:
        ks = [te.reduce_axis(p.longest, "k") for p in parts]
        places, ok = _cell(parts, index[2:], ks)
        value, at = x[(*index[:2], *places)], Const(0)
        flat: Expr = at
        for p, s in zip(places, parts, strict=True):
            flat = flat * s.size + p
        if ok is not None:
            value = select(ok, value, fold.identity[0])
            flat = select(ok, flat, fold.identity[1])
        if not place:
            return te.max(value, ks)
        return te.reduce(fold, (value, flat), ks, lambda _, best: best)

    shape = (*x.shape[:2], *(p.count for p in parts))
    return te.compute(shape, element, te.fresh("adaptive_max_pool"))


# --- rows

_SHAPE = (9, 8, 7)
_COUNTS = ((1, 1, 1), (4, 3, 7), (11, 2, 1), (3, 4, 5))


def _enter(rank: int) -> None:
    """The rows for one number of spatial dims."""

    def build_avg(x: Tensor, sizes: Sizes) -> Tensor:
        return batched(x, rank, lambda t: adaptive_avg(t, rank, sizes))

    def build_max(x: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor]:
        values = batched(x, rank, lambda t: adaptive_max(t, rank, sizes, place=False))
        return values, batched(x, rank, lambda t: adaptive_max(t, rank, sizes, place=True))

    samples = [sample(array(2, 3, *_SHAPE[:rank]), counts[:rank]) for counts in _COUNTS]
    name = f"adaptive_avg_pool{rank}d"
    core = () if rank == 1 else (f"aten._{name}.default",)
    aten = (f"aten.{name}.default", *core)
    rowwise(name, pool_reference.adaptive_avg(rank), *samples, aten=aten)(build_avg)
    rowwise(f"adaptive_max_pool{rank}d", pool_reference.adaptive_max(rank), *samples)(build_max)


for _rank in (1, 2, 3):
    _enter(_rank)
