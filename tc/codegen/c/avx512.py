"""The instructions of x86-64 with AVX-512, as <immintrin.h> names them.

This module holds rows and small functions, and no decisions.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c import avx2
from tc.codegen.c.helpers import Helper, function
from tc.codegen.c.instructions import Instruction, Isa, available, rows
from tc.target import Target

_BASE: Final = rows("avx512bw", """
load f32* -> f32 ; a[l] ; _mm512_loadu_ps({a})
load_apart f32* i641 -> f32 ; a[l * b[0]] ; tc_load_apart({a}, {b})
load i32* -> i32 ; a[l] ; _mm512_loadu_si512({a})
load f64* -> f64 ; a[l] ; _mm512_loadu_pd({a})
load u8* -> u8 ; a[l] ; _mm512_loadu_si512({a})
load i8* -> i8 ; a[l] ; _mm512_loadu_si512({a})
load bf16* -> bf16 ; a[l] ; _mm512_loadu_si512({a})
load u8* -> i32 ; cast(a[l], i32) ; _mm512_cvtepu8_epi32(tc_load_128({a}))
load i8* -> i32 ; cast(a[l], i32) ; _mm512_cvtepi8_epi32(tc_load_128({a}))
load i16* -> i32 ; cast(a[l], i32) ; _mm512_cvtepi16_epi32(tc_load_256({a}))
load bf16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
_mm512_cvtepu16_epi32(tc_load_256({a}))
load f16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
_mm512_cvtepu16_epi32(tc_load_256({a}))
load f32* m32 -> f32 ; select(b[l], a[l], 0.0:f32) ; _mm512_maskz_loadu_ps({b}, {a})
load i32* m32 -> i32 ; select(b[l], a[l], 0:i32) ; _mm512_maskz_loadu_epi32({b}, {a})
store f32* f32 -> ; b[l] ; _mm512_storeu_ps({a}, {b})
store i32* i32 -> ; b[l] ; _mm512_storeu_si512({a}, {b})
store f64* f64 -> ; b[l] ; _mm512_storeu_pd({a}, {b})
store i8* i32 -> ; cast(b[l], i8) ; tc_store_128({a}, _mm512_cvtepi32_epi8({b}))
store u8* i32 -> ; cast(b[l], u8) ; tc_store_128({a}, _mm512_cvtepi32_epi8({b}))
store i16* i32 -> ; cast(b[l], i16) ; tc_store_256({a}, _mm512_cvtepi32_epi16({b}))
store bf16* i32 -> ; bitcast(cast(b[l], i16), bf16) ; tc_store_256({a}, _mm512_cvtepi32_epi16({b}))
store f16* i32 -> ; bitcast(cast(b[l], i16), f16) ; tc_store_256({a}, _mm512_cvtepi32_epi16({b}))
store f32* f32 m32 -> ; b[l] ; _mm512_mask_storeu_ps({a}, {c}, {b})
store i32* i32 m32 -> ; b[l] ; _mm512_mask_storeu_epi32({a}, {c}, {b})
broadcast f321 -> f32 ; a[0] ; _mm512_set1_ps({a})
broadcast i321 -> i32 ; a[0] ; _mm512_set1_epi32({a})
broadcast f641 -> f64 ; a[0] ; _mm512_set1_pd({a})
broadcast u81 -> u8 ; a[0] ; _mm512_set1_epi8((char){a})
add f32 f32 -> f32 ; a[l] + b[l] ; _mm512_add_ps({a}, {b})
sub f32 f32 -> f32 ; a[l] - b[l] ; _mm512_sub_ps({a}, {b})
mul f32 f32 -> f32 ; a[l] * b[l] ; _mm512_mul_ps({a}, {b})
div f32 f32 -> f32 ; a[l] / b[l] ; _mm512_div_ps({a}, {b})
max f32 f32 -> f32 ; max(a[l], b[l]) ; tc_max_ps({a}, {b})
min f32 f32 -> f32 ; min(a[l], b[l]) ; tc_min_ps({a}, {b})
max_number f32 f32 -> f32 ; select(a[l] < b[l], b[l], a[l]) ; _mm512_max_ps({b}, {a})
min_number f32 f32 -> f32 ; select(b[l] < a[l], b[l], a[l]) ; _mm512_min_ps({b}, {a})
fma f32 f32 f32 -> f32 ; fma(a[l], b[l], c[l]) ; _mm512_fmadd_ps({a}, {b}, {c})
add f64 f64 -> f64 ; a[l] + b[l] ; _mm512_add_pd({a}, {b})
sub f64 f64 -> f64 ; a[l] - b[l] ; _mm512_sub_pd({a}, {b})
mul f64 f64 -> f64 ; a[l] * b[l] ; _mm512_mul_pd({a}, {b})
div f64 f64 -> f64 ; a[l] / b[l] ; _mm512_div_pd({a}, {b})
fma f64 f64 f64 -> f64 ; fma(a[l], b[l], c[l]) ; _mm512_fmadd_pd({a}, {b}, {c})
neg f32 -> f32 ; -a[l] ; _mm512_xor_ps({a}, _mm512_set1_ps(-0.0f))
abs f32 -> f32 ; abs(a[l]) ; _mm512_abs_ps({a})
sqrt f32 -> f32 ; sqrt(a[l]) ; _mm512_sqrt_ps({a})
floor f32 -> f32 ; floor(a[l]) ;
_mm512_roundscale_ps({a}, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)
ceil f32 -> f32 ; ceil(a[l]) ;
_mm512_roundscale_ps({a}, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)
trunc f32 -> f32 ; trunc(a[l]) ;
_mm512_roundscale_ps({a}, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
round f32 -> f32 ; round(a[l]) ;
_mm512_roundscale_ps({a}, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
isnan f32 -> m32 ; isnan(a[l]) ; _mm512_cmp_ps_mask({a}, {a}, _CMP_UNORD_Q)
lt f32 f32 -> m32 ; a[l] < b[l] ; _mm512_cmp_ps_mask({a}, {b}, _CMP_LT_OQ)
le f32 f32 -> m32 ; a[l] <= b[l] ; _mm512_cmp_ps_mask({a}, {b}, _CMP_LE_OQ)
eq f32 f32 -> m32 ; a[l] == b[l] ; _mm512_cmp_ps_mask({a}, {b}, _CMP_EQ_OQ)
ne f32 f32 -> m32 ; a[l] != b[l] ; _mm512_cmp_ps_mask({a}, {b}, _CMP_NEQ_UQ)
lt i32 i32 -> m32 ; a[l] < b[l] ; _mm512_cmplt_epi32_mask({a}, {b})
eq i32 i32 -> m32 ; a[l] == b[l] ; _mm512_cmpeq_epi32_mask({a}, {b})
select m32 f32 f32 -> f32 ; select(a[l], b[l], c[l]) ;
_mm512_mask_blend_ps({a}, {c}, {b})
select m32 i32 i32 -> i32 ; select(a[l], b[l], c[l]) ; _mm512_mask_blend_epi32({a}, {c}, {b})
and m32 m32 -> m32 ; a[l] & b[l] ; _kand_mask16({a}, {b})
or m32 m32 -> m32 ; a[l] | b[l] ; _kor_mask16({a}, {b})
xor m32 m32 -> m32 ; a[l] ^ b[l] ; _kxor_mask16({a}, {b})
not m32 -> m32 ; ~a[l] ; _knot_mask16({a})
below i641 -> m32 ; l < a[0] ; tc_below({a})
mask i32 -> m32 ; a[l] != 0:i32 ; _mm512_test_epi32_mask({a}, {a})
any m32 -> bool1 ; a[l] ; {a} != 0
add i32 i32 -> i32 ; a[l] + b[l] ; _mm512_add_epi32({a}, {b})
sub i32 i32 -> i32 ; a[l] - b[l] ; _mm512_sub_epi32({a}, {b})
mul i32 i32 -> i32 ; a[l] * b[l] ; _mm512_mullo_epi32({a}, {b})
min i32 i32 -> i32 ; min(a[l], b[l]) ; _mm512_min_epi32({a}, {b})
max i32 i32 -> i32 ; max(a[l], b[l]) ; _mm512_max_epi32({a}, {b})
and i32 i32 -> i32 ; a[l] & b[l] ; _mm512_and_si512({a}, {b})
or i32 i32 -> i32 ; a[l] | b[l] ; _mm512_or_si512({a}, {b})
xor i32 i32 -> i32 ; a[l] ^ b[l] ; _mm512_xor_si512({a}, {b})
shl i32 i321 -> i32 ; a[l] << b[0] ; _mm512_slli_epi32({a}, {b})
shr i32 i321 -> i32 ; a[l] >> b[0] ; _mm512_srai_epi32({a}, {b})
and u8 u8 -> u8 ; a[l] & b[l] ; _mm512_and_si512({a}, {b})
cast i32 -> f32 ; cast(a[l], f32) ; _mm512_cvtepi32_ps({a})
cast f32 -> i32 ; cast(a[l], i32) ; _mm512_cvttps_epi32({a})
bitcast i32 -> f32 ; bitcast(a[l], f32) ; _mm512_castsi512_ps({a})
bitcast f32 -> i32 ; bitcast(a[l], i32) ; _mm512_castps_si512({a})
bitcast i32 -> u8 ; bitcast(a[l], u8) ; {a}
bitcast i32 -> bf16 ; bitcast(a[l], bf16) ; {a}
widen bf16* -> f32 ; cast(a[l], f32) ; tc_widen_bf16({a})
widen_bf16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), bf16), f32) ;
_mm512_castsi512_ps(_mm512_slli_epi32({a}, 16))
narrow_bf16 f32 -> i32 ; cast(bitcast(cast(a[l], bf16), i16), i32) & 65535:i32 ;
tc_narrow_bf16({a})
widen_f16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), f16), f32) ;
_mm512_cvtph_ps(_mm512_cvtepi32_epi16({a}))
narrow_f16 f32 -> i32 ; cast(bitcast(cast(a[l], f16), i16), i32) & 65535:i32 ;
_mm512_cvtepu16_epi32(_mm512_cvtps_ph({a}, _MM_FROUND_TO_NEAREST_INT))
reduce_max f32 -> f321 ; lanes_max(a[l]) ; tc_top_ps({a})
reduce_add f32 -> f321 ; lanes_add(a[l]) ; tc_sum_ps({a})
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ; tc_dot_bf16({a}, {b}, {c})
dot7 u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u7_i8({a}, {b}, {c})
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u8_i8({a}, {b}, {c})
""")  # fmt: skip

_VNNI: Final = rows("avx512vnni", """
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; _mm512_dpbusd_epi32({c}, {a}, {b})
dot_fast u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; _mm512_dpbusd_epi32({c}, {a}, {b})
""")  # fmt: skip

_BF16: Final = rows("avx512bf16", """
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ;
_mm512_dpbf16_ps({c}, (__m512bh){a}, (__m512bh){b})
""")  # fmt: skip

_F, _I = "__m512", "__m512i"
HELPERS: Final = {
    "tc_load_256": avx2.HELPERS["tc_load_256"],
    "tc_load_128": avx2.HELPERS["tc_load_128"],
    "tc_store_256": avx2.HELPERS["tc_store_256"],
    "tc_store_128": avx2.HELPERS["tc_store_128"],
    "tc_load_apart": Helper(function(
        f"{_F} tc_load_apart(const float *p, int64_t step)",
        "const float *const q = p + 4 * step, *const r = q + 4 * step, *const s = r + 4 * step;",
        "return _mm512_setr_ps(p[0], p[step], p[2 * step], p[3 * step],",
        "                      q[0], q[step], q[2 * step], q[3 * step],",
        "                      r[0], r[step], r[2 * step], r[3 * step],",
        "                      s[0], s[step], s[2 * step], s[3 * step]);")),
    "tc_max_ps": Helper(function(  # NaN where either side is
        f"{_F} tc_max_ps({_F} a, {_F} b)",
        "const __mmask16 nan = _mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q);",
        "return _mm512_mask_mov_ps(_mm512_max_ps(b, a), nan, b);")),
    "tc_min_ps": Helper(function(
        f"{_F} tc_min_ps({_F} a, {_F} b)",
        "const __mmask16 nan = _mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q);",
        "return _mm512_mask_mov_ps(_mm512_min_ps(b, a), nan, b);")),
    "tc_below": Helper(function(
        "__mmask16 tc_below(int64_t n)",
        "return (__mmask16)(n < 0 ? 0u : n > 15 ? 0xffffu : (1u << n) - 1u);")),
    "tc_widen_bf16": Helper(function(
        f"{_F} tc_widen_bf16(const uint16_t *p)",
        "const __m512i x = _mm512_cvtepu16_epi32(tc_load_256(p));",
        "return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));"), (), ("tc_load_256",)),
    "tc_narrow_bf16": Helper(function(
        f"{_I} tc_narrow_bf16({_F} x)",
        "const __m512i bits = _mm512_castps_si512(x);",
        "const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));",
        "const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));",
        "const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));",
        "const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);",
        "const __m512i even = _mm512_add_epi32(bits, bias);",
        "return _mm512_srli_epi32(_mm512_mask_mov_epi32(even, nan, quiet), 16);")),
    "tc_sum_ps": Helper(function(  # halves, and halves of these
        f"float tc_sum_ps({_F} x)",
        "const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(x),",
        "                                   _mm512_extractf32x8_ps(x, 1));",
        "const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight),",
        "                               _mm256_extractf128_ps(eight, 1));",
        "const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));",
        "return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));")),
    "tc_top_ps": Helper(function(
        f"float tc_top_ps({_F} x)",
        "x = tc_max_ps(x, _mm512_shuffle_f32x4(x, x, 0x4e));",
        "x = tc_max_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));",
        "x = tc_max_ps(x, _mm512_permute_ps(x, 0x4e));",
        "return _mm512_cvtss_f32(tc_max_ps(x, _mm512_permute_ps(x, 0xb1)));"),
        calls=("tc_max_ps",)),
    "tc_dot_bf16": Helper(function(
        f"{_F} tc_dot_bf16({_I} a, {_I} b, {_F} c)",
        "const __m512i high = _mm512_set1_epi32(-65536);",
        "c = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(a, 16)),",
        "                    _mm512_castsi512_ps(_mm512_slli_epi32(b, 16)), c);",
        "return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(a, high)),",
        "                       _mm512_castsi512_ps(_mm512_and_si512(b, high)), c);")),
    "tc_dot_u7_i8": Helper(function(  # sums of two in 16 bits, which a of 7 bits cannot fill
        f"{_I} tc_dot_u7_i8({_I} a, {_I} b, {_I} c)",
        "const __m512i twos = _mm512_maddubs_epi16(a, b);",
        "return _mm512_add_epi32(c, _mm512_madd_epi16(twos, _mm512_set1_epi16(1)));")),
    "tc_dot_u8_i8": Helper(function(  # the even and the odd bytes in 16 bits
        f"{_I} tc_dot_u8_i8({_I} a, {_I} b, {_I} c)",
        "const __m512i even_a = _mm512_and_si512(a, _mm512_set1_epi16(255));",
        "const __m512i even_b = _mm512_srai_epi16(_mm512_slli_epi16(b, 8), 8);",
        "const __m512i odd_a = _mm512_srli_epi16(a, 8), odd_b = _mm512_srai_epi16(b, 8);",
        "c = _mm512_add_epi32(c, _mm512_madd_epi16(even_a, even_b));",
        "return _mm512_add_epi32(c, _mm512_madd_epi16(odd_a, odd_b));")),
}  # fmt: skip

ALL: Final[tuple[Instruction, ...]] = (*_VNNI, *_BF16, *_BASE)
TYPES: Final = {
    "f32": _F, "i32": _I, "f64": "__m512d", "m32": "__mmask16", "u8": _I, "i8": _I, "bf16": _I,
}  # fmt: skip


def avx512(target: Target) -> Isa:
    """The table of an x86-64 target with AVX-512."""
    return Isa(
        "avx512", 512, avx2.HEADER, TYPES, available(ALL, target), HELPERS, (), avx2.PREFETCH
    )
