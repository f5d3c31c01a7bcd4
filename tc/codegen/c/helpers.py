"""Small functions of C that kernels call for what C itself leaves undefined or cannot say.

Each is a row: its text, the headers that it needs and the other helpers that it calls. They give
the arithmetic that the docstring of `tc.ir` states: integers wrap around, NaN passes through min
and max, divisions round towards minus infinity, and nothing traps. This module must not know what
a kernel does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tc.frozen import frozen


@frozen
class Helper:
    """A static function: its text, the system headers it needs, the helpers that it calls."""

    text: str
    headers: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


def function(head: str, *body: str) -> str:
    """A static function of these lines."""
    return "\n".join([f"static inline {head}", "{", *[f"    {line}" for line in body], "}"])


def _wrapping() -> dict[str, Helper]:
    """Sums and products of i32 and i64 in unsigned arithmetic, which wraps."""
    out = {}
    for t, u in (("int32_t", "uint32_t"), ("int64_t", "uint64_t")):
        s = t[3:5]
        for name, op in (("add", "+"), ("sub", "-"), ("mul", "*")):
            out[f"tc_{name}_i{s}"] = Helper(
                function(f"{t} tc_{name}_i{s}({t} a, {t} b)", f"return ({t})(({u})a {op} ({u})b);")
            )
        out[f"tc_abs_i{s}"] = Helper(
            function(f"{t} tc_abs_i{s}({t} x)", f"return x < 0 ? ({t})(0u - ({u})x) : x;")
        )
    return out


_INTS: Final = (("i8", "int8_t", 8), ("u8", "uint8_t", 8), ("i16", "int16_t", 16),
                ("i32", "int32_t", 32), ("i64", "int64_t", 64))  # fmt: skip


def _division() -> dict[str, Helper]:
    """Quotients and remainders that round down; a divisor of 0 counts as 1, and -1 cannot trap."""
    out = {}
    for s, t, bits in _INTS:
        if s == "u8":
            quotient = ["return (uint8_t)(a / (b == 0 ? 1 : b));"]
            rest = ["return (uint8_t)(a % (b == 0 ? 1 : b));"]
        else:
            wide = t if bits >= 32 else "int"
            minus = f"return ({t})(0u - ({'uint64_t' if bits == 64 else 'uint32_t'})a);"
            quotient = [
                f"const {wide} d = b == 0 ? 1 : b;",
                f"if (d == -1) {minus}",
                f"return ({t})(a / d - ((a % d != 0) & ((a % d < 0) != (d < 0))));",
            ]
            rest = [
                f"const {wide} d = b == 0 || b == -1 ? 1 : b;",
                f"const {wide} r = a % d;",
                f"return ({t})(r != 0 && (r < 0) != (d < 0) ? r + d : r);",
            ]
        out[f"tc_floordiv_{s}"] = Helper(function(f"{t} tc_floordiv_{s}({t} a, {t} b)", *quotient))
        out[f"tc_mod_{s}"] = Helper(function(f"{t} tc_mod_{s}({t} a, {t} b)", *rest))
    return out


def _shifts() -> dict[str, Helper]:
    """Shifts by any number: by a width or more, all bits are gone."""
    out = {}
    for s, t, bits in _INTS:
        u = f"uint{max(bits, 32)}_t"
        fits = f"n < {bits}" if s == "u8" else f"n >= 0 && n < {bits}"
        out[f"tc_shl_{s}"] = Helper(
            function(
                f"{t} tc_shl_{s}({t} a, {t} n)",
                f"return ({t})({fits} ? ({u})a << n : 0);",
            )
        )
        gone = "0" if s == "u8" else "(a < 0 ? -1 : 0)"
        out[f"tc_shr_{s}"] = Helper(
            function(
                f"{t} tc_shr_{s}({t} a, {t} n)",
                f"return ({t})({fits} ? a >> n : {gone});",
            )
        )
    return out


def _extremes() -> dict[str, Helper]:
    """min and max, of floats NaN where either side is, and the question whether one is."""
    out = {}
    for s, t in (("f32", "float"), ("f64", "double")):
        # Not the macro of <math.h>, which is an int and to gcc no truth value.
        out[f"tc_isnan_{s}"] = Helper(
            function(f"bool tc_isnan_{s}({t} x)", "return x != x;"), ("stdbool.h",)
        )
        for name, op in (("min", "<"), ("max", ">")):
            out[f"tc_{name}_{s}"] = Helper(
                function(
                    f"{t} tc_{name}_{s}({t} a, {t} b)",
                    f"return b {op} a ? b : (b == b ? a : ({t})NAN);",
                ),
                ("math.h",),
            )
    for s, t, _ in _INTS:
        for name, op in (("min", "<"), ("max", ">")):
            out[f"tc_{name}_{s}"] = Helper(
                function(f"{t} tc_{name}_{s}({t} a, {t} b)", f"return a {op} b ? a : b;")
            )
    return out


def _float_division() -> dict[str, Helper]:
    """Python's floor division and remainder of floats."""
    out = {}
    for s, t, f in (("f32", "float", "f"), ("f64", "double", "")):
        zero = f"0.0{f}"
        out[f"tc_mod_{s}"] = Helper(
            function(
                f"{t} tc_mod_{s}({t} a, {t} b)",
                f"const {t} r = fmod{f}(a, b);",
                f"if (r == {zero}) return copysign{f}({zero}, b);",
                f"return (r < {zero}) != (b < {zero}) ? r + b : r;",
            ),
            ("math.h",),
        )
        out[f"tc_floordiv_{s}"] = Helper(
            function(
                f"{t} tc_floordiv_{s}({t} a, {t} b)",
                f"const {t} r = fmod{f}(a, b);",
                f"const {t} q = rint{f}((a - r) / b);",
                f"if (b == {zero}) return a / b;",
                f"return r != {zero} && (r < {zero}) != (b < {zero}) ? q - 1.0{f} : q;",
            ),
            ("math.h",),
        )
    return out


def _float_to_int() -> dict[str, Helper]:
    """Floats cut to integers; what fits none gives the least one, as x86 does."""
    out = {}
    for f, s, edge in (("float", "f32", ".0f"), ("double", "f64", ".0")):
        for bits in (32, 64):
            top = f"{2 ** (bits - 1)}{edge}"
            out[f"tc_i{bits}_from_{s}"] = Helper(
                function(
                    f"int{bits}_t tc_i{bits}_from_{s}({f} x)",
                    f"return x >= -{top} && x < {top} ? (int{bits}_t)x : INT{bits}_MIN;",
                )
            )
    return out


def _fused() -> dict[str, Helper]:
    """a * b + c of f32, rounded once, where no instruction does so.

    The product is exact in f64. The sum there is rounded to odd, so that rounding once more is
    right: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums" (2008). The error of
    a sum that is infinite or NaN is a NaN, which is not looked at.
    """
    text = function(
        "float tc_fma_f32(float a, float b, float c)",
        "const double product = (double)a * (double)b, wide = (double)c;",
        "const double sum = product + wide, part = sum - product;",
        "const double error = (product - (sum - part)) + (wide - part);",
        "double odd;",
        "int64_t bits, other;",
        "memcpy(&bits, &sum, sizeof bits);",
        "memcpy(&other, &error, sizeof other);",
        "const int64_t place = ((bits ^ other) >> 63) | 1; /* away from zero, or towards it */",
        "bits += (bits & 1) == 0 && (error < 0.0 || error > 0.0) ? place : 0;",
        "memcpy(&odd, &bits, sizeof odd);",
        "return (float)odd;",
    )
    return {"tc_fma_f32": Helper(text, ("string.h",))}


def _bits() -> dict[str, Helper]:
    """The same bits as another type."""
    out = {}
    types = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t"}
    for a, b in (("f32", "i32"), ("i32", "f32"), ("f64", "i64"), ("i64", "f64")):
        out[f"tc_{b}_of_bits_{a}"] = Helper(
            function(
                f"{types[b]} tc_{b}_of_bits_{a}({types[a]} x)",
                f"{types[b]} y;",
                "memcpy(&y, &x, sizeof y);",
                "return y;",
            ),
            ("string.h",),
        )
    word = ("int32_t x;", "memcpy(&x, p, sizeof x);", "return x;")
    out["tc_word"] = Helper(function("int32_t tc_word(const void *p)", *word), ("string.h",))
    return out


_HALVES: Final = {
    "tc_f32_from_bf16": Helper(
        function(
            "float tc_f32_from_bf16(uint16_t h)",
            "const uint32_t bits = (uint32_t)h << 16;",
            "float x;",
            "memcpy(&x, &bits, sizeof x);",
            "return x;",
        ),
        ("string.h",),
    ),
    "tc_bf16_from_f32": Helper(
        function(
            "uint16_t tc_bf16_from_f32(float x)",
            "uint32_t bits;",
            "memcpy(&bits, &x, sizeof bits);",
            "const uint32_t even = bits + 0x7fffu + ((bits >> 16) & 1u);",
            "return (uint16_t)((x != x ? bits | 0x400000u : even) >> 16);",
        ),
        ("string.h",),
    ),
    # Giesen, "float -> half variants" (2012): to nearest even, with denormals.
    "tc_f32_from_f16": Helper(
        function(
            "float tc_f32_from_f16(uint16_t h)",
            "const uint32_t sign = (uint32_t)(h & 0x8000) << 16;",
            "const uint32_t rest = (uint32_t)(h & 0x7fff) << 13;",
            "float x;",
            "uint32_t bits;",
            "memcpy(&x, &rest, sizeof x);",
            "x *= 5192296858534827628530496329220096.0f; /* 2 to the 112 */",
            "memcpy(&bits, &x, sizeof bits);",
            "if (rest >= (0x7c00u << 13)) bits |= 0x7f800000u;",
            "bits |= sign;",
            "memcpy(&x, &bits, sizeof x);",
            "return x;",
        ),
        ("string.h",),
    ),
    "tc_f16_from_f32": Helper(
        function(
            "uint16_t tc_f16_from_f32(float x)",
            "uint32_t bits, half;",
            "memcpy(&bits, &x, sizeof bits);",
            "const uint32_t sign = bits & 0x80000000u;",
            "bits ^= sign;",
            "if (bits >= (143u << 23)) {",
            "    half = bits > 0x7f800000u ? 0x7e00u : 0x7c00u;",
            "} else if (bits < (113u << 23)) { /* the adder of f32 rounds at the right place */",
            "    float small;",
            "    memcpy(&small, &bits, sizeof small);",
            "    small += 0.5f;",
            "    memcpy(&half, &small, sizeof half);",
            "    half -= 0x3f000000u;",
            "} else {",
            "    half = (bits - (112u << 23) + 0xfffu + ((bits >> 13) & 1u)) >> 13;",
            "}",
            "return (uint16_t)(half | (sign >> 16));",
        ),
        ("string.h",),
    ),
}

HELPERS: Final[Mapping[str, Helper]] = {
    **_wrapping(), **_division(), **_shifts(), **_extremes(), **_float_division(),
    **_float_to_int(), **_fused(), **_bits(), **_HALVES,
}  # fmt: skip


def closure(names: Iterable[str], table: Mapping[str, Helper] = HELPERS) -> dict[str, Helper]:
    """The helpers of these names and all that they call, each after those that it calls."""
    found: dict[str, Helper] = {}

    def add(name: str) -> None:
        if name not in found:
            for other in table[name].calls:
                add(other)
            found[name] = table[name]

    for name in names:
        add(name)
    return found
