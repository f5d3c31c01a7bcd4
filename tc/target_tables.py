"""The facts of each target in three tables: levels, features, and CPUs by name.

This module holds facts alone; `tc.target` reads them. It must not import anything but the standard
library.
"""

from __future__ import annotations

from collections.abc import Mapping

from tc.frozen import frozen

_V2 = ("cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")


@frozen
class Level:
    """One row of the target table: the facts that the level's name stands for.

    Cache sizes are bytes for one core's view of a typical machine of the level (0: no such cache);
    `implies` are the LLVM feature names that the level guarantees.
    """

    name: str
    arch: str
    llvm_cpu: str
    vector_bits: int
    vector_registers: int
    l1d: int
    l2: int
    l3: int
    implies: tuple[str, ...] = ()


@frozen
class Feature:
    """An extra instruction set: LLVM's name, the kernel's name, the levels that it may extend."""

    name: str
    kernel_flag: str
    levels: tuple[str, ...]


@frozen
class Cpu:
    """What is known of one named CPU: its caches, as one core sees them, and its cache lines."""

    name: str
    arch: str
    l1d: int
    l2: int
    l3: int
    line: int = 64


_K, _M = 1 << 10, 1 << 20
LEVELS: Mapping[str, Level] = {
    level.name: level
    for level in (
        Level("generic-c99", "generic", "generic", 128, 16, 32 * _K, 256 * _K, 0),
        Level("generic", "generic", "generic", 128, 16, 32 * _K, 256 * _K, 0),
        Level("x86-64-v2", "x86_64", "x86-64-v2", 128, 16, 32 * _K, 256 * _K, 4 * _M, _V2),
        Level("x86-64-v3", "x86_64", "x86-64-v3", 256, 16, 32 * _K, 512 * _K, 8 * _M, _V3),
        Level("x86-64-v4", "x86_64", "x86-64-v4", 512, 32, 32 * _K, _M, 16 * _M, _V4),
        Level("arm-neon", "aarch64", "generic", 128, 32, 32 * _K, 512 * _K, 0, ("neon",)),
    )
}

# From the manuals of their makers; a cache that cores share counts whole.
CPUS: Mapping[str, Cpu] = {
    cpu.name: cpu
    for cpu in (
        Cpu("cortex-a53", "aarch64", 32 * _K, 512 * _K, 0),
        Cpu("cortex-a55", "aarch64", 32 * _K, 128 * _K, _M),
        Cpu("cortex-a57", "aarch64", 32 * _K, 2 * _M, 0),
        Cpu("cortex-a72", "aarch64", 32 * _K, _M, 0),
        Cpu("cortex-a76", "aarch64", 64 * _K, 512 * _K, 2 * _M),
        Cpu("neoverse-n1", "aarch64", 64 * _K, _M, 32 * _M),
        Cpu("neoverse-n2", "aarch64", 64 * _K, _M, 32 * _M),
        Cpu("neoverse-v1", "aarch64", 64 * _K, _M, 32 * _M),
        Cpu("apple-m1", "aarch64", 128 * _K, 12 * _M, 8 * _M, 128),
        Cpu("apple-m2", "aarch64", 128 * _K, 16 * _M, 8 * _M, 128),
        Cpu("znver3", "x86_64", 32 * _K, 512 * _K, 32 * _M),
        Cpu("znver4", "x86_64", 32 * _K, _M, 32 * _M),
        Cpu("skylake-avx512", "x86_64", 32 * _K, _M, 16 * _M),
        Cpu("sapphirerapids", "x86_64", 48 * _K, 2 * _M, 32 * _M),
    )
}

_AVX512, _AVX2, _NEON = ("x86-64-v4",), ("x86-64-v3", "x86-64-v4"), ("arm-neon",)
FEATURES: Mapping[str, Feature] = {
    feature.name: feature
    for feature in (
        Feature("amx-bf16", "amx_bf16", _AVX512),
        Feature("amx-int8", "amx_int8", _AVX512),
        Feature("amx-tile", "amx_tile", _AVX512),
        Feature("avx512bf16", "avx512_bf16", _AVX512),
        Feature("avx512fp16", "avx512_fp16", _AVX512),
        Feature("avx512vbmi", "avx512vbmi", _AVX512),
        Feature("avx512vnni", "avx512_vnni", _AVX512),
        Feature("avxvnni", "avx_vnni", _AVX2),
        Feature("bf16", "bf16", _NEON),
        Feature("dotprod", "asimddp", _NEON),
        Feature("fullfp16", "asimdhp", _NEON),
        Feature("i8mm", "i8mm", _NEON),
    )
}
