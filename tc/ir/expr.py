"""Scalar expressions: immutable trees that both tensor expressions and loop IR are made of.

Nodes know nothing of how they are printed, simplified or compiled. What they mean is said once,
in `tc.ir`. This is the one module to import them from.
"""

from __future__ import annotations

from typing import Final

from tc.ir.arith import (
    BINARY_OPS,
    COMPARISONS,
    UNARY_OPS,
    Binary,
    Const,
    Expr,
    ExprLike,
    Sym,
    Unary,
    Var,
    binary,
    not_bool,
    unary,
    wrap,
)
from tc.ir.element import Read, Reduce
from tc.ir.nodes import (
    Bitcast,
    Broadcast,
    Cast,
    Dot,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Select,
    cast,
    equal,
    maximum,
    minimum,
    select,
)

__all__: Final = [
    "BINARY_OPS", "COMPARISONS", "UNARY_OPS",
    "Binary", "Bitcast", "Broadcast", "Cast", "Const", "Dot", "Expr", "ExprLike", "Fma",
    "LaneReduce", "Let", "Load", "Ramp", "Read", "Reduce", "Select", "Sym", "Unary", "Var",
    "binary", "cast", "equal", "maximum", "minimum", "not_bool", "select", "unary", "wrap",
]  # fmt: skip
