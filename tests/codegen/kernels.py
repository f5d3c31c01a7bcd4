"""Kernels as text, with arrays for each, shared by the tests of passes and of code generators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]
Make = Callable[[np.random.Generator, Mapping[str, int]], Arrays]

ADD = """\
def add(A: f32[N], B: f32[N], C: out f32[N], N: sym[0, 1000]):
    for i in parallel((N + 15) // 16):
        for l in vector(16):
            if i * 16 + l < N:
                C[i * 16 + l] = A[i * 16 + l] + B[i * 16 + l]
"""
GEMM = """\
def gemm(A: f32[M, 24], B: f32[2, 24, 32] align 64, C: out f32[M, 64], M: sym[1, 100]):
    for j0 in parallel(2):
        for i0 in range((M + 3) // 4):
            with acc = alloc(f32[4, 32], register):
                for z in unroll(4):
                    for zv in unroll(2):
                        for zl in vector(16):
                            acc[z, zv * 16 + zl] = 0.0:f32
                for k0 in range(6):
                    for k1 in unroll(4):
                        for i in unroll(min(4, M - i0 * 4)):
                            for v in unroll(2):
                                for l in vector(16):
                                    acc[i, v * 16 + l] <sum[f32]>= A[i0 * 4 + i, k0 * 4 + k1] * B[j0, k0 * 4 + k1, v * 16 + l]
                for e in unroll(min(4, M - i0 * 4)):
                    for ev in unroll(2):
                        for el in vector(16):
                            C[i0 * 4 + e, j0 * 32 + ev * 16 + el] = max(acc[e, ev * 16 + el], 0.0:f32)
"""  # noqa: E501
# Registers around tiles whose length varies.
AROUND = """\
def around(A: f32[10], B: out f32[10]):
    with acc = alloc(f32[10], register):
        for i0 in range(3):
            for i1 in unroll(min(4, 10 - i0 * 4)):
                acc[i0 * 4 + i1] = A[i0 * 4 + i1] * 2.0:f32
        for j0 in range(3):
            for j1 in unroll(min(4, 10 - j0 * 4)):
                B[j0 * 4 + j1] = acc[j0 * 4 + j1]
"""
# Shifts by any number, and quotients by infinity.
EDGES = """\
def edges(A: i32[40], N: i32[40], X: f32[40], Y: f32[40], L: out i32[40], R: out i32[40], S: out u8[40], T: out u8[40], Q: out f32[40], P: out f32[40]):
    for i in range(5):
        for l in vector(8):
            L[i * 8 + l] = A[i * 8 + l] << N[i * 8 + l]
            S[i * 8 + l] = cast(A[i * 8 + l], u8) >> cast(N[i * 8 + l], u8)
    for j in range(40):
        R[j] = A[j] >> N[j]
        T[j] = cast(A[j], u8) << cast(N[j], u8)
        Q[j] = X[j] // Y[j]
        P[j] = X[j] % Y[j]
"""  # noqa: E501
# A copy of as much of a row as the row's number says, and one of what is left of it.
TRIANGLE = """\
def triangle(X: f32[N, N], Y: out f32[N], N: sym[1, 2147483648]):
    for i in parallel(N):
        with copy = alloc(f32[i + 1], scratch):
            with rest = alloc(f32[N - i], scratch):
                for j in range(i + 1):
                    copy[j] = X[i, j]
                for k in range(N - i):
                    rest[k] = X[i, i + k]
                with total = alloc(f32[], register):
                    total[] = 0.0:f32
                    for l in range(i + 1):
                        total[] <sum[f32]>= copy[l]
                    Y[i] = total[] - rest[N - i - 1]
"""

SOFTMAX = """\
def softmax(X: f32[M, N], Y: out f32[M, N], M: sym[1, 50], N: sym[1, 300]):
    for i in parallel(M):
        with row = alloc(f32[N], scratch):
            with top = alloc(f32[], register):
                with total = alloc(f32[], register):
                    top[] = -inf:f32
                    total[] = 0.0:f32
                    for j in range((N + 7) // 8):
                        for l in vector(8):
                            if j * 8 + l < N:
                                top[] <max[f32]>= X[i, j * 8 + l]
                    for k in range((N + 7) // 8):
                        for m in vector(8):
                            if k * 8 + m < N:
                                row[k * 8 + m] = exp(X[i, k * 8 + m] - top[])
                                total[] <sum[f32]>= row[k * 8 + m]
                    for o in range((N + 7) // 8):
                        for p in vector(8):
                            if o * 8 + p < N:
                                Y[i, o * 8 + p] = row[o * 8 + p] / total[]
"""
ONLINE = """\
def online(S: f32[M, 16], V: f32[M, 16], O: out f32[16], L: out f32[16], M: sym[1, 50]):
    for v in vector(16):
        with m = alloc(f32[], register):
            with l = alloc(f32[], register):
                with o = alloc(f32[], register):
                    m[] = -inf:f32
                    l[] = 0.0:f32
                    o[] = 0.0:f32
                    for i in range(M):
                        m[], l[], o[] <online_softmax[f32, f32, f32]>= S[i, v], 1.0:f32, V[i, v]
                    O[v] = o[] / l[]
                    L[v] = l[]
"""
GATHER = """\
def gather(T: f32[50, D], I: i64[N], Y: out f32[N, D], Z: out f32[D, N], N: sym[1, 40], D: sym[1, 40]):
    for n in range(N):
        assert (0 <= I[n]) & (I[n] < 50), "index out of range"
    for i in range(N):
        for j in range((D + 7) // 8):
            for l in vector(8):
                if j * 8 + l < D:
                    Y[i, j * 8 + l] = select((0 <= I[i]) & (I[i] < 50), T[I[i], j * 8 + l], 0.0:f32)
    for jj in range(D):
        for ii in range((N + 7) // 8):
            for ll in vector(8):
                if ii * 8 + ll < N:
                    Z[jj, ii * 8 + ll] = select((0 <= I[ii * 8 + ll]) & (I[ii * 8 + ll] < 50), T[I[ii * 8 + ll], jj], 0.0:f32)
"""  # noqa: E501
PAD = """\
def pad(A: f32[N], Y: out f32[N + 4], N: sym[0, 40]):
    for i in range(N + 4):
        Y[i] = select((2 <= i) & (i < N + 2), A[i - 2], -1.0:f32)
"""
BOOLS = """\
def bools(A: i32[37], B: i32[37], M: bool[37], Q: out i32[37], R: out i32[37], S: out bool[37], U: out i64[37], W: out u8[37]):
    for i in range(5):
        for l in vector(8):
            if i * 8 + l < 37:
                Q[i * 8 + l] = A[i * 8 + l] // B[i * 8 + l]
                R[i * 8 + l] = A[i * 8 + l] % B[i * 8 + l]
                S[i * 8 + l] = M[i * 8 + l] & (A[i * 8 + l] < B[i * 8 + l]) ^ (A[i * 8 + l] == 3:i32)
                U[i * 8 + l] = cast(M[i * 8 + l], i64) + cast(A[i * 8 + l], i64) // 8 - cast(B[i * 8 + l], i64) % 4
                W[i * 8 + l] = cast(A[i * 8 + l], u8)
"""  # noqa: E501
HALVES = """\
def halves(A: f32[128], B: out bf16[128], H: out f16[128], C: out f32[128], D: out f32[128]):
    for i in range(8):
        for l in vector(16):
            B[i * 16 + l] = cast(A[i * 16 + l], bf16)
            H[i * 16 + l] = cast(A[i * 16 + l], f16)
    for j in range(8):
        for m in vector(16):
            C[j * 16 + m] = cast(B[j * 16 + m], f32)
            D[j * 16 + m] = cast(H[j * 16 + m], f32)
"""
NANS = """\
def nans(A: f32[64], B: f32[64], P: out f32[64], Q: out f32[64], R: out f32[64], T: out f32[]):
    T[] = -inf:f32
    for i in range(4):
        for l in vector(16):
            P[i * 16 + l] = max(1.0:f32 - A[i * 16 + l], B[i * 16 + l])
            Q[i * 16 + l] = min(A[i * 16 + l], B[i * 16 + l])
            R[i * 16 + l] = max(A[i * 16 + l], 0.0:f32)
            T[] <max[f32]>= A[i * 16 + l]
"""
# Values bound by let, which several loops over lanes read where no vector computes a step.
TURNS = """\
def turns(A: f32[32], Y: out f32[32], Z: out f32[32]):
    for i in range(4):
        for l in vector(8):
            Y[i * 8 + l] = cos(A[i * 8 + l])
            Z[i * 8 + l] = sin(A[i * 8 + l])
"""
STRIDES = """\
def strides(A: f32[N, 6], Y: out f32[6, N], Z: out f32[N, 6], W: out f32[N], N: sym[1, 60]):
    for j in range(6):
        for i in range((N + 7) // 8):
            for l in vector(8):
                if i * 8 + l < N:
                    Y[j, i * 8 + l] = A[i * 8 + l, j] * 2.0:f32
    for jj in range(6):
        for ii in range(N // 4):
            for ll in vector(4):
                Z[ii * 4 + ll, jj] = A[ii * 4 + ll, jj]
        for rest in range(N % 4):
            Z[N - 1 - rest, jj] = A[N - 1 - rest, jj]
    for r in range(N // 4):
        for lr in vector(4):
            W[r * 4 + lr] = A[N - 1 - (r * 4 + lr), 0]
    for wr in range(N % 4):
        W[N - 1 - wr] = 0.0:f32
"""
ARGMAX = """\
def argmax(A: f32[M, N], V: out f32[M], I: out i64[M], M: sym[1, 40], N: sym[1, 40]):
    for i in range((M + 7) // 8):
        for l in vector(8):
            if i * 8 + l < M:
                with v = alloc(f32[], register):
                    with at = alloc(i64[], register):
                        v[] = -inf:f32
                        at[] = 9223372036854775807
                        for j in range(N):
                            v[], at[] <argmax[f32, i64]>= A[i * 8 + l, j], j
                        V[i * 8 + l] = v[]
                        I[i * 8 + l] = at[]
"""
NESTED = """\
def nested(A: f32[M, N, 4], Y: out f32[M, N, 4], M: sym[1, 9], N: sym[1, 9]):
    for i in parallel(M):
        for j in parallel(N):
            for k in range(4):
                Y[i, j, k] = A[i, j, k] * 3.0:f32
"""


def _floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def _out(*shape: int, dtype: Any = np.float32) -> Array:
    return np.zeros(shape, dtype)


def _odd(rng: np.random.Generator, n: int) -> Array:
    x = _floats(rng, n) * np.float32(10.0) ** rng.integers(-42, 38, n).astype(np.float32)
    x[:9] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 65519.0, 65520.0, 2.0**-25, -(2.0**-24)]
    return x


def _bools(rng: np.random.Generator, _: Mapping[str, int]) -> Arrays:
    a = rng.integers(-40, 40, 37).astype(np.int32)
    b = rng.integers(1, 9, 37).astype(np.int32) * rng.choice([-1, 1], 37).astype(np.int32)
    return {
        "A": a, "B": b, "M": rng.random(37) < 0.5, "Q": _out(37, dtype=np.int32),
        "R": _out(37, dtype=np.int32), "S": _out(37, dtype=np.bool_),
        "U": _out(37, dtype=np.int64), "W": _out(37, dtype=np.uint8),
    }  # fmt: skip


def _edges(rng: np.random.Generator, _: Mapping[str, int]) -> Arrays:
    x, y = rng.integers(-9, 9, 40).astype(np.float32), rng.integers(1, 9, 40).astype(np.float32)
    y[::3] *= -1
    y[:4] = [np.inf, -np.inf, np.inf, -np.inf]
    x[:4] = [-5, 5, 5, -5]
    ints = {"A": rng.integers(-(2**31), 2**31, 40), "N": rng.permutation(np.arange(40) * 2 - 4)}
    return {
        **{name: data.astype(np.int32) for name, data in ints.items()}, "X": x, "Y": y,
        "L": _out(40, dtype=np.int32), "R": _out(40, dtype=np.int32),
        "S": _out(40, dtype=np.uint8), "T": _out(40, dtype=np.uint8), "Q": _out(40), "P": _out(40),
    }  # fmt: skip


def _indices(rng: np.random.Generator, s: Mapping[str, int]) -> Arrays:
    n, d = s["N"], s["D"]
    return {
        "T": _floats(rng, 50, d), "I": rng.integers(0, 50, n),
        "Y": _out(n, d), "Z": _out(d, n),
    }  # fmt: skip


# name: text, sizes to try, arrays, largest relative difference from the interpreter
CASES: dict[str, tuple[str, tuple[dict[str, int], ...], Make, float]] = {
    "add": (
        ADD, tuple({"N": n} for n in (0, 1, 15, 16, 17, 100)),
        lambda r, s: {"A": _floats(r, s["N"]), "B": _floats(r, s["N"]), "C": _out(s["N"])}, 0,
    ),
    "gemm": (
        GEMM, tuple({"M": m} for m in (1, 2, 3, 4, 7, 8)),
        lambda r, s: {
            "A": _floats(r, s["M"], 24), "B": _floats(r, 2, 24, 32), "C": _out(s["M"], 64)
        }, 2e-5,
    ),
    "triangle": (
        TRIANGLE, tuple({"N": n} for n in (1, 2, 33)),
        lambda r, s: {"X": _floats(r, s["N"], s["N"]), "Y": _out(s["N"])}, 1e-5,
    ),
    "softmax": (
        SOFTMAX, ({"M": 1, "N": 1}, {"M": 3, "N": 7}, {"M": 2, "N": 8}, {"M": 2, "N": 41}),
        lambda r, s: {"X": _floats(r, s["M"], s["N"]), "Y": _out(s["M"], s["N"])}, 1e-6,
    ),
    "online": (
        ONLINE, ({"M": 1}, {"M": 9}),
        lambda r, s: {
            "S": _floats(r, s["M"], 16), "V": _floats(r, s["M"], 16), "O": _out(16), "L": _out(16)
        }, 1e-5,
    ),
    "gather": (GATHER, ({"N": 1, "D": 1}, {"N": 9, "D": 11}), _indices, 0),
    "pad": (
        PAD, ({"N": 0}, {"N": 5}),
        lambda r, s: {"A": _floats(r, s["N"]), "Y": _out(s["N"] + 4)}, 0,
    ),
    "bools": (BOOLS, ({},), _bools, 0),
    "around": (AROUND, ({},), lambda r, _: {"A": _floats(r, 10), "B": _out(10)}, 0),
    "edges": (EDGES, ({},), _edges, 0),
    "halves": (
        HALVES, ({},),
        lambda r, _: {
            "A": _odd(r, 128), "B": _out(128, dtype=np.uint16), "H": _out(128, dtype=np.float16),
            "C": _out(128), "D": _out(128),
        }, 0,
    ),
    "nans": (
        NANS, ({},),
        lambda r, _: {
            "A": r.permutation(_odd(r, 64)), "B": r.permutation(_odd(r, 64)),
            "P": _out(64), "Q": _out(64), "R": _out(64), "T": np.zeros((), np.float32),
        }, 0,
    ),
    "turns": (
        TURNS, ({},),
        lambda r, _: {"A": _odd(r, 32), "Y": _out(32), "Z": _out(32)}, 1e-6,
    ),
    "strides": (
        STRIDES, ({"N": 1}, {"N": 9}, {"N": 32}),
        lambda r, s: {
            "A": _floats(r, s["N"], 6), "Y": _out(6, s["N"]), "Z": _out(s["N"], 6),
            "W": _out(s["N"]),
        }, 0,
    ),
    "argmax": (
        ARGMAX, ({"M": 1, "N": 1}, {"M": 9, "N": 13}),
        lambda r, s: {
            "A": np.round(_floats(r, s["M"], s["N"])), "V": _out(s["M"]),
            "I": _out(s["M"], dtype=np.int64),
        }, 0,
    ),
    "nested": (
        NESTED, ({"M": 1, "N": 1}, {"M": 3, "N": 5}),
        lambda r, s: {
            "A": _floats(r, s["M"], s["N"], 4), "Y": _out(s["M"], s["N"], 4)
        }, 0,
    ),
}  # fmt: skip


def assert_same(found: Arrays, wanted: Arrays, tolerance: float, what: str) -> None:
    """Every array equal, NaN to NaN; floats within the tolerance."""
    for name, array in wanted.items():
        np.testing.assert_allclose(
            found[name], array, rtol=tolerance, atol=tolerance / 10, err_msg=f"{what}: {name}"
        )
