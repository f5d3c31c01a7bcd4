"""Sizes of traced graphs as index expressions of tc.

torch keeps the size of a traced dim as a sympy expression over its symbols. This module turns one
into a `tc.ir` expression in normal form, so that equal sizes become equal expressions. It must not
look at graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from tc.errors import describe
from tc.frontend.captured import GraphError
from tc.frontend.importer_floats import float_of
from tc.frontend.signature import Symbol
from tc.ir.expr import Const, Expr, Sym, maximum, minimum
from tc.ir.types import DType
from tc.ops.dims import tidy

UNBOUNDED: Final = 1 << 31

DTYPES: Final[Mapping[torch.dtype, DType]] = {
    torch.bool: DType.BOOL,
    torch.int8: DType.I8,
    torch.int16: DType.I16,
    torch.int32: DType.I32,
    torch.int64: DType.I64,
    torch.uint8: DType.U8,
    torch.float16: DType.F16,
    torch.bfloat16: DType.BF16,
    torch.float32: DType.F32,
    torch.float64: DType.F64,
}


def dtype_of(dtype: torch.dtype) -> DType:
    """The element type; GraphError for those that tc lacks (complex, quantised)."""
    found = DTYPES.get(dtype)
    if found is None:
        known = ", ".join(str(t) for t in DTYPES)
        raise GraphError(
            describe(f"dtype {dtype}", why=f"tc computes with {known}", way_out="run it eagerly")
        )
    return found


def program_names(symbols: Sequence[Symbol]) -> tuple[str, ...]:
    """The names of a signature's symbols in its program: what they mean, where that is known.

    Torch numbers them as it meets them. Kernels of several programs of a model are only equal if
    the same size has the same name in all of them.
    """
    labels = [symbol.label for symbol in symbols]
    return tuple(
        s.label if s.label.isidentifier() and labels.count(s.label) == 1 else s.name
        for s in symbols
    )


class Sizes:
    """Turns sizes of one traced graph into expressions over its symbols."""

    def __init__(self, symbols: tuple[Symbol, ...]) -> None:
        self.symbols = {
            # An empty tensor runs no loop, so what is proven for a size of 1 or more is enough.
            s.name: Sym(name, max(1, s.low), UNBOUNDED if s.high is None else s.high)
            for s, name in zip(symbols, program_names(symbols), strict=True)
        }
        self._bound: dict[str, Expr] = {}
        self._seen: dict[Any, Expr] = {}

    def __call__(self, size: int | torch.SymInt) -> Expr:
        """The expression of a size that is a number or was traced."""
        if isinstance(size, torch.SymInt):
            return self.of_sympy(size.node.expr)
        return Const(int(size))

    def bind(self, traced: int | torch.SymInt, size: Expr) -> None:
        """Let a symbol that torch made for what it takes for data stand for a size."""
        expression = traced.node.expr if isinstance(traced, torch.SymInt) else None
        if expression is not None and expression.is_Symbol and not self._knows(expression):
            self._bound[str(expression)] = size

    def unknown(self, value: torch.Tensor) -> bool:
        """Whether a size of a traced tensor is such a symbol that stands for nothing yet."""
        sizes: Sequence[Any] = value.shape
        found = (n.node.expr for n in sizes if isinstance(n, torch.SymInt))
        return any(e.is_Symbol and not self._knows(e) for e in found)

    def _knows(self, symbol: Any) -> bool:
        return str(symbol) in self.symbols or str(symbol) in self._bound

    def number(self, value: float | torch.SymFloat) -> Expr:
        """The expression of a float that is a number or was made of sizes."""
        if isinstance(value, torch.SymFloat):
            return float_of(value.node.expr, self.of_sympy)
        return Const(float(value), DType.F64)

    def shape(self, value: torch.Tensor) -> tuple[Expr, ...]:
        """The shape of a traced tensor."""
        return tuple(self(n) for n in value.shape)

    def of_sympy(self, expression: Any) -> Expr:
        """The expression in normal form.

        Raises:
            GraphError: a size that data decides, or a function that no size needs.
        """
        found = self._seen.get(expression)
        if found is None:
            found = self._seen[expression] = tidy(self._build(expression))
        return found

    def _build(self, x: Any) -> Expr:
        if x.is_Integer:
            return Const(int(x))
        if x.is_Symbol:
            found = self.symbols.get(str(x), self._bound.get(str(x)))
            if found is not None:
                return found
            raise GraphError(
                describe(
                    f"size {x}",
                    why="no input has it, so it follows from data",
                    way_out="run the model eagerly",
                )
            )
        parts = [self._build(part) for part in x.args]
        out = _apply(x.func.__name__, parts)
        if out is None:
            raise GraphError(
                describe(f"size {x}", why=f"{x.func.__name__} of sizes", way_out="run it eagerly")
            )
        return out


def _apply(name: str, parts: list[Expr]) -> Expr | None:
    match name, parts:
        case "Add", _:
            total: Expr = Const(0)
            for part in parts:
                total = total + part
            return total
        case "Mul", _:
            product: Expr = Const(1)
            for part in parts:
                product = product * part
            return product
        case (("Pow" | "PowByNatural"), [base, Const(value=int(exponent))]) if exponent >= 0:
            power: Expr = Const(1)
            for _ in range(exponent):
                power = power * base
            return power
        case (("FloorDiv" | "CleanDiv"), [a, b]):
            return a // b
        case (("Mod" | "PythonMod"), [a, b]):
            return a % b
        case (("Max" | "Min"), [first, *rest]):
            for part in rest:
                first = maximum(first, part) if name == "Max" else minimum(first, part)
            return first
    return None
