"""Operators on scalars: the meaning that `tc.ir` gives them, as expressions of C.

Nothing here is undefined in C: where an operand may make it so, a helper is called. This module
must not touch memory.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c.text import (
    ATOM,
    HALVES,
    LOOSE,
    PREFIX,
    PRODUCT,
    SUM,
    VALUE,
    Term,
    float_literal,
    literal,
)
from tc.codegen.c.writer import Writer
from tc.errors import InternalError
from tc.ir.expr import COMPARISONS, Const
from tc.ir.interval import Interval
from tc.ir.types import BOOL, F16, F32, F64, HELD, I32, I64, U8, DType

_ORDER: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<="}
_SIGN: Final = {"add": "+", "sub": "-", "mul": "*", "div": "/", "and": "&", "or": "|", "xor": "^"}
_BOOL: Final = {"and": "&&", "or": "||", "xor": "!=", "min": "&&", "max": "||", "mul": "&&",
                "add": "||"}  # fmt: skip


def converted(kind: str, x: Term) -> Term:
    """`(kind)x`."""
    return Term(f"({kind}){x.within(PREFIX)}", PREFIX)


def infix(op: str, a: Term, b: Term) -> Term:
    """`a op b`."""
    if op in "*/%":
        return Term(f"{a.within(PRODUCT)} {op} {b.within(PREFIX)}", PRODUCT)
    if op in "+-":
        return Term(f"{a.within(SUM)} {op} {b.within(PRODUCT)}", SUM)
    within = SUM if op in ("<", "<=", ">", ">=", "==", "!=") else PREFIX
    return Term(f"{a.within(within)} {op} {b.within(within)}", LOOSE)


def fits(dtype: DType, x: Interval) -> bool:
    """Whether every number of the interval is one of the type."""
    held = HELD[dtype]
    return x.lo is not None and x.hi is not None and held[0] <= x.lo and x.hi <= held[-1]


def binary(w: Writer, op: str, a: Term, b: Term, dtype: DType, xs: Interval, ys: Interval) -> Term:
    """`op` of two values of one type; the intervals are what they are known to lie in."""
    if dtype in HALVES:
        wide = (widened(w, a, dtype), widened(w, b, dtype))
        out = binary(w, op, *wide, F32, xs, ys)
        return out if op in COMPARISONS else narrowed(w, out, dtype)
    if op in COMPARISONS:
        return infix(_ORDER[op], a, b)
    if dtype is BOOL:
        if op not in _BOOL:
            raise InternalError(f"emit: {op} of {dtype} has no operator in C")
        return infix(_BOOL[op], a, b)
    if dtype.is_float:
        return _float(w, op, a, b, dtype)
    if op in ("add", "sub", "mul"):
        return _whole(w, op, a, b, dtype, xs, ys)
    if op in ("and", "or", "xor"):
        out = infix(_SIGN[op], a, b)
        return out if dtype.bits >= 32 else converted(VALUE[dtype], out)
    if op in ("floordiv", "mod"):
        return _divide(w, op, a, b, dtype, xs, ys)
    if op in ("shl", "shr"):
        return _shift(w, op, a, b, dtype, ys)
    if op in ("min", "max"):
        return w.call(f"tc_{op}_{dtype}", a, b)
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def _float(w: Writer, op: str, a: Term, b: Term, dtype: DType) -> Term:
    if op in _SIGN:
        return infix(_SIGN[op], a, b)
    if op in ("min", "max"):
        if _is_number(a):
            a, b = b, a
        if _is_number(b) and a.level == ATOM:
            return Term(
                f"{b.text} {'<' if op == 'min' else '>'} {a.text} ? {b.text} : {a.text}", LOOSE
            )
        return w.call(f"tc_{op}_{dtype}", a, b)
    if op in ("floordiv", "mod"):
        return w.call(f"tc_{op}_{dtype}", a, b)
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def _is_number(x: Term) -> bool:
    """Whether `x` is a literal and no NaN; an expression may begin with one."""
    text = x.text.lstrip("-")
    return x.level <= PREFIX and (text[:1].isdigit() or text == "INFINITY")


def _whole(w: Writer, op: str, a: Term, b: Term, dtype: DType, xs: Interval, ys: Interval) -> Term:
    """Sums, differences and products, which wrap around."""
    out = xs + ys if op == "add" else xs - ys if op == "sub" else xs * ys
    if dtype.bits < 32:
        return converted(VALUE[dtype], infix(_SIGN[op], a, b))
    if fits(dtype, out) and fits(dtype, xs) and fits(dtype, ys):
        return infix(_SIGN[op], a, b)
    return w.call(f"tc_{op}_{dtype}", a, b)


def _divide(w: Writer, op: str, a: Term, b: Term, dtype: DType, xs: Interval, ys: Interval) -> Term:
    d = ys.value
    narrow = dtype.bits < 32
    if d is not None and d > 0 and d & (d - 1) == 0 and dtype is not U8:
        if op == "floordiv":
            out = infix(">>", a, Term(str(d.bit_length() - 1)))
        else:
            out = infix("&", a, Term(str(d - 1)))
        return converted(VALUE[dtype], out) if narrow else out
    least = ys.lo if ys.lo is not None else -1
    if least >= 1 and xs.lo is not None and xs.lo >= 0:
        out = infix("/" if op == "floordiv" else "%", a, b)
        return converted(VALUE[dtype], out) if narrow else out
    return w.call(f"tc_{op}_{dtype}", a, b)


def _shift(w: Writer, op: str, a: Term, b: Term, dtype: DType, ys: Interval) -> Term:
    lo, hi = ys.lo, ys.hi
    if lo is None or hi is None or lo < 0 or hi >= dtype.bits:
        return w.call(f"tc_{op}_{dtype}", a, b)
    if op == "shr":
        out = infix(">>", a, b)
        return out if dtype.bits >= 32 else converted(VALUE[dtype], out)
    unsigned = converted(f"uint{max(dtype.bits, 32)}_t", a)
    return converted(VALUE[dtype], infix("<<", unsigned, b))


_ROUND: Final = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc",
                 "round": "rint", "abs": "fabs"}  # fmt: skip


def unary(w: Writer, op: str, x: Term, dtype: DType) -> Term:
    """The operators that machines have; the others were expanded before."""
    if dtype in HALVES:
        out = unary(w, op, widened(w, x, dtype), F32)
        return out if op in ("isnan", "isinf") else narrowed(w, out, dtype)
    if op == "not":
        if dtype is BOOL:
            return Term(f"!{x.within(PREFIX)}", PREFIX)
        out = Term(f"~{x.within(PREFIX)}", PREFIX)
        return out if dtype.bits >= 32 else converted(VALUE[dtype], out)
    if dtype.is_float:
        return _float_unary(w, op, x, dtype)
    if op == "neg":
        zero = literal(Const(0, dtype))
        return _whole(w, "sub", zero, x, dtype, Interval(0, 0), Interval())
    if op == "abs":
        if dtype in (U8, BOOL):
            return x
        if dtype.bits >= 32:
            return w.call(f"tc_abs_{dtype}", x)
        return converted(VALUE[dtype], w.call("tc_abs_i32", x))
    if op in ("floor", "ceil", "trunc", "round"):
        return x
    if op in ("isnan", "isinf"):
        return Term("false")
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def _float_unary(w: Writer, op: str, x: Term, dtype: DType) -> Term:
    suffix = "" if dtype is F64 else "f"
    if op == "neg":
        return Term(f"-{x.atom}", PREFIX)
    if op in _ROUND:
        w.headers.add("math.h")
        return Term(f"{_ROUND[op]}{suffix}({x.text})")
    if op == "isnan":
        return w.call(f"tc_isnan_{dtype}", x)
    w.headers.add("math.h")
    if op == "isinf":
        return Term(f"fabs{suffix}({x.text}) == INFINITY", LOOSE)
    raise InternalError(f"emit: {op} of {dtype} should have been expanded before")


def fma(w: Writer, a: Term, b: Term, c: Term, dtype: DType, fuses: bool) -> Term:
    """a * b + c: rounded once if floats, wrapped if integers; `fuses`: see `Target.fuses`."""
    if dtype in HALVES:
        a, b, c = (widened(w, v, dtype) for v in (a, b, c))
        return narrowed(w, fma(w, a, b, c, F32, fuses), dtype)
    if dtype is F32 and not fuses:
        return w.call("tc_fma_f32", a, b, c)
    if dtype.is_float:
        w.headers.add("math.h")
        return Term(f"fma{'' if dtype is F64 else 'f'}({a.text}, {b.text}, {c.text})")
    every = Interval()
    product = _whole(w, "mul", a, b, dtype, every, every)
    return _whole(w, "add", product, c, dtype, every, every)


def cast(w: Writer, x: Term, src: DType, dst: DType) -> Term:
    """The value `x` of type `src` as a `dst`."""
    if src is dst:
        return x
    if src in HALVES:
        return cast(w, widened(w, x, src), F32, dst)
    if dst in HALVES:
        return narrowed(w, cast(w, x, src, F32), dst)
    if dst is BOOL:
        zero = float_literal(0.0, src is F64) if src.is_float else Term("0")
        return infix("!=", x, zero)
    if src.is_float and not dst.is_float:
        # Through 32 bits, so that u8 and the small types wrap as PyTorch's do.
        whole = w.call(f"tc_{'i64' if dst is I64 else 'i32'}_from_{src}", x)
        return whole if dst in (I32, I64) else converted(VALUE[dst], whole)
    return converted(VALUE[dst], x)


def widened(w: Writer, x: Term, src: DType) -> Term:
    """f16 or bf16 to f32, exact."""
    return w.call(f"tc_f32_from_{src}", x)


def narrowed(w: Writer, x: Term, dst: DType) -> Term:
    """f32 to f16 or bf16, to nearest even."""
    return w.call(f"tc_{dst}_from_f32", x)


def bitcast(w: Writer, x: Term, src: DType, dst: DType) -> Term:
    """The same bits as another type of the same size."""
    if src is dst or VALUE[src] == VALUE[dst]:
        return x
    if src.bits >= 32:
        return w.call(f"tc_{dst}_of_bits_{src}", x)
    if dst is BOOL:
        return infix("!=", x, Term("0"))
    return converted(VALUE[dst], x)


def piece(w: Writer, x: Term, src: DType, number: Term, dst: DType) -> Term:
    """Element `number` of those of type `dst` that lie in the bits of `x`, the lowest first."""
    bits = (
        bitcast(w, x, src, I64 if src.bits == 64 else I32) if src.is_float and src.bits >= 32 else x
    )
    unsigned = f"uint{src.bits}_t"
    shift = infix("*", number, Term(str(dst.bits)))
    if number.text.isdigit():
        shift = Term(str(int(number.text) * dst.bits))
    part = infix(">>", converted(unsigned, bits), shift)
    narrow = {8: "uint8_t", 16: "uint16_t", 32: "int32_t"}[dst.bits]
    out = converted(narrow, part)
    return bitcast(w, out, {8: U8, 16: F16, 32: I32}[dst.bits], dst)


def joined(w: Writer, parts: list[Term], src: DType, dst: DType) -> Term:
    """The element of type `dst` whose bits are those of `parts`, the lowest first."""
    unsigned = f"uint{dst.bits}_t"
    bits = []
    for n, x in enumerate(parts):
        whole = bitcast(w, x, src, {32: I32, 64: I64}[src.bits]) if src.bits >= 32 else x
        one = converted(unsigned, converted(f"uint{src.bits}_t", whole))
        bits.append(infix("<<", one, Term(str(n * src.bits))).atom if n else one.text)
    out = Term(" | ".join(bits), LOOSE)
    whole_type = {16: F16, 32: I32, 64: I64}[dst.bits]
    out = converted(VALUE[whole_type], out)
    return bitcast(w, out, whole_type, dst)
