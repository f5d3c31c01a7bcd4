"""Vectors of 128 bits on x86-64 with SSE4: the rows of `tc.codegen.c.plain`, where many functions
are one instruction that C has no operator for.

This module holds small functions and a few rows, and no decisions.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c import avx2, plain
from tc.codegen.c.helpers import Helper, function
from tc.codegen.c.instructions import Isa, available, rows
from tc.codegen.c.plain import named
from tc.target import Target

_ROWS: Final = rows("sse4.1", """
dot7 u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u7_i8({a}, {b}, {c})
""")  # fmt: skip

_F, _I, _D = "tc_f32x4", "tc_i32x4", "tc_f64x2"
_WIDTHS: Final = (("i8", "int8_t", 32), ("u8", "uint8_t", 32), ("i16", "int16_t", 64),
                  ("u16", "uint16_t", 64))  # fmt: skip


def _narrow() -> dict[str, Helper]:
    """Lanes of 32 bits to and from elements of fewer."""
    out: dict[str, Helper] = {}
    for name, c, bits in _WIDTHS:
        wide = f"_mm_cvtep{name}_epi32(tc_load_{bits}(p))"
        out |= named(
            function(f"{_I} tc_widen_{name}(const {c} *p)", f"return ({_I}){wide};"),
            function(f"void tc_store_{name}({c} *p, {_I} x)", f"tc_low_{bits // 4}(p, x);"),
        )
    return out


HELPERS: Final = {
    **_narrow(),
    "tc_load_64": avx2.HELPERS["tc_load_64"],
    **named(
        function("__m128i tc_load_32(const void *p)",
                 "int32_t x;", "memcpy(&x, p, sizeof x);", "return _mm_cvtsi32_si128(x);"),
        function(f"void tc_low_16(void *p, {_I} x)",  # the lower half of each lane
                 "const __m128i low = (__m128i)(x & 0xffff);",
                 "_mm_storel_epi64((__m128i *)p, _mm_packus_epi32(low, low));"),
        function(f"void tc_low_8(void *p, {_I} x)",  # the lowest byte of each lane
                 "const __m128i low = (__m128i)(x & 0xff);",
                 "const __m128i pairs = _mm_packus_epi32(low, low);",
                 "const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(pairs, pairs));",
                 "memcpy(p, &bytes, sizeof bytes);"),
        function(f"{_F} tc_select_f32x4({_I} mask, {_F} a, {_F} b)",
                 "return _mm_blendv_ps(b, a, (__m128)mask);"),
        function(f"{_I} tc_select_i32x4({_I} mask, {_I} a, {_I} b)",
                 f"return ({_I})_mm_blendv_epi8((__m128i)b, (__m128i)a, (__m128i)mask);"),
        function(f"{_F} tc_max_f32x4({_F} a, {_F} b)",  # NaN where either side is
                 "return tc_select_f32x4(b == b, _mm_max_ps(b, a), b);"),
        function(f"{_F} tc_min_f32x4({_F} a, {_F} b)",
                 "return tc_select_f32x4(b == b, _mm_min_ps(b, a), b);"),
        function(f"{_F} tc_max_number({_F} a, {_F} b)", "return _mm_max_ps(b, a);"),
        function(f"{_F} tc_min_number({_F} a, {_F} b)", "return _mm_min_ps(b, a);"),
        function(f"{_F} tc_sqrt_f32x4({_F} x)", "return _mm_sqrt_ps(x);"),
        function(f"{_F} tc_floor_f32x4({_F} x)", "return _mm_floor_ps(x);"),
        function(f"{_F} tc_ceil_f32x4({_F} x)", "return _mm_ceil_ps(x);"),
        function(f"{_F} tc_trunc_f32x4({_F} x)",
                 "return _mm_round_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);"),
        function(f"{_F} tc_round_f32x4({_F} x)",
                 "return _mm_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);"),
        function(f"{_I} tc_min_i32x4({_I} a, {_I} b)",
                 f"return ({_I})_mm_min_epi32((__m128i)a, (__m128i)b);"),
        function(f"{_I} tc_max_i32x4({_I} a, {_I} b)",
                 f"return ({_I})_mm_max_epi32((__m128i)a, (__m128i)b);"),
        function(f"bool tc_any({_I} x)", "return _mm_movemask_ps((__m128)x) != 0;"),
        function(f"{_F} tc_f32x4_from_i32({_I} x)", "return _mm_cvtepi32_ps((__m128i)x);"),
        function(f"{_I} tc_i32x4_from_f32({_F} x)", f"return ({_I})_mm_cvttps_epi32(x);"),
        function(f"{_D} tc_low_f64x2({_F} x)", "return _mm_cvtps_pd(x);"),
        function(f"{_D} tc_high_f64x2({_F} x)", "return _mm_cvtps_pd(_mm_movehl_ps(x, x));"),
        function(f"{_F} tc_joined_f32x4({_D} x, {_D} y)",
                 "return _mm_movelh_ps(_mm_cvtpd_ps(x), _mm_cvtpd_ps(y));"),
        function(f"{_I} tc_dot_u7_i8(tc_u8x16 a, tc_i8x16 b, {_I} c)",  # twos fit 16 bits
                 "const __m128i twos = _mm_maddubs_epi16((__m128i)a, (__m128i)b);",
                 "const __m128i fours = _mm_madd_epi16(twos, _mm_set1_epi16(1));",
                 f"return tc_add_i32x4(c, ({_I})fours);"),
        function(f"{_I} tc_dot_u8_i8(tc_u8x16 a, tc_i8x16 b, {_I} c)",
                 "const __m128i x = (__m128i)a, y = (__m128i)b;",
                 "const __m128i even_x = _mm_and_si128(x, _mm_set1_epi16(255));",
                 "const __m128i even_y = _mm_srai_epi16(_mm_slli_epi16(y, 8), 8);",
                 "const __m128i odd_x = _mm_srli_epi16(x, 8), odd_y = _mm_srai_epi16(y, 8);",
                 f"c = tc_add_i32x4(c, ({_I})_mm_madd_epi16(even_x, even_y));",
                 f"return tc_add_i32x4(c, ({_I})_mm_madd_epi16(odd_x, odd_y));"),
    ),
}  # fmt: skip


def sse4(target: Target) -> Isa:
    """The table of an x86-64 target with SSE4 and no wider registers."""
    helpers = {**plain.HELPERS, **HELPERS}
    table = (*available(_ROWS, target), *plain.TABLE)
    return Isa("sse4", 128, avx2.HEADER, plain.TYPES, table, helpers, (), avx2.PREFETCH)
