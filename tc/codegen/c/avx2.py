"""The instructions of x86-64 with AVX2 and FMA, as <immintrin.h> names them.

This module holds rows and small functions, and no decisions.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c.helpers import Helper, function
from tc.codegen.c.instructions import Instruction, Isa, available, rows
from tc.target import Target

HEADER: Final = "immintrin.h"
PREFETCH: Final = "_mm_prefetch({p}, _MM_HINT_T{level})"

_BASE: Final = rows("avx2", """
load f32* -> f32 ; a[l] ; _mm256_loadu_ps({a})
load_apart f32* i641 -> f32 ; a[l * b[0]] ; tc_load_apart({a}, {b})
load i32* -> i32 ; a[l] ; tc_load_256({a})
load f64* -> f64 ; a[l] ; _mm256_loadu_pd({a})
load u8* -> u8 ; a[l] ; tc_load_256({a})
load i8* -> i8 ; a[l] ; tc_load_256({a})
load bf16* -> bf16 ; a[l] ; tc_load_256({a})
load u8* -> i32 ; cast(a[l], i32) ; _mm256_cvtepu8_epi32(tc_load_64({a}))
load i8* -> i32 ; cast(a[l], i32) ; _mm256_cvtepi8_epi32(tc_load_64({a}))
load i16* -> i32 ; cast(a[l], i32) ; _mm256_cvtepi16_epi32(tc_load_128({a}))
load bf16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
_mm256_cvtepu16_epi32(tc_load_128({a}))
load f16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
_mm256_cvtepu16_epi32(tc_load_128({a}))
load f32* m32 -> f32 ; select(b[l], a[l], 0.0:f32) ; _mm256_maskload_ps({a}, {b})
load i32* m32 -> i32 ; select(b[l], a[l], 0:i32) ; _mm256_maskload_epi32({a}, {b})
store f32* f32 -> ; b[l] ; _mm256_storeu_ps({a}, {b})
store i32* i32 -> ; b[l] ; tc_store_256({a}, {b})
store f64* f64 -> ; b[l] ; _mm256_storeu_pd({a}, {b})
store i8* i32 -> ; cast(b[l], i8) ; tc_store_8({a}, {b})
store u8* i32 -> ; cast(b[l], u8) ; tc_store_8({a}, {b})
store i16* i32 -> ; cast(b[l], i16) ; tc_store_128({a}, tc_low_16({b}))
store bf16* i32 -> ; bitcast(cast(b[l], i16), bf16) ; tc_store_128({a}, tc_low_16({b}))
store f16* i32 -> ; bitcast(cast(b[l], i16), f16) ; tc_store_128({a}, tc_low_16({b}))
store f32* f32 m32 -> ; b[l] ; _mm256_maskstore_ps({a}, {c}, {b})
store i32* i32 m32 -> ; b[l] ; _mm256_maskstore_epi32({a}, {c}, {b})
broadcast f321 -> f32 ; a[0] ; _mm256_set1_ps({a})
broadcast i321 -> i32 ; a[0] ; _mm256_set1_epi32({a})
broadcast f641 -> f64 ; a[0] ; _mm256_set1_pd({a})
broadcast u81 -> u8 ; a[0] ; _mm256_set1_epi8((char){a})
add f32 f32 -> f32 ; a[l] + b[l] ; _mm256_add_ps({a}, {b})
sub f32 f32 -> f32 ; a[l] - b[l] ; _mm256_sub_ps({a}, {b})
mul f32 f32 -> f32 ; a[l] * b[l] ; _mm256_mul_ps({a}, {b})
div f32 f32 -> f32 ; a[l] / b[l] ; _mm256_div_ps({a}, {b})
max f32 f32 -> f32 ; max(a[l], b[l]) ; tc_max_ps({a}, {b})
min f32 f32 -> f32 ; min(a[l], b[l]) ; tc_min_ps({a}, {b})
max_number f32 f32 -> f32 ; select(a[l] < b[l], b[l], a[l]) ; _mm256_max_ps({b}, {a})
min_number f32 f32 -> f32 ; select(b[l] < a[l], b[l], a[l]) ; _mm256_min_ps({b}, {a})
fma f32 f32 f32 -> f32 ; fma(a[l], b[l], c[l]) ; _mm256_fmadd_ps({a}, {b}, {c})
add f64 f64 -> f64 ; a[l] + b[l] ; _mm256_add_pd({a}, {b})
sub f64 f64 -> f64 ; a[l] - b[l] ; _mm256_sub_pd({a}, {b})
mul f64 f64 -> f64 ; a[l] * b[l] ; _mm256_mul_pd({a}, {b})
div f64 f64 -> f64 ; a[l] / b[l] ; _mm256_div_pd({a}, {b})
fma f64 f64 f64 -> f64 ; fma(a[l], b[l], c[l]) ; _mm256_fmadd_pd({a}, {b}, {c})
neg f32 -> f32 ; -a[l] ; _mm256_xor_ps({a}, _mm256_set1_ps(-0.0f))
abs f32 -> f32 ; abs(a[l]) ; _mm256_andnot_ps(_mm256_set1_ps(-0.0f), {a})
sqrt f32 -> f32 ; sqrt(a[l]) ; _mm256_sqrt_ps({a})
floor f32 -> f32 ; floor(a[l]) ; _mm256_floor_ps({a})
ceil f32 -> f32 ; ceil(a[l]) ; _mm256_ceil_ps({a})
trunc f32 -> f32 ; trunc(a[l]) ; _mm256_round_ps({a}, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC)
round f32 -> f32 ; round(a[l]) ;
_mm256_round_ps({a}, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
isnan f32 -> m32 ; isnan(a[l]) ; _mm256_castps_si256(_mm256_cmp_ps({a}, {a}, _CMP_UNORD_Q))
lt f32 f32 -> m32 ; a[l] < b[l] ; _mm256_castps_si256(_mm256_cmp_ps({a}, {b}, _CMP_LT_OQ))
le f32 f32 -> m32 ; a[l] <= b[l] ; _mm256_castps_si256(_mm256_cmp_ps({a}, {b}, _CMP_LE_OQ))
eq f32 f32 -> m32 ; a[l] == b[l] ; _mm256_castps_si256(_mm256_cmp_ps({a}, {b}, _CMP_EQ_OQ))
ne f32 f32 -> m32 ; a[l] != b[l] ; _mm256_castps_si256(_mm256_cmp_ps({a}, {b}, _CMP_NEQ_UQ))
lt i32 i32 -> m32 ; a[l] < b[l] ; _mm256_cmpgt_epi32({b}, {a})
eq i32 i32 -> m32 ; a[l] == b[l] ; _mm256_cmpeq_epi32({a}, {b})
select m32 f32 f32 -> f32 ; select(a[l], b[l], c[l]) ;
_mm256_blendv_ps({c}, {b}, _mm256_castsi256_ps({a}))
select m32 i32 i32 -> i32 ; select(a[l], b[l], c[l]) ; _mm256_blendv_epi8({c}, {b}, {a})
and m32 m32 -> m32 ; a[l] & b[l] ; _mm256_and_si256({a}, {b})
or m32 m32 -> m32 ; a[l] | b[l] ; _mm256_or_si256({a}, {b})
xor m32 m32 -> m32 ; a[l] ^ b[l] ; _mm256_xor_si256({a}, {b})
not m32 -> m32 ; ~a[l] ; _mm256_xor_si256({a}, _mm256_set1_epi32(-1))
below i641 -> m32 ; l < a[0] ; tc_below({a})
mask i32 -> m32 ; a[l] != 0:i32 ; tc_nonzero({a})
any m32 -> bool1 ; a[l] ; _mm256_movemask_epi8({a}) != 0
add i32 i32 -> i32 ; a[l] + b[l] ; _mm256_add_epi32({a}, {b})
sub i32 i32 -> i32 ; a[l] - b[l] ; _mm256_sub_epi32({a}, {b})
mul i32 i32 -> i32 ; a[l] * b[l] ; _mm256_mullo_epi32({a}, {b})
min i32 i32 -> i32 ; min(a[l], b[l]) ; _mm256_min_epi32({a}, {b})
max i32 i32 -> i32 ; max(a[l], b[l]) ; _mm256_max_epi32({a}, {b})
and i32 i32 -> i32 ; a[l] & b[l] ; _mm256_and_si256({a}, {b})
or i32 i32 -> i32 ; a[l] | b[l] ; _mm256_or_si256({a}, {b})
xor i32 i32 -> i32 ; a[l] ^ b[l] ; _mm256_xor_si256({a}, {b})
shl i32 i321 -> i32 ; a[l] << b[0] ; _mm256_slli_epi32({a}, {b})
shr i32 i321 -> i32 ; a[l] >> b[0] ; _mm256_srai_epi32({a}, {b})
and u8 u8 -> u8 ; a[l] & b[l] ; _mm256_and_si256({a}, {b})
cast i32 -> f32 ; cast(a[l], f32) ; _mm256_cvtepi32_ps({a})
cast f32 -> i32 ; cast(a[l], i32) ; _mm256_cvttps_epi32({a})
bitcast i32 -> f32 ; bitcast(a[l], f32) ; _mm256_castsi256_ps({a})
bitcast f32 -> i32 ; bitcast(a[l], i32) ; _mm256_castps_si256({a})
bitcast i32 -> u8 ; bitcast(a[l], u8) ; {a}
bitcast i32 -> bf16 ; bitcast(a[l], bf16) ; {a}
widen bf16* -> f32 ; cast(a[l], f32) ; tc_widen_bf16({a})
widen_bf16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), bf16), f32) ;
_mm256_castsi256_ps(_mm256_slli_epi32({a}, 16))
narrow_bf16 f32 -> i32 ; cast(bitcast(cast(a[l], bf16), i16), i32) & 65535:i32 ;
tc_narrow_bf16({a})
widen_f16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), f16), f32) ; _mm256_cvtph_ps(tc_low_16({a}))
narrow_f16 f32 -> i32 ; cast(bitcast(cast(a[l], f16), i16), i32) & 65535:i32 ;
_mm256_cvtepu16_epi32(_mm256_cvtps_ph({a}, _MM_FROUND_TO_NEAREST_INT))
reduce_max f32 -> f321 ; lanes_max(a[l]) ; tc_top_ps({a})
reduce_add f32 -> f321 ; lanes_add(a[l]) ; tc_sum_ps({a})
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ; tc_dot_bf16({a}, {b}, {c})
dot7 u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u7_i8({a}, {b}, {c})
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u8_i8({a}, {b}, {c})
""")  # fmt: skip

_F, _I = "__m256", "__m256i"
HELPERS: Final = {
    "tc_load_256": Helper(function(
        f"{_I} tc_load_256(const void *p)", "return _mm256_loadu_si256((const __m256i *)p);")),
    "tc_load_apart": Helper(function(
        "__m256 tc_load_apart(const float *p, int64_t step)",
        "const float *const q = p + 4 * step;",
        "return _mm256_setr_ps(p[0], p[step], p[2 * step], p[3 * step],",
        "                      q[0], q[step], q[2 * step], q[3 * step]);")),
    "tc_load_128": Helper(function(
        "__m128i tc_load_128(const void *p)", "return _mm_loadu_si128((const __m128i *)p);")),
    "tc_load_64": Helper(function(
        "__m128i tc_load_64(const void *p)", "return _mm_loadl_epi64((const __m128i *)p);")),
    "tc_store_256": Helper(function(
        f"void tc_store_256(void *p, {_I} x)", "_mm256_storeu_si256((__m256i *)p, x);")),
    "tc_store_128": Helper(function(
        "void tc_store_128(void *p, __m128i x)", "_mm_storeu_si128((__m128i *)p, x);")),
    "tc_low_16": Helper(function(  # the lower half of each lane
        f"__m128i tc_low_16({_I} x)",
        "const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xffff));",
        "return _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));")),
    "tc_store_8": Helper(function(  # the lowest byte of each lane
        f"void tc_store_8(void *p, {_I} x)",
        "const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xff));",
        "const __m128i pairs = _mm_packus_epi32(_mm256_castsi256_si128(low),",
        "                                       _mm256_extracti128_si256(low, 1));",
        "_mm_storel_epi64((__m128i *)p, _mm_packus_epi16(pairs, pairs));")),
    "tc_max_ps": Helper(function(  # NaN where either side is
        f"{_F} tc_max_ps({_F} a, {_F} b)",
        f"const {_F} nan = _mm256_cmp_ps(b, b, _CMP_UNORD_Q);",
        "return _mm256_blendv_ps(_mm256_max_ps(b, a), b, nan);")),
    "tc_min_ps": Helper(function(
        f"{_F} tc_min_ps({_F} a, {_F} b)",
        f"const {_F} nan = _mm256_cmp_ps(b, b, _CMP_UNORD_Q);",
        "return _mm256_blendv_ps(_mm256_min_ps(b, a), b, nan);")),
    "tc_below": Helper(function(
        f"{_I} tc_below(int64_t n)",
        "const int count = n < 0 ? 0 : n > 8 ? 8 : (int)n;",
        "const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);",
        "return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);")),
    "tc_nonzero": Helper(function(
        f"{_I} tc_nonzero({_I} x)",
        "const __m256i zero = _mm256_cmpeq_epi32(x, _mm256_setzero_si256());",
        "return _mm256_xor_si256(zero, _mm256_set1_epi32(-1));")),
    "tc_widen_bf16": Helper(function(
        f"{_F} tc_widen_bf16(const uint16_t *p)",
        "const __m256i x = _mm256_cvtepu16_epi32(tc_load_128(p));",
        "return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));"), (), ("tc_load_128",)),
    "tc_narrow_bf16": Helper(function(
        f"{_I} tc_narrow_bf16({_F} x)",
        "const __m256i bits = _mm256_castps_si256(x);",
        "const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));",
        "const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));",
        "const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));",
        "const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));",
        "const __m256i even = _mm256_add_epi32(bits, bias);",
        "return _mm256_srli_epi32(_mm256_blendv_epi8(even, quiet, nan), 16);")),
    "tc_sum_ps": Helper(function(  # halves, and halves of these
        f"float tc_sum_ps({_F} x)",
        "const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));",
        "const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));",
        "return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));")),
    "tc_top_ps": Helper(function(
        f"float tc_top_ps({_F} x)",
        "x = tc_max_ps(x, _mm256_permute2f128_ps(x, x, 1));",
        "x = tc_max_ps(x, _mm256_permute_ps(x, 0x4e));",
        "return _mm256_cvtss_f32(tc_max_ps(x, _mm256_permute_ps(x, 0xb1)));"),
        calls=("tc_max_ps",)),
    "tc_dot_bf16": Helper(function(
        f"{_F} tc_dot_bf16({_I} a, {_I} b, {_F} c)",
        "const __m256i high = _mm256_set1_epi32(-65536);",
        "c = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)),",
        "                    _mm256_castsi256_ps(_mm256_slli_epi32(b, 16)), c);",
        "return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, high)),",
        "                       _mm256_castsi256_ps(_mm256_and_si256(b, high)), c);")),
    "tc_dot_u7_i8": Helper(function(  # sums of two in 16 bits, which a of 7 bits cannot fill
        f"{_I} tc_dot_u7_i8({_I} a, {_I} b, {_I} c)",
        "const __m256i twos = _mm256_maddubs_epi16(a, b);",
        "return _mm256_add_epi32(c, _mm256_madd_epi16(twos, _mm256_set1_epi16(1)));")),
    "tc_dot_u8_i8": Helper(function(  # the even and the odd bytes in 16 bits
        f"{_I} tc_dot_u8_i8({_I} a, {_I} b, {_I} c)",
        "const __m256i even_a = _mm256_and_si256(a, _mm256_set1_epi16(255));",
        "const __m256i even_b = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);",
        "const __m256i odd_a = _mm256_srli_epi16(a, 8), odd_b = _mm256_srai_epi16(b, 8);",
        "c = _mm256_add_epi32(c, _mm256_madd_epi16(even_a, even_b));",
        "return _mm256_add_epi32(c, _mm256_madd_epi16(odd_a, odd_b));")),
}  # fmt: skip

ALL: Final[tuple[Instruction, ...]] = _BASE
TYPES: Final = {
    "f32": _F, "i32": _I, "f64": "__m256d", "m32": _I, "u8": _I, "i8": _I, "bf16": _I,
}  # fmt: skip


def avx2(target: Target) -> Isa:
    """The table of an x86-64 target with AVX2."""
    return Isa("avx2", 256, HEADER, TYPES, available(ALL, target), HELPERS, (), PREFETCH)
