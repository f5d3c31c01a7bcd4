"""The instructions of AArch64 with NEON, as <arm_neon.h> names them.

This module holds rows and small functions, and no decisions.
"""

from __future__ import annotations

from typing import Final

from tc.codegen.c.helpers import Helper, function
from tc.codegen.c.instructions import Instruction, Isa, available, rows
from tc.target import Target

HEADER: Final = "arm_neon.h"

_BASE: Final = rows("neon", """
load f32* -> f32 ; a[l] ; vld1q_f32({a})
load i32* -> i32 ; a[l] ; vld1q_s32({a})
load f64* -> f64 ; a[l] ; vld1q_f64({a})
load u8* -> u8 ; a[l] ; vld1q_u8({a})
load i8* -> i8 ; a[l] ; vld1q_s8({a})
load bf16* -> bf16 ; a[l] ; vld1q_u16({a})
load u8* -> i32 ; cast(a[l], i32) ; tc_load_u8({a})
load i8* -> i32 ; cast(a[l], i32) ; tc_load_i8({a})
load i16* -> i32 ; cast(a[l], i32) ; vmovl_s16(vld1_s16({a}))
load bf16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
vreinterpretq_s32_u32(vmovl_u16(vld1_u16({a})))
load f16* -> i32 ; cast(bitcast(a[l], i16), i32) & 65535:i32 ;
vreinterpretq_s32_u32(vmovl_u16(vld1_u16({a})))
load f32* m32 -> f32 ; select(b[l], a[l], 0.0:f32) ; tc_load_where_f32({a}, {b})
load i32* m32 -> i32 ; select(b[l], a[l], 0:i32) ; tc_load_where_i32({a}, {b})
store f32* f32 -> ; b[l] ; vst1q_f32({a}, {b})
store i32* i32 -> ; b[l] ; vst1q_s32({a}, {b})
store f64* f64 -> ; b[l] ; vst1q_f64({a}, {b})
store i8* i32 -> ; cast(b[l], i8) ; tc_store_i8({a}, {b})
store u8* i32 -> ; cast(b[l], u8) ; tc_store_u8({a}, {b})
store i16* i32 -> ; cast(b[l], i16) ; vst1_s16({a}, vmovn_s32({b}))
store bf16* i32 -> ; bitcast(cast(b[l], i16), bf16) ;
vst1_u16({a}, vmovn_u32(vreinterpretq_u32_s32({b})))
store f16* i32 -> ; bitcast(cast(b[l], i16), f16) ;
vst1_u16({a}, vmovn_u32(vreinterpretq_u32_s32({b})))
store f32* f32 m32 -> ; b[l] ; tc_store_where_f32({a}, {b}, {c})
store i32* i32 m32 -> ; b[l] ; tc_store_where_i32({a}, {b}, {c})
broadcast f321 -> f32 ; a[0] ; vdupq_n_f32({a})
broadcast i321 -> i32 ; a[0] ; vdupq_n_s32({a})
broadcast f641 -> f64 ; a[0] ; vdupq_n_f64({a})
broadcast u81 -> u8 ; a[0] ; vdupq_n_u8({a})
add f32 f32 -> f32 ; a[l] + b[l] ; vaddq_f32({a}, {b})
sub f32 f32 -> f32 ; a[l] - b[l] ; vsubq_f32({a}, {b})
mul f32 f32 -> f32 ; a[l] * b[l] ; vmulq_f32({a}, {b})
div f32 f32 -> f32 ; a[l] / b[l] ; vdivq_f32({a}, {b})
min f32 f32 -> f32 ; min(a[l], b[l]) ; vminq_f32({a}, {b})
max f32 f32 -> f32 ; max(a[l], b[l]) ; vmaxq_f32({a}, {b})
fma f32 f32 f32 -> f32 ; fma(a[l], b[l], c[l]) ; vfmaq_f32({c}, {a}, {b})
fma f32 f321 f32 -> f32 ; fma(a[l], b[0], c[l]) ; vfmaq_n_f32({c}, {a}, {b})
load_apart f32* i641 -> f32 ; a[l * b[0]] ; tc_load_apart({a}, {b})
load_pair f32* -> f32 ; select(l < 2, a[l], 0.0:f32) ; tc_load_pair({a})
fma_lane0 f32 f32 f32 -> f32 ; fma(a[l], b[0], c[l]) ; vfmaq_laneq_f32({c}, {a}, {b}, 0)
fma_lane1 f32 f32 f32 -> f32 ; fma(a[l], b[1], c[l]) ; vfmaq_laneq_f32({c}, {a}, {b}, 1)
fma_lane2 f32 f32 f32 -> f32 ; fma(a[l], b[2], c[l]) ; vfmaq_laneq_f32({c}, {a}, {b}, 2)
fma_lane3 f32 f32 f32 -> f32 ; fma(a[l], b[3], c[l]) ; vfmaq_laneq_f32({c}, {a}, {b}, 3)
add f64 f64 -> f64 ; a[l] + b[l] ; vaddq_f64({a}, {b})
sub f64 f64 -> f64 ; a[l] - b[l] ; vsubq_f64({a}, {b})
mul f64 f64 -> f64 ; a[l] * b[l] ; vmulq_f64({a}, {b})
div f64 f64 -> f64 ; a[l] / b[l] ; vdivq_f64({a}, {b})
fma f64 f64 f64 -> f64 ; fma(a[l], b[l], c[l]) ; vfmaq_f64({c}, {a}, {b})
neg f32 -> f32 ; -a[l] ; vnegq_f32({a})
abs f32 -> f32 ; abs(a[l]) ; vabsq_f32({a})
sqrt f32 -> f32 ; sqrt(a[l]) ; vsqrtq_f32({a})
floor f32 -> f32 ; floor(a[l]) ; vrndmq_f32({a})
ceil f32 -> f32 ; ceil(a[l]) ; vrndpq_f32({a})
trunc f32 -> f32 ; trunc(a[l]) ; vrndq_f32({a})
round f32 -> f32 ; round(a[l]) ; vrndnq_f32({a})
isnan f32 -> m32 ; isnan(a[l]) ; vmvnq_u32(vceqq_f32({a}, {a}))
lt f32 f32 -> m32 ; a[l] < b[l] ; vcltq_f32({a}, {b})
le f32 f32 -> m32 ; a[l] <= b[l] ; vcleq_f32({a}, {b})
eq f32 f32 -> m32 ; a[l] == b[l] ; vceqq_f32({a}, {b})
ne f32 f32 -> m32 ; a[l] != b[l] ; vmvnq_u32(vceqq_f32({a}, {b}))
lt i32 i32 -> m32 ; a[l] < b[l] ; vcltq_s32({a}, {b})
le i32 i32 -> m32 ; a[l] <= b[l] ; vcleq_s32({a}, {b})
eq i32 i32 -> m32 ; a[l] == b[l] ; vceqq_s32({a}, {b})
ne i32 i32 -> m32 ; a[l] != b[l] ; vmvnq_u32(vceqq_s32({a}, {b}))
select m32 f32 f32 -> f32 ; select(a[l], b[l], c[l]) ; vbslq_f32({a}, {b}, {c})
select m32 i32 i32 -> i32 ; select(a[l], b[l], c[l]) ; vbslq_s32({a}, {b}, {c})
and m32 m32 -> m32 ; a[l] & b[l] ; vandq_u32({a}, {b})
or m32 m32 -> m32 ; a[l] | b[l] ; vorrq_u32({a}, {b})
xor m32 m32 -> m32 ; a[l] ^ b[l] ; veorq_u32({a}, {b})
not m32 -> m32 ; ~a[l] ; vmvnq_u32({a})
below i641 -> m32 ; l < a[0] ; tc_below({a})
mask i32 -> m32 ; a[l] != 0:i32 ; vtstq_s32({a}, {a})
any m32 -> bool1 ; a[l] ; vmaxvq_u32({a}) != 0
add i32 i32 -> i32 ; a[l] + b[l] ; vaddq_s32({a}, {b})
sub i32 i32 -> i32 ; a[l] - b[l] ; vsubq_s32({a}, {b})
mul i32 i32 -> i32 ; a[l] * b[l] ; vmulq_s32({a}, {b})
min i32 i32 -> i32 ; min(a[l], b[l]) ; vminq_s32({a}, {b})
max i32 i32 -> i32 ; max(a[l], b[l]) ; vmaxq_s32({a}, {b})
and i32 i32 -> i32 ; a[l] & b[l] ; vandq_s32({a}, {b})
or i32 i32 -> i32 ; a[l] | b[l] ; vorrq_s32({a}, {b})
xor i32 i32 -> i32 ; a[l] ^ b[l] ; veorq_s32({a}, {b})
shl i32 i321 -> i32 ; a[l] << b[0] ; vshlq_s32({a}, vdupq_n_s32({b}))
shr i32 i321 -> i32 ; a[l] >> b[0] ; vshlq_s32({a}, vdupq_n_s32(-{b}))
and u8 u8 -> u8 ; a[l] & b[l] ; vandq_u8({a}, {b})
cast i32 -> f32 ; cast(a[l], f32) ; vcvtq_f32_s32({a})
cast f32 -> i32 ; cast(a[l], i32) ; vcvtq_s32_f32({a})
bitcast i32 -> f32 ; bitcast(a[l], f32) ; vreinterpretq_f32_s32({a})
bitcast f32 -> i32 ; bitcast(a[l], i32) ; vreinterpretq_s32_f32({a})
bitcast i32 -> u8 ; bitcast(a[l], u8) ; vreinterpretq_u8_s32({a})
bitcast i32 -> bf16 ; bitcast(a[l], bf16) ; vreinterpretq_u16_s32({a})
widen bf16* -> f32 ; cast(a[l], f32) ; tc_widen_bf16({a})
widen_bf16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), bf16), f32) ;
vreinterpretq_f32_s32(vshlq_n_s32({a}, 16))
narrow_bf16 f32 -> i32 ; cast(bitcast(cast(a[l], bf16), i16), i32) & 65535:i32 ;
tc_narrow_bf16({a})
widen_f16 i32 -> f32 ; cast(bitcast(cast(a[l], i16), f16), f32) ;
vcvt_f32_f16(vreinterpret_f16_s16(vmovn_s32({a})))
narrow_f16 f32 -> i32 ; cast(bitcast(cast(a[l], f16), i16), i32) & 65535:i32 ;
vreinterpretq_s32_u32(vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32({a}))))
reduce_add f32 -> f321 ; lanes_add(a[l]) ; tc_sum_f32({a})
reduce_max f32 -> f321 ; lanes_max(a[l]) ; vmaxvq_f32({a})
reduce_min f32 -> f321 ; lanes_min(a[l]) ; vminvq_f32({a})
reduce_add i32 -> i321 ; lanes_add(a[l]) ; vaddvq_s32({a})
reduce_max i32 -> i321 ; lanes_max(a[l]) ; vmaxvq_s32({a})
reduce_min i32 -> i321 ; lanes_min(a[l]) ; vminvq_s32({a})
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ; tc_dot_bf16({a}, {b}, {c})
dot7 u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u7_i8({a}, {b}, {c})
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; tc_dot_u8_i8({a}, {b}, {c})
""")  # fmt: skip

_LANES: Final = range(4)
_DOTPROD: Final = rows("dotprod", "\n".join(
    f"dot7_lane{n} u8 i8 i32 -> i32 ; dot_lane{n}(a[l], b[l], c[l]) ; "
    f"vdotq_laneq_s32({{c}}, {{b}}, vreinterpretq_s8_u8({{a}}), {n})" for n in _LANES
)) + rows("dotprod", """
dot7 u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; vdotq_s32({c}, vreinterpretq_s8_u8({a}), {b})
""")  # fmt: skip

_I8MM: Final = rows("i8mm", "\n".join(
    f"dot_lane{n} u8 i8 i32 -> i32 ; dot_lane{n}(a[l], b[l], c[l]) ; "
    f"vsudotq_laneq_s32({{c}}, {{b}}, {{a}}, {n})" for n in _LANES
)) + rows("i8mm", """
dot_fast u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; vusdotq_s32({c}, {a}, {b})
dot u8 i8 i32 -> i32 ; dot(a[l], b[l], c[l]) ; vusdotq_s32({c}, {a}, {b})
""")  # fmt: skip

_BF16: Final = rows("bf16", "\n".join(
    f"dot_lane{n} bf16 bf16 f32 -> f32 ; dot_lane{n}(a[l], b[l], c[l]) ; "
    f"vbfdotq_laneq_f32({{c}}, vreinterpretq_bf16_u16({{b}}), vreinterpretq_bf16_u16({{a}}), {n})"
    for n in _LANES
)) + rows("bf16", """
dot bf16 bf16 f32 -> f32 ; dot(a[l], b[l], c[l]) ;
vbfdotq_f32({c}, vreinterpretq_bf16_u16({a}), vreinterpretq_bf16_u16({b}))
""")  # fmt: skip

_F32, _I32, _M32 = "float32x4_t", "int32x4_t", "uint32x4_t"
HELPERS: Final = {
    "tc_below": Helper(function(
        f"{_M32} tc_below(int64_t n)",
        "static const int32_t lanes[4] = {0, 1, 2, 3};",
        "const int32_t count = n < 0 ? 0 : n > 4 ? 4 : (int32_t)n;",
        "return vcltq_s32(vld1q_s32(lanes), vdupq_n_s32(count));")),
    "tc_load_pair": Helper(function(
        f"{_F32} tc_load_pair(const float *p)",
        "return vcombine_f32(vld1_f32(p), vdup_n_f32(0.0f));")),
    "tc_load_apart": Helper(function(
        f"{_F32} tc_load_apart(const float *p, int64_t step)",
        f"{_F32} x = vld1q_dup_f32(p);",
        "x = vld1q_lane_f32(p + step, x, 1);",
        "x = vld1q_lane_f32(p + 2 * step, x, 2);",
        "return vld1q_lane_f32(p + 3 * step, x, 3);")),
    "tc_load_u8": Helper(function(
        f"{_I32} tc_load_u8(const uint8_t *p)",
        "uint32_t bytes;",
        "memcpy(&bytes, p, sizeof bytes);",
        "const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(bytes)));",
        "return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));"), ("string.h",)),
    "tc_load_i8": Helper(function(
        f"{_I32} tc_load_i8(const int8_t *p)",
        "uint32_t bytes;",
        "memcpy(&bytes, p, sizeof bytes);",
        "const int16x8_t wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));",
        "return vmovl_s16(vget_low_s16(wide));"), ("string.h",)),
    "tc_store_i8": Helper(function(
        f"void tc_store_i8(int8_t *p, {_I32} x)",
        "const int16x4_t half = vmovn_s32(x);",
        "const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));",
        "const uint32_t word = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);",
        "memcpy(p, &word, sizeof word);"), ("string.h",)),
    "tc_store_u8": Helper(function(
        f"void tc_store_u8(uint8_t *p, {_I32} x)",
        "const int16x4_t half = vmovn_s32(x);",
        "const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));",
        "const uint32_t word = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);",
        "memcpy(p, &word, sizeof word);"), ("string.h",)),
    "tc_widen_bf16": Helper(function(
        f"{_F32} tc_widen_bf16(const uint16_t *p)",
        "const uint32x4_t bits = vshll_n_u16(vld1_u16(p), 16);",
        "return vreinterpretq_f32_u32(bits);")),
    "tc_narrow_bf16": Helper(function(
        f"{_I32} tc_narrow_bf16({_F32} x)",
        "const uint32x4_t bits = vreinterpretq_u32_f32(x);",
        "const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));",
        "const uint32x4_t even = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff));",
        "const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));",
        "const uint32x4_t chosen = vbslq_u32(vceqq_f32(x, x), even, quiet);",
        "return vreinterpretq_s32_u32(vshrq_n_u32(chosen, 16));")),
    "tc_sum_f32": Helper(function(
        f"float tc_sum_f32({_F32} x)",
        "const float32x2_t two = vadd_f32(vget_low_f32(x), vget_high_f32(x));",
        "return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);")),
    "tc_dot_bf16": Helper(function(
        f"{_F32} tc_dot_bf16(uint16x8_t a, uint16x8_t b, {_F32} c)",
        "const uint32x4_t x = vreinterpretq_u32_u16(a), y = vreinterpretq_u32_u16(b);",
        "const uint32x4_t high = vdupq_n_u32(0xffff0000u);",
        "c = vfmaq_f32(c, vreinterpretq_f32_u32(vshlq_n_u32(x, 16)),",
        "              vreinterpretq_f32_u32(vshlq_n_u32(y, 16)));",
        "return vfmaq_f32(c, vreinterpretq_f32_u32(vandq_u32(x, high)),",
        "                 vreinterpretq_f32_u32(vandq_u32(y, high)));")),
    "tc_dot_u7_i8": Helper(function(  # as signed bytes, and sums of two in 16 bits, which fit
        f"{_I32} tc_dot_u7_i8(uint8x16_t a, int8x16_t b, {_I32} c)",
        "const int8x16_t x = vreinterpretq_s8_u8(a);",
        "const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(b));",
        "const int16x8_t high = vmull_s8(vget_high_s8(x), vget_high_s8(b));",
        "return vpadalq_s16(c, vpaddq_s16(low, high));")),
    "tc_dot_u8_i8": Helper(function(
        f"{_I32} tc_dot_u8_i8(uint8x16_t a, int8x16_t b, {_I32} c)",
        "const int16x8_t x = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a)));",
        "const int16x8_t y = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(a)));",
        "const int32x4_t low = vpaddlq_s16(vmulq_s16(x, vmovl_s8(vget_low_s8(b))));",
        "const int32x4_t high = vpaddlq_s16(vmulq_s16(y, vmovl_s8(vget_high_s8(b))));",
        "return vaddq_s32(c, vpaddq_s32(low, high));")),
}  # fmt: skip


def _where(kind: str, c_type: str, vector: str, suffix: str) -> dict[str, Helper]:
    """Loads and stores of the lanes of a mask: memory of the others is not touched."""
    return {
        f"tc_load_where_{kind}": Helper(function(
            f"{vector} tc_load_where_{kind}(const {c_type} *p, {_M32} mask)",
            "uint32_t wanted[4];",
            f"{c_type} x[4];",
            "vst1q_u32(wanted, mask);",
            "for (int l = 0; l < 4; l++) x[l] = wanted[l] ? p[l] : 0;",
            f"return vld1q_{suffix}(x);")),
        f"tc_store_where_{kind}": Helper(function(
            f"void tc_store_where_{kind}({c_type} *p, {vector} value, {_M32} mask)",
            "uint32_t wanted[4];",
            f"{c_type} x[4];",
            "vst1q_u32(wanted, mask);",
            f"vst1q_{suffix}(x, value);",
            "for (int l = 0; l < 4; l++) {",
            "    if (wanted[l]) p[l] = x[l];",
            "}")),
    }  # fmt: skip


ALL: Final[tuple[Instruction, ...]] = (*_I8MM, *_DOTPROD, *_BF16, *_BASE)
TYPES: Final = {
    "f32": _F32, "i32": _I32, "f64": "float64x2_t", "m32": _M32, "u8": "uint8x16_t",
    "i8": "int8x16_t", "bf16": "uint16x8_t",
}  # fmt: skip


# What gcc moves before it hands out registers costs more of them than there are: without this it
# spills accumulators in the inner loop of a product.
_PREAMBLE: Final = (
    "#if defined(__GNUC__) && !defined(__clang__)",
    '#pragma GCC optimize("no-schedule-insns")',
    "#endif",
)


def neon(target: Target) -> Isa:
    """The table of an AArch64 target."""
    helpers = {
        **HELPERS, **_where("f32", "float", _F32, "f32"), **_where("i32", "int32_t", _I32, "s32"),
    }  # fmt: skip
    return Isa("neon", 128, HEADER, TYPES, available(ALL, target), helpers, _PREAMBLE,
               lane_registers=target.vector_registers)  # fmt: skip
