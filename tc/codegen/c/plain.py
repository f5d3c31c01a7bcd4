"""Vectors of 128 bits as the extensions of C that gcc and clang share, without any header.

A type is declared by `__attribute__((vector_size(16)))`; operators of C work on its lanes, and a
comparison gives lanes of -1 and 0. What no operator says is a function of a few of them, or names
the lanes one by one, which both compilers make one instruction of where there is one.

This module holds rows and small functions, and no decisions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tc.codegen.c.helpers import Helper, function
from tc.codegen.c.instructions import Isa, rows
from tc.target import Target

TABLE: Final = rows("", """
load f32* -> f32 ; a[l] ; tc_load_f32x4({a})
load i32* -> i32 ; a[l] ; tc_load_i32x4({a})
load f64* -> f64 ; a[l] ; tc_load_f64x2({a})
load u8* -> u8 ; a[l] ; tc_load_u8x16({a})
load i8* -> i8 ; a[l] ; tc_load_i8x16({a})
load bf16* -> bf16 ; a[l] ; tc_load_u16x8({a})
load u8* -> i32 ; cast(a[l], i32) ; tc_widen_u8({a})
load i8* -> i32 ; cast(a[l], i32) ; tc_widen_i8({a})
load i16* -> i32 ; cast(a[l], i32) ; tc_widen_i16({a})
load bf16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ; tc_widen_u16({a})
load f16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ; tc_widen_u16({a})
load f32* m32 -> f32 ; select(b[l], a[l], 0.0:f32) ; tc_load_where_f32({a}, {b})
load i32* m32 -> i32 ; select(b[l], a[l], 0:i32) ; tc_load_where_i32({a}, {b})
load_apart f32* i641 -> f32 ; a[l * b[0]] ; tc_load_apart({a}, {b})
store f32* f32 -> ; b[l] ; tc_store_f32x4({a}, {b})
store i32* i32 -> ; b[l] ; tc_store_i32x4({a}, {b})
store f64* f64 -> ; b[l] ; tc_store_f64x2({a}, {b})
store i8* i32 -> ; cast(b[l], i8) ; tc_store_i8({a}, {b})
store u8* i32 -> ; cast(b[l], u8) ; tc_store_u8({a}, {b})
store i16* i32 -> ; cast(b[l], i16) ; tc_store_i16({a}, {b})
store bf16* i32 -> ; bitcast(cast(b[l], i16), bf16) ; tc_store_u16({a}, {b})
store f16* i32 -> ; bitcast(cast(b[l], i16), f16) ; tc_store_u16({a}, {b})
store f32* f32 m32 -> ; b[l] ; tc_store_where_f32({a}, {b}, {c})
store i32* i32 m32 -> ; b[l] ; tc_store_where_i32({a}, {b}, {c})
broadcast f321 -> f32 ; a[0] ; tc_all_f32({a})
broadcast i321 -> i32 ; a[0] ; tc_all_i32({a})
broadcast f641 -> f64 ; a[0] ; tc_all_f64({a})
broadcast u81 -> u8 ; a[0] ; tc_all_u8({a})
add f32 f32 -> f32 ; a[l] + b[l] ; {a} + {b}
sub f32 f32 -> f32 ; a[l] - b[l] ; {a} - {b}
mul f32 f32 -> f32 ; a[l] * b[l] ; {a} * {b}
div f32 f32 -> f32 ; a[l] / b[l] ; {a} / {b}
max f32 f32 -> f32 ; max(a[l], b[l]) ; tc_max_f32x4({a}, {b})
min f32 f32 -> f32 ; min(a[l], b[l]) ; tc_min_f32x4({a}, {b})
max_number f32 f32 -> f32 ; select(a[l] < b[l], b[l], a[l]) ; tc_max_number({a}, {b})
min_number f32 f32 -> f32 ; select(b[l] < a[l], b[l], a[l]) ; tc_min_number({a}, {b})
fma f32 f32 f32 -> f32 ; fma(a[l], b[l], c[l]) ; tc_fma_f32x4({a}, {b}, {c})
add f64 f64 -> f64 ; a[l] + b[l] ; {a} + {b}
sub f64 f64 -> f64 ; a[l] - b[l] ; {a} - {b}
mul f64 f64 -> f64 ; a[l] * b[l] ; {a} * {b}
div f64 f64 -> f64 ; a[l] / b[l] ; {a} / {b}
fma f64 f64 f64 -> f64 ; fma(a[l], b[l], c[l]) ; tc_fma_f64x2({a}, {b}, {c})
neg f32 -> f32 ; -a[l] ; -{a}
abs f32 -> f32 ; abs(a[l]) ; tc_abs_f32x4({a})
sqrt f32 -> f32 ; sqrt(a[l]) ; tc_sqrt_f32x4({a})
floor f32 -> f32 ; floor(a[l]) ; tc_floor_f32x4({a})
ceil f32 -> f32 ; ceil(a[l]) ; tc_ceil_f32x4({a})
trunc f32 -> f32 ; trunc(a[l]) ; tc_trunc_f32x4({a})
round f32 -> f32 ; round(a[l]) ; tc_round_f32x4({a})
isnan f32 -> m32 ; isnan(a[l]) ; tc_isnan_f32x4({a})
lt f32 f32 -> m32 ; a[l] < b[l] ; {a} < {b}
le f32 f32 -> m32 ; a[l] <= b[l] ; {a} <= {b}
eq f32 f32 -> m32 ; a[l] == b[l] ; {a} == {b}
ne f32 f32 -> m32 ; a[l] != b[l] ; {a} != {b}
lt i32 i32 -> m32 ; a[l] < b[l] ; {a} < {b}
le i32 i32 -> m32 ; a[l] <= b[l] ; {a} <= {b}
eq i32 i32 -> m32 ; a[l] == b[l] ; {a} == {b}
ne i32 i32 -> m32 ; a[l] != b[l] ; {a} != {b}
select m32 f32 f32 -> f32 ; select(a[l], b[l], c[l]) ; tc_select_f32x4({a}, {b}, {c})
select m32 i32 i32 -> i32 ; select(a[l], b[l], c[l]) ; tc_select_i32x4({a}, {b}, {c})
and m32 m32 -> m32 ; a[l] & b[l] ; {a} & {b}
or m32 m32 -> m32 ; a[l] | b[l] ; {a} | {b}
xor m32 m32 -> m32 ; a[l] ^ b[l] ; {a} ^ {b}
not m32 -> m32 ; ~a[l] ; ~{a}
below i641 -> m32 ; l < a[0] ; tc_below({a})
mask i32 -> m32 ; a[l] != 0:i32 ; tc_nonzero({a})
any m32 -> bool1 ; a[l] ; tc_any({a})
add i32 i32 -> i32 ; a[l] + b[l] ; tc_add_i32x4({a}, {b})
sub i32 i32 -> i32 ; a[l] - b[l] ; tc_sub_i32x4({a}, {b})
mul i32 i32 -> i32 ; a[l] * b[l] ; tc_mul_i32x4({a}, {b})
min i32 i32 -> i32 ; min(a[l], b[l]) ; tc_min_i32x4({a}, {b})
max i32 i32 -> i32 ; max(a[l], b[l]) ; tc_max_i32x4({a}, {b})
and i32 i32 -> i32 ; a[l] & b[l] ; {a} & {b}
or i32 i32 -> i32 ; a[l] | b[l] ; {a} | {b}
xor i32 i32 -> i32 ; a[l] ^ b[l] ; {a} ^ {b}
shl i32 i321 -> i32 ; a[l] << b[0] ; tc_shl_i32x4({a}, {b})
shr i32 i321 -> i32 ; a[l] >> b[0] ; {a} >> {b}
and u8 u8 -> u8 ; a[l] & b[l] ; {a} & {b}
cast i32 -> f32 ; cast(a[l], f32) ; tc_f32x4_from_i32({a})
cast f32 -> i32 ; cast(a[l], i32) ; tc_i32x4_from_f32({a})
bitcast i32 -> f32 ; bitcast(a[l], f32) ; (tc_f32x4){a}
bitcast f32 -> i32 ; bitcast(a[l], i32) ; (tc_i32x4){a}
bitcast i32 -> u8 ; bitcast(a[l], u8) ; (tc_u8x16){a}
bitcast i32 -> bf16 ; bitcast(a[l], bf16) ; (tc_u16x8){a}
widen bf16* -> f32 ; cast(a[l], f32) ; tc_load_wide_bf16({a})
widen_bf16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), bf16), f32) ; tc_wide_bf16({a})
narrow_bf16 f32 -> i32 ; cast(bitcast(cast(a[l], bf16), i16), i32) & 65535:i32 ;
tc_narrow_bf16({a})
widen_f16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), f16), f32) ; tc_wide_f16({a})
narrow_f16 f32 -> i32 ; cast(bitcast(cast(a[l], f16), i16), i32) & 65535:i32 ;
tc_narrow_f16({a})
reduce_add f32 -> f321 ; lanes_add(a[l]) ; tc_sum_f32x4({a})
reduce_max f32 -> f321 ; lanes_max(a[l]) ; tc_top_f32x4({a})
reduce_min f32 -> f321 ; lanes_min(a[l]) ; tc_least_f32x4({a})
reduce_add i32 -> i321 ; lanes_add(a[l]) ; tc_sum_i32x4({a})
reduce_max i32 -> i321 ; lanes_max(a[l]) ; tc_top_i32x4({a})
reduce_min i32 -> i321 ; lanes_min(a[l]) ; tc_least_i32x4({a})
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ; tc_dot_bf16({a}, {b}, {c})
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u8_i8({a}, {b}, {c})
""")  # fmt: skip

# Lanes: their name, their type in C, how many there are.
_LANES: Final = (
    ("f32", "float", 4), ("i32", "int32_t", 4), ("u32", "uint32_t", 4), ("f64", "double", 2),
    ("i64", "int64_t", 2), ("u64", "uint64_t", 2), ("i16", "int16_t", 8), ("u16", "uint16_t", 8),
    ("u8", "uint8_t", 16), ("i8", "int8_t", 16),
)  # fmt: skip
_HEADERS: Final = (("memcpy", "string.h"), ("NAN", "math.h"), ("fma", "math.h"),
                   ("sqrtf", "math.h"), ("_mm_", "immintrin.h"))  # fmt: skip
_F, _I, _U, _D, _L = "tc_f32x4", "tc_i32x4", "tc_u32x4", "tc_f64x2", "tc_i64x2"


def named(*texts: str) -> dict[str, Helper]:
    """Functions and types by their names, each with the headers and the others that it needs."""
    out: dict[str, Helper] = {}
    for text in texts:
        name = re.findall(r"tc_\w+(?=\(| __attribute__)", text)[0]
        headers = tuple(dict.fromkeys(h for word, h in _HEADERS if word in text))
        calls = dict.fromkeys(re.findall(r"tc_\w+", text))
        out[name] = Helper(text, headers, tuple(n for n in calls if n != name))
    return out


def _each(text: str) -> str:
    """`text` of lanes 0 to 3."""
    return "{" + ", ".join(text.replace("#", str(n)) for n in range(4)) + "}"


def _types() -> dict[str, Helper]:
    return named(*(
        f"typedef {c} tc_{name}x{count} __attribute__((vector_size(16)));"
        for name, c, count in _LANES
    ))  # fmt: skip


def _memory() -> dict[str, Helper]:
    """Whole registers from and to memory, which may begin anywhere; one number in all lanes."""
    out: dict[str, Helper] = {}
    for name, c, count in _LANES:
        kind = f"tc_{name}x{count}"
        every = ", ".join("x" * count)
        out |= named(
            function(f"{kind} tc_load_{name}x{count}(const {c} *p)",
                     f"{kind} x;", "memcpy(&x, p, sizeof x);", "return x;"),
            function(f"void tc_store_{name}x{count}({c} *p, {kind} x)", "memcpy(p, &x, sizeof x);"),
            function(f"{kind} tc_all_{name}({c} x)", f"return ({kind}){{{every}}};"),
        )  # fmt: skip
    return out


def _narrow() -> dict[str, Helper]:
    """Lanes of 32 bits to and from elements of fewer."""
    out: dict[str, Helper] = {}
    for name, c, _ in _LANES[6:]:
        out |= named(
            function(f"{_I} tc_widen_{name}(const {c} *p)", f"return ({_I}){_each('p[#]')};"),
            function(f"void tc_store_{name}({c} *p, {_I} x)",
                     *(f"p[{n}] = ({c})x[{n}];" for n in range(4))),
        )  # fmt: skip
    return out


def _where() -> dict[str, Helper]:
    """Loads and stores of the lanes of a mask: memory of the others is not touched."""
    out: dict[str, Helper] = {}
    for name, c, count in _LANES[:2]:
        kind = f"tc_{name}x{count}"
        out |= named(
            function(f"{kind} tc_load_where_{name}(const {c} *p, {_I} mask)",
                     f"{kind} x = {{0}};",
                     *(f"if (mask[{n}]) x[{n}] = p[{n}];" for n in range(4)), "return x;"),
            function(f"void tc_store_where_{name}({c} *p, {kind} x, {_I} mask)",
                     *(f"if (mask[{n}]) p[{n}] = x[{n}];" for n in range(4))),
        )  # fmt: skip
    return out


def _folds() -> dict[str, Helper]:
    """Halves, and halves of these."""
    names = {"sum": "add", "top": "max", "least": "min"}
    out = named(function(f"float tc_sum_f32x4({_F} x)", "return (x[0] + x[2]) + (x[1] + x[3]);"))
    for name, op in names.items():
        for kind, c in (("f32", "float"), ("i32", "int32_t")):
            f = f"tc_{op}_{kind}"
            text = f"return {f}({f}(x[0], x[2]), {f}(x[1], x[3]));"
            new = named(function(f"{c} tc_{name}_{kind}x4(tc_{kind}x4 x)", text))
            out = {**new, **out}
    return out


def _whole() -> dict[str, Helper]:
    """Sums and products of i32, which wrap; the greater and the lesser."""
    out: dict[str, Helper] = {}
    for name, op in (("add", "+"), ("sub", "-"), ("mul", "*")):
        text = f"return ({_I})(({_U})a {op} ({_U})b);"
        out |= named(function(f"{_I} tc_{name}_i32x4({_I} a, {_I} b)", text))
    for name, op in (("min", "<"), ("max", ">")):
        text = f"return tc_select_i32x4(a {op} b, a, b);"
        out |= named(function(f"{_I} tc_{name}_i32x4({_I} a, {_I} b)", text))
    return out


def _extremes() -> dict[str, Helper]:
    """Of floats: NaN where either side is, and those of which `b` is no NaN."""
    out: dict[str, Helper] = {}
    for name, op in (("min", "<"), ("max", ">")):
        out |= named(
            function(f"{_F} tc_{name}_f32x4({_F} a, {_F} b)",
                     f"return tc_select_f32x4((b {op} a) | (b != b), b, a);"),
            function(f"{_F} tc_{name}_number({_F} a, {_F} b)",
                     f"return tc_select_f32x4(b {op} a, b, a);"),
        )  # fmt: skip
    return out


_ROUNDING: Final = named(
    function(  # from 2 to the 23 on all are whole; below, the adder rounds at the right place
        f"{_F} tc_round_f32x4({_F} x)",
        f"const {_I} sign = ({_I})x & INT32_MIN;",
        f"const {_F} size = tc_abs_f32x4(x), whole = (size + 8388608.0f) - 8388608.0f;",
        f"return tc_select_f32x4(size < 8388608.0f, ({_F})(({_I})whole | sign), x);"),
    function(  # -0.0 stays
        f"{_F} tc_floor_f32x4({_F} x)",
        f"const {_I} sign = ({_I})x & INT32_MIN;",
        f"const {_F} near = tc_round_f32x4(x), one = tc_all_f32(1.0f);",
        f"const {_F} less = ({_F})((near > x) & ({_I})one);",
        f"return ({_F})(({_I})(near - less) | sign);"),
    function(
        f"{_F} tc_ceil_f32x4({_F} x)",
        "return -tc_floor_f32x4(-x);"),
    function(
        f"{_F} tc_trunc_f32x4({_F} x)",
        f"const {_I} sign = ({_I})x & INT32_MIN;",
        f"return ({_F})(({_I})tc_floor_f32x4(tc_abs_f32x4(x)) | sign);"),
)  # fmt: skip

_HALVES: Final = named(
    function(
        f"{_F} tc_load_wide_bf16(const uint16_t *p)",
        "return tc_wide_bf16(tc_widen_u16(p));"),
    function(
        f"{_F} tc_wide_bf16({_I} x)", f"return ({_F})(({_U})x << 16);"),
    function(
        f"{_I} tc_narrow_bf16({_F} x)",
        f"const {_U} bits = ({_U})x;",
        f"const {_U} even = bits + 0x7fffu + ((bits >> 16) & 1u);",
        f"const {_I} chosen = tc_select_i32x4(x == x, ({_I})even, ({_I})(bits | 0x400000u));",
        f"return ({_I})(({_U})chosen >> 16);"),
    # Giesen, "float -> half variants" (2012): to nearest even, with denormals.
    function(
        f"{_F} tc_wide_f16({_I} x)",
        f"const {_U} sign = (({_U})x & 0x8000u) << 16;",
        f"const {_I} rest = (x & 0x7fff) << 13;",
        f"const {_F} size = ({_F})rest * 5192296858534827628530496329220096.0f; /* 2 to the 112 */",
        f"const {_I} odd = (rest >= (0x7c00 << 13)) & 0x7f800000;",
        f"return ({_F})(({_U})size | ({_U})odd | sign);"),
    function(
        f"{_I} tc_narrow_f16({_F} x)",
        f"const {_I} sign = ({_I})x & INT32_MIN, bits = ({_I})x ^ sign;",
        f"const {_I} odd = ((bits > 0x7f800000) & 0x200) | 0x7c00;",
        "/* the adder of f32 rounds small ones at the right place */",
        f"const {_I} small = ({_I})(({_F})bits + 0.5f) - 0x3f000000;",
        f"const {_I} even = (bits - (112 << 23) + 0xfff + ((bits >> 13) & 1)) >> 13;",
        f"const {_I} half = tc_select_i32x4(bits < (113 << 23), small, even);",
        f"const {_I} all = tc_select_i32x4(bits >= (143 << 23), odd, half);",
        "return all | ((sign >> 16) & 0x8000);"),
)  # fmt: skip

_FUSES: Final = named(
    function(f"{_F} tc_fma_f32x4({_F} a, {_F} b, {_F} c)",
             f"return ({_F}){_each('fmaf(a[#], b[#], c[#])')};"),
)  # fmt: skip

# See `tc.codegen.c.helpers`, of which these are the lanes. Baseline x86-64 compares no integers of
# 64 bits: there are none here.
_FUSED: Final = named(
    function(
        f"{_D} tc_odd_fma_f64x2({_D} a, {_D} b, {_D} c)",
        f"const {_D} product = a * b, sum = product + c, part = sum - product;",
        f"const {_D} error = (product - (sum - part)) + (c - part);",
        f"const {_L} bits = ({_L})sum, other = ({_L})error;",
        "const tc_u64x2 turn = ((tc_u64x2)(bits ^ other) >> 62) & 2;",
        f"const {_L} place = 1 - ({_L})turn; /* away from zero, or towards it */",
        f"const {_L} inexact = (error < 0.0) | (error > 0.0), even = (bits & 1) - 1;",
        f"return ({_D})(bits + (place & even & inexact));"),
    function(f"{_D} tc_low_f64x2({_F} x)", f"return ({_D}){{(double)x[0], (double)x[1]}};"),
    function(f"{_D} tc_high_f64x2({_F} x)", f"return ({_D}){{(double)x[2], (double)x[3]}};"),
    function(  # as an array: of lanes alone gcc 12 would forget to round what is widened again
        f"{_F} tc_joined_f32x4({_D} x, {_D} y)",
        "const float lanes[4] = {(float)x[0], (float)x[1], (float)y[0], (float)y[1]};",
        "return tc_load_f32x4(lanes);"),
    function(
        f"{_F} tc_fma_f32x4({_F} a, {_F} b, {_F} c)",
        f"const {_D} x = tc_odd_fma_f64x2(tc_low_f64x2(a), tc_low_f64x2(b), tc_low_f64x2(c));",
        f"const {_D} y = tc_odd_fma_f64x2(tc_high_f64x2(a), tc_high_f64x2(b), tc_high_f64x2(c));",
        "return tc_joined_f32x4(x, y);"),
)  # fmt: skip

HELPERS: Final[Mapping[str, Helper]] = {
    **_types(), **_memory(), **_narrow(), **_where(), **_folds(), **_whole(), **_extremes(),
    **_ROUNDING, **_HALVES, **_FUSED,
    **named(
        function(f"{_F} tc_load_apart(const float *p, int64_t step)",
                 f"return ({_F}){_each('p[# * step]')};"),
        function(f"{_F} tc_select_f32x4({_I} mask, {_F} a, {_F} b)",
                 f"return ({_F})((mask & ({_I})a) | (~mask & ({_I})b));"),
        function(f"{_I} tc_select_i32x4({_I} mask, {_I} a, {_I} b)",
                 "return (mask & a) | (~mask & b);"),
        function(f"{_D} tc_fma_f64x2({_D} a, {_D} b, {_D} c)",
                 f"return ({_D}){{fma(a[0], b[0], c[0]), fma(a[1], b[1], c[1])}};"),
        function(f"{_F} tc_abs_f32x4({_F} x)", f"return ({_F})(({_I})x & INT32_MAX);"),
        function(f"{_F} tc_sqrt_f32x4({_F} x)", f"return ({_F}){_each('sqrtf(x[#])')};"),
        function(f"{_I} tc_isnan_f32x4({_F} x)", "return x != x;"),
        function(f"{_I} tc_below(int64_t n)",
                 "const int32_t count = n < 0 ? 0 : n > 4 ? 4 : (int32_t)n;",
                 f"return ({_I}){{0, 1, 2, 3}} < count;"),
        function(f"{_I} tc_nonzero({_I} x)", "return x != 0;"),
        function(f"bool tc_any({_I} x)", "return (x[0] | x[1] | x[2] | x[3]) != 0;"),
        function(f"{_I} tc_shl_i32x4({_I} x, int32_t n)", f"return ({_I})(({_U})x << n);"),
        function(f"{_F} tc_f32x4_from_i32({_I} x)", f"return ({_F}){_each('(float)x[#]')};"),
        function(  # what fits none gives the least one
            f"{_I} tc_i32x4_from_f32({_F} x)",
            f"const {_I} fits = (x >= -2147483648.0f) & (x < 2147483648.0f);",
            f"const {_F} y = ({_F})(fits & ({_I})x);",
            f"return tc_select_i32x4(fits, ({_I}){_each('(int32_t)y[#]')}, tc_all_i32(INT32_MIN));",
        ),
        function(
            f"{_F} tc_dot_bf16(tc_u16x8 a, tc_u16x8 b, {_F} c)",
            f"const {_U} x = ({_U})a, y = ({_U})b;",
            f"c = tc_fma_f32x4(({_F})(x << 16), ({_F})(y << 16), c);",
            f"return tc_fma_f32x4(({_F})(x & 0xffff0000u), ({_F})(y & 0xffff0000u), c);"),
        function(  # products of the even and of the odd bytes fit 16 bits
            f"{_I} tc_dot_u8_i8(tc_u8x16 a, tc_i8x16 b, {_I} c)",
            "const tc_u16x8 x = (tc_u16x8)a;",
            "const tc_i16x8 y = (tc_i16x8)b;",
            f"const {_I} even = ({_I})((tc_i16x8)(x & 255) * ((tc_i16x8)((tc_u16x8)y << 8) >> 8));",
            f"const {_I} odd = ({_I})((tc_i16x8)(x >> 8) * (y >> 8));",
            "c = tc_add_i32x4(c, (tc_shl_i32x4(even, 16) >> 16) + (even >> 16));",
            "return tc_add_i32x4(c, (tc_shl_i32x4(odd, 16) >> 16) + (odd >> 16));"),
    ),
}  # fmt: skip

TYPES: Final = {
    "f32": _F, "i32": _I, "f64": _D, "m32": _I, "u8": "tc_u8x16", "i8": "tc_i8x16",
    "bf16": "tc_u16x8",
}  # fmt: skip


def plain(target: Target) -> Isa:
    """The table of any target whose compiler is gcc or clang."""
    helpers = {**HELPERS, **_FUSES} if target.fuses else HELPERS
    return Isa("plain", 128, "", TYPES, TABLE, helpers)
