"""Operators on values in registers: the meaning that `tc.ir.expr` gives them, as LLVM instructions.

No fast-math flag is set. Nothing here traps: a divisor that may be zero or minus one is replaced
where it is, because both arms of a select are evaluated. This module must not touch memory.
"""

from __future__ import annotations

import math
from typing import Final

from tc.codegen.llvm.builder import LITERAL, Builder
from tc.codegen.llvm.text import float_literal, mangled, splat, value_type, vector
from tc.errors import InternalError
from tc.ir.expr import COMPARISONS
from tc.ir.interval import Interval
from tc.ir.types import BOOL, F64, U8, DType

_FLOAT: Final = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_ORDER: Final = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole"}
_INT: Final = frozenset(("add", "sub", "mul", "and", "or", "xor"))
_BOOL: Final = {"and": "and", "or": "or", "xor": "xor", "min": "and", "max": "or", "mul": "and",
                "add": "or"}  # fmt: skip


def binary(b: Builder, op: str, x: str, y: str, dtype: DType, lanes: int) -> str:
    """`op` of two values of one type, all operators but integer floordiv and mod.

    Shifts are by less than the width, see `shift`.
    """
    t = value_type(dtype, lanes)
    if dtype.is_float:
        return _float(b, op, x, y, dtype, lanes)
    unsigned = dtype is U8 or dtype is BOOL
    if op in COMPARISONS:
        sign = "" if op in ("eq", "ne") else "u" if unsigned else "s"
        return b.ins(f"icmp {sign}{op} {t} {x}, {y}")
    if dtype is BOOL and op in _BOOL:
        return b.ins(f"{_BOOL[op]} {t} {x}, {y}")
    if op in ("min", "max"):
        name = f"llvm.{'u' if unsigned else 's'}{op}.{mangled(value_type(dtype), lanes)}"
        return b.call(t, name, [t, t], [x, y])
    if op in ("shl", "shr"):
        inst = "shl" if op == "shl" else "lshr" if unsigned else "ashr"
        return b.ins(f"{inst} {t} {x}, {y}")
    if op in _INT:
        return b.ins(f"{op} {t} {x}, {y}")
    raise InternalError(f"emit: {op} of {dtype} has no machine instruction")


def _float(b: Builder, op: str, x: str, y: str, dtype: DType, lanes: int) -> str:
    t = value_type(dtype, lanes)
    if op in _FLOAT:
        return b.ins(f"{_FLOAT[op]} {t} {x}, {y}")
    if op in _ORDER:
        return b.ins(f"fcmp {_ORDER[op]} {t} {x}, {y}")
    if op in ("min", "max"):
        return extreme(b, op, x, y, t, lanes)
    if op in ("floordiv", "mod"):
        return _float_division(b, op, x, y, dtype, lanes)
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def extreme(b: Builder, op: str, x: str, y: str, t: str, lanes: int) -> str:
    """min or max that gives NaN when either side is NaN.

    One instruction where an operand is a literal, else three; `llvm.maximum` would order the signed
    zeros too. The comparison keeps `x` where an operand is NaN, so only `y` has to be looked at:
    the old value of a reduction is `x`, and its chain of dependent instructions stays short.
    """
    if _is_literal(x):
        x, y = y, x
    i1 = vector("i1", lanes)
    better = b.ins(f"fcmp {'ogt' if op == 'max' else 'olt'} {t} {y}, {x}")
    best = b.ins(f"select {i1} {better}, {t} {y}, {t} {x}")
    if _is_literal(y):
        return best
    unknown = b.ins(f"fcmp uno {t} {y}, {y}")
    # A literal NaN, not y: LLVM would merge the two selects and lose the instruction for max.
    nan = splat("double" if "double" in t else "float", float_literal(math.nan, True), lanes)
    return b.ins(f"select {i1} {unknown}, {t} {nan}, {t} {best}")


def _is_literal(x: str) -> bool:
    """Whether `x` is a literal and no NaN."""
    if x.startswith(f"%{LITERAL}"):
        return True
    return not x.startswith("%") and "7FF8" not in x and "FFF8" not in x


def _float_division(b: Builder, op: str, x: str, y: str, dtype: DType, lanes: int) -> str:
    """Python's floor division and remainder of floats, as NumPy computes them."""
    t, i1 = value_type(dtype, lanes), vector("i1", lanes)
    zero = splat(value_type(dtype), float_literal(0.0, dtype is F64), lanes)
    rest = b.ins(f"frem {t} {x}, {y}")
    some = b.ins(f"fcmp une {t} {rest}, {zero}")
    unlike = b.ins(
        f"xor {i1} {b.ins(f'fcmp olt {t} {rest}, {zero}')}, {b.ins(f'fcmp olt {t} {y}, {zero}')}"
    )
    fix = b.ins(f"and {i1} {some}, {unlike}")
    if op == "mod":
        mod = b.ins(f"select {i1} {fix}, {t} {b.ins(f'fadd {t} {rest}, {y}')}, {t} {rest}")
        name = f"llvm.copysign.{mangled(value_type(dtype), lanes)}"
        signed_zero = b.call(t, name, [t, t], [zero, y])
        return b.ins(f"select {i1} {some}, {t} {mod}, {t} {signed_zero}")
    whole = b.ins(f"fdiv {t} {b.ins(f'fsub {t} {x}, {rest}')}, {y}")
    name = f"llvm.rint.{mangled(value_type(dtype), lanes)}"
    nearest = b.call(t, name, [t], [whole])
    one = splat(value_type(dtype), float_literal(1.0, dtype is F64), lanes)
    nearest = b.ins(f"select {i1} {fix}, {t} {b.ins(f'fsub {t} {nearest}, {one}')}, {t} {nearest}")
    by_zero = b.ins(f"fcmp oeq {t} {y}, {zero}")
    return b.ins(f"select {i1} {by_zero}, {t} {b.ins(f'fdiv {t} {x}, {y}')}, {t} {nearest}")


def divide(
    b: Builder, op: str, x: str, y: str, dtype: DType, lanes: int, xs: Interval, ys: Interval
) -> str:
    """Integer floordiv or mod; `xs` and `ys` are what the operands are known to lie in."""
    t, i1 = value_type(dtype, lanes), vector("i1", lanes)
    d = ys.value
    if d is not None and d > 0 and d & (d - 1) == 0 and dtype is not U8:
        word = str(d.bit_length() - 1) if op == "floordiv" else str(d - 1)
        inst = "ashr" if op == "floordiv" else "and"
        return b.ins(f"{inst} {t} {x}, {splat(value_type(dtype), word, lanes)}")
    least = ys.lo if ys.lo is not None else -1

    def k(value: int) -> str:
        return splat(value_type(dtype), str(value), lanes)

    divisor = y
    if least < 1 and not (ys.hi is not None and ys.hi < -1):
        odd = b.ins(f"icmp eq {t} {y}, {k(0)}")
        if least < 0 and dtype is not U8:
            minus = b.ins(f"icmp eq {t} {y}, {k(-1)}")
            odd = b.ins(f"or {i1} {odd}, {minus}")
        divisor = b.ins(f"select {i1} {odd}, {t} {k(1)}, {t} {y}")
    unsigned = dtype is U8 or (xs.lo is not None and xs.lo >= 0 and least >= 0)
    if unsigned:
        return b.ins(f"{'udiv' if op == 'floordiv' else 'urem'} {t} {x}, {divisor}")
    rest = b.ins(f"srem {t} {x}, {divisor}")
    unlike = b.ins(f"icmp slt {t} {b.ins(f'xor {t} {rest}, {divisor}')}, {k(0)}")
    fix = b.ins(f"and {i1} {unlike}, {b.ins(f'icmp ne {t} {rest}, {k(0)}')}")
    if op == "mod":
        return b.ins(f"select {i1} {fix}, {t} {b.ins(f'add {t} {rest}, {divisor}')}, {t} {rest}")
    quotient = b.ins(f"sdiv {t} {x}, {divisor}")
    down = b.ins(f"sext {i1} {fix} to {t}")
    quotient = b.ins(f"add {t} {quotient}, {down}")
    if least < 0 and divisor != y:
        negated = b.ins(f"sub {t} {k(0)}, {x}")
        quotient = b.ins(f"select {i1} {minus}, {t} {negated}, {t} {quotient}")
    return quotient


def shift(b: Builder, op: str, x: str, y: str, dtype: DType, lanes: int, ys: Interval) -> str:
    """A shift by any number: by a width or more, all bits are gone. `y` lies in `ys`."""
    if ys.within(Interval(0, dtype.bits - 1)):
        return binary(b, op, x, y, dtype, lanes)
    t, i1 = value_type(dtype, lanes), vector("i1", lanes)
    most = splat(value_type(dtype), str(dtype.bits - 1), lanes)
    fits = b.ins(f"icmp ule {t} {y}, {most}")
    by = b.ins(f"select {i1} {fits}, {t} {y}, {t} {most}")
    out = binary(b, op, x, by, dtype, lanes)
    if op == "shr" and dtype is not U8:
        return out  # by one less than the width, the sign is left
    return b.ins(f"select {i1} {fits}, {t} {out}, {t} {splat(value_type(dtype), '0', lanes)}")


_ROUND: Final = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
                 "round": "roundeven", "abs": "fabs"}  # fmt: skip


def unary(b: Builder, op: str, x: str, dtype: DType, lanes: int) -> str:
    """The operators that machines have; the others were expanded before."""
    scalar, t = value_type(dtype), value_type(dtype, lanes)
    if op == "not":
        return b.ins(f"xor {t} {x}, {splat(scalar, 'true' if dtype is BOOL else '-1', lanes)}")
    if dtype.is_float:
        if op == "neg":
            return b.ins(f"fneg {t} {x}")
        if op in _ROUND:
            return b.call(t, f"llvm.{_ROUND[op]}.{mangled(scalar, lanes)}", [t], [x])
        if op == "isnan":
            return b.ins(f"fcmp uno {t} {x}, {x}")
        if op == "isinf":
            size = b.call(t, f"llvm.fabs.{mangled(scalar, lanes)}", [t], [x])
            infinity = float_literal(float("inf"), dtype is F64)
            return b.ins(f"fcmp oeq {t} {size}, {splat(scalar, infinity, lanes)}")
    else:
        if op == "neg":
            return b.ins(f"sub {t} {splat(scalar, '0', lanes)}, {x}")
        if op == "abs":
            if dtype in (U8, BOOL):
                return x
            name = f"llvm.abs.{mangled(scalar, lanes)}"
            return b.call(t, name, [t, "i1"], [x, "false"])
        if op in ("floor", "ceil", "trunc", "round"):
            return x
        if op in ("isnan", "isinf"):
            return splat("i1", "false", lanes)
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def lane_reduce(b: Builder, op: str, x: str, dtype: DType, lanes: int) -> str:
    """All lanes folded as a balanced tree of halves; an odd lane is folded in at the end."""
    scalar = value_type(dtype)
    left_over: list[str] = []
    while lanes > 1:
        t = vector(scalar, lanes)
        half = lanes // 2
        if lanes % 2:
            left_over.append(b.ins(f"extractelement {t} {x}, i64 {lanes - 1}"))
        parts = []
        for first in (0, half):
            picks = [str(n) for n in range(first, first + half)]
            if half == 1:
                parts.append(b.ins(f"extractelement {t} {x}, i64 {first}"))
            else:
                mask = f"<{half} x i32> {_picks(picks)}"
                parts.append(b.ins(f"shufflevector {t} {x}, {t} poison, {mask}"))
        x, lanes = binary(b, op, parts[0], parts[1], dtype, half), half
    for y in left_over:
        x = binary(b, op, x, y, dtype, 1)
    return x


def _picks(picks: list[str]) -> str:
    return "<" + ", ".join([f"i32 {p}" for p in picks]) + ">"


def fma_of_f32(b: Builder, x: str, y: str, z: str, lanes: int) -> str:
    """x * y + z of f32, rounded once, where no instruction does so.

    The product is exact in f64. The sum there is rounded to odd, so that rounding once more is
    right: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums" (2008). A function
    call would take each element several times as long.
    """
    single, double = vector("float", lanes), vector("double", lanes)
    i64, i1 = vector("i64", lanes), vector("i1", lanes)
    wide = [b.ins(f"fpext {single} {v} to {double}") for v in (x, y, z)]

    def of(op: str, p: str, q: str, t: str = double) -> str:
        return b.ins(f"{op} {t} {p}, {q}")

    def k(value: int) -> str:
        return splat("i64", str(value), lanes)

    product = of("fmul", wide[0], wide[1])
    total = of("fadd", product, wide[2])
    part = of("fsub", total, product)
    error = of("fadd", of("fsub", product, of("fsub", total, part)), of("fsub", wide[2], part))
    bits, other = (b.ins(f"bitcast {double} {v} to {i64}") for v in (total, error))
    even = of("icmp eq", of("and", bits, k(1), i64), k(0), i64)
    inexact = of("fcmp one", error, splat("double", float_literal(0.0, True), lanes))
    # One place away from zero where the error has the sign of the sum, else one towards it.
    place = of("or", of("ashr", of("xor", bits, other, i64), k(63), i64), k(1), i64)
    nudge = of("and", even, inexact, i1)
    odd = of("add", bits, f"{b.ins(f'select {i1} {nudge}, {i64} {place}, {i64} {k(0)}')}", i64)
    return b.ins(f"fptrunc {double} {b.ins(f'bitcast {i64} {odd} to {double}')} to {single}")
