"""Sums of products of small elements, as the dot instructions of a target compute them."""

from __future__ import annotations

from typing import Final

from tc.ir.expr import Binary, Expr, Load
from tc.ir.loop import For, Func, If, LoopKind, Stmt, Update
from tc.ir.passes.dots import unmasked
from tc.ir.types import BF16, F32, I8, I32, U8, DType
from tc.schedule.rewrite import constant, header, primitive, refuse, rewrite_loops

# What is multiplied, in what type it is summed, and how many products one lane takes.
DOTS: Final[dict[tuple[DType, DType, DType], int]] = {
    (BF16, BF16, F32): 2,
    (U8, I8, I32): 4,
}


@primitive
def tensorize(func: Func, loop: str) -> Func:
    """Take the iterations of `loop` together, by a dot instruction where the target has one.

    rewrite: for k1 in range(2): acc[j] <sum[f32]>= cast(a[k1], f32) * cast(b[j, k1], f32)
    into:    for k1 in dot(2): acc[j] <sum[f32]>= cast(a[k1], f32) * cast(b[j, k1], f32)

    The plain loop is the meaning, but for the order in which f32 sums are rounded. Factors are
    two bf16 each summed in f32, or four u8 (some of whose bits may be masked) and four i8 summed
    in i32; they should lie side by side in memory, else the loop is merely unrolled.
    Raises ScheduleError: no such loop, other factors, or another number of them.
    """

    def fn(x: For) -> Stmt:
        length = dot_length(x.body)
        if length is None:
            raise refuse(
                "tensorize", header(x), "its body is no sum of products that a dot instruction has",
                "factors are bf16 and bf16, or u8 and i8, cast to f32 or i32",
            )  # fmt: skip
        if constant(x.extent) != length:
            raise refuse(
                "tensorize", header(x), f"a dot product takes {length} of them",
                f"split the loop by {length} first",
            )  # fmt: skip
        return For(x.var, x.extent, LoopKind.DOT, x.body)

    return rewrite_loops(func, "tensorize", loop, fn)


def dot_length(s: Stmt) -> int | None:
    """How many products of that kind an instruction sums."""
    while isinstance(s, If) and s.other is None:
        s = s.then
    match s:
        case Update(monoid, (_,), _, (Binary("mul", a, b),)) if monoid.name == "sum":
            x, y = _element(a), _element(b)
            if x is None or y is None:
                return None
            total = monoid.dtypes[0]
            return DOTS.get((x, y, total)) or DOTS.get((y, x, total))
    return None


def _element(x: Expr) -> DType | None:
    """The element type of a factor, before it was cast."""
    x = unmasked(x)
    return x.dtype if isinstance(x, Load) else None
