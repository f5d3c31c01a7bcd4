"""Walking graphs of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tc.ir.expr import Expr, Read
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.visit import sub_exprs


def bodies(t: Tensor) -> tuple[Expr, ...]:
    """The expressions that say what `t` holds."""
    match t:
        case Compute(body=body):
            return (body,)
        case Scan(value=value):
            return (value,)
        case Scatter(indices=indices, value=value, mask=mask):
            return (*indices, value) if mask is None else (*indices, value, mask)
    return ()


def reads(t: Tensor) -> Iterator[Read]:
    """Every element access in the expressions of `t`."""
    for body in bodies(t):
        for x in sub_exprs(body):
            if isinstance(x, Read):
                yield x


def operands(t: Tensor) -> tuple[Tensor, ...]:
    """The tensors that `t` is directly computed from, each once, in order of appearance."""
    found = {r.tensor.name: r.tensor for r in reads(t)}
    if isinstance(t, Scatter):
        found = {t.base.name: t.base} | found
    return tuple(found.values())


def topological(roots: Iterable[Tensor]) -> list[Tensor]:
    """All tensors that the roots need, and the roots; operands stand before their users."""
    order: dict[str, Tensor] = {}

    def visit(t: Tensor) -> None:
        if t.name in order:
            return
        for o in operands(t):
            visit(o)
        order[t.name] = t

    for r in roots:
        visit(r)
    return list(order.values())


def placeholders(roots: Iterable[Tensor]) -> list[Placeholder]:
    """The inputs, in order of first use."""
    return [t for t in topological(roots) if isinstance(t, Placeholder)]
