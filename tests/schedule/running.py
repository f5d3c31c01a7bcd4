"""What the tests of schedules share: data for a kernel, and running it in every legal order.

Data are small whole numbers, so that sums in any order are exact in float32 and results can be
compared bit by bit. The interpreter runs every loop upwards; loops that are divided between
threads or put in lanes are turned round here, so that a dependence between their iterations shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tc.codegen.llvm.kernel import aligned_empty
from tc.ir.expr import Const, Expr, Sym
from tc.ir.interpret import run, storage
from tc.ir.interpret.scalar import Evaluator
from tc.ir.loop import For, Func, LoopKind, Stmt
from tc.ir.visit import map_stmt, substitute_stmt
from tc.schedule.apply import apply
from tc.schedule.pack import Packing
from tc.schedule.step import Schedule
from tc.target import Target

Arrays = dict[str, np.ndarray[Any, Any]]
_WIDE = Target.parse("host").vector_bits > Target.parse("x86-64-v3").vector_bits


def machines(*names: str) -> tuple[str, ...]:
    """Those targets; of a host whose vectors are no wider than those of x86-64-v3, the code is
    alike."""
    return tuple(name for name in names if _WIDE or name != "x86-64-v3")


def value(x: Expr, symbols: Mapping[str, int]) -> int:
    """An index expression over symbols, as a number."""
    return int(Evaluator({}, symbols)(x))


def aligned(arrays: Arrays) -> Arrays:
    """Copies that begin at a multiple of a cache line."""
    out = {}
    for name, a in arrays.items():
        out[name] = aligned_empty(a.shape, a.dtype)
        out[name][...] = a
    return out


def inputs_of(func: Func, symbols: Mapping[str, int], seed: int = 0, high: int = 5) -> Arrays:
    """Random small whole numbers for every parameter; integers are at least 0."""
    rng = np.random.default_rng(seed)
    out: Arrays = {}
    for p in func.params:
        shape = tuple(value(d, symbols) for d in p.shape)
        kind = storage(p.dtype)
        low = -high if kind.kind == "f" else 0
        data = rng.integers(low, 2 if kind.kind == "b" else high, shape)
        out[p.name] = data.astype(kind)
    return out


@lru_cache(maxsize=256)
def turned(func: Func) -> Func:
    """`func` with parallel and vector loops running downwards."""

    def fn(s: Stmt) -> Stmt | None:
        if isinstance(s, For) and s.kind in (LoopKind.PARALLEL, LoopKind.VECTOR):
            return For(
                s.var, s.extent, s.kind, substitute_stmt(s.body, {s.var: s.extent - 1 - s.var})
            )
        return None

    return Func(func.name, func.params, func.symbols, func.outputs, map_stmt(func.body, None, fn))


def results(func: Func, arrays: Arrays, symbols: Mapping[str, int]) -> Arrays:
    """The outputs of one run; `arrays` stay as they are."""
    copies = {n: a.copy() for n, a in arrays.items()}
    run(func, copies, symbols)
    return {n: copies[n] for n in func.outputs}


def wanted(naive: Func, symbols: Mapping[str, int], high: int = 5) -> tuple[Arrays, Arrays]:
    """Inputs of that size, and what the naive loops make of them; neither is to be changed."""
    return _wanted(naive, tuple(symbols.items()), high)


@lru_cache(maxsize=1024)  # of one kernel, many schedules are tried
def _wanted(naive: Func, sizes: tuple[tuple[str, int], ...], high: int) -> tuple[Arrays, Arrays]:
    symbols = dict(sizes)
    arrays = inputs_of(naive, symbols, high=high)
    return arrays, results(naive, arrays, symbols)


def assert_same(got: Arrays, want: Arrays, told: str, exact: bool = False) -> None:
    for name, expected in want.items():
        actual = got[name]
        if exact or expected.dtype.kind != "f":
            np.testing.assert_array_equal(actual, expected, err_msg=f"{name}\n{told}")
        else:
            np.testing.assert_allclose(
                actual, expected, rtol=2e-5, atol=2e-5, err_msg=f"{name}\n{told}"
            )


def check(
    naive: Func,
    scheduled: Func,
    symbols: Mapping[str, int],
    packs: Sequence[Packing] = (),
    exact: bool = False,
    high: int = 5,
) -> None:
    """`scheduled` gives what `naive` gives, upwards and downwards."""
    arrays, want = wanted(naive, symbols, high)
    told = f"{symbols}\n{scheduled}"
    given = dict(arrays)
    for p in packs:
        given[p.buffer] = packed(given[p.buffer], p)
    left = {s.name: symbols[s.name] for s in scheduled.symbols}
    assert_same(results(scheduled, given, left), want, told, exact)
    assert_same(results(turned(scheduled), given, left), want, "turned " + told, exact)


@lru_cache(maxsize=256)  # each schedule is tried at several sizes
def scheduled(naive: Func, text: str) -> Func:
    return apply(naive, Schedule.parse(text))


def packed(x: np.ndarray[Any, Any], p: Packing) -> np.ndarray[Any, Any]:
    """The data as `Packing` says: blocks along `dim`, innermost, zeros at the end."""
    along = range(x.ndim)
    sizes = [p.factor if d == p.dim else p.group if d == p.along else 1 for d in along]
    whole = np.pad(x, [(0, -n % f) for n, f in zip(x.shape, sizes, strict=True)])
    cut = whole.reshape([m for n, f in zip(whole.shape, sizes, strict=True) for m in (n // f, f)])
    # Axes 2d are the blocks of dim d, axes 2d + 1 what is inside them.
    inside = [2 * p.dim + 1, *([2 * p.along + 1] if p.group > 1 else [])]
    ones = [2 * d + 1 for d in along if 2 * d + 1 not in inside]
    order = [2 * p.dim, *(2 * d for d in along if d != p.dim), *inside, *ones]
    moved = cut.transpose(order)
    return np.ascontiguousarray(moved.reshape(moved.shape[: x.ndim + len(inside)]))


# Nothing, one, primes, and what lies around the factors of the tests.
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 13)


def check_all(naive: Func, func: Func, size: int, packs: Sequence[Packing] = ()) -> None:
    """As `check`, with every symbol that allows it of that size, and one symbol apart."""
    for other in (size, 3):
        symbols = {s.name: min(max(size, s.lo), s.hi) for s in naive.symbols}
        if len(symbols) > 1:
            symbols[naive.symbols[0].name] = max(other, naive.symbols[0].lo)
        baked = {s.name for s in naive.symbols} - {s.name for s in func.symbols}
        if baked:
            symbols |= _baked(naive, func, baked)
        check(naive, func, symbols, packs)
        if len(symbols) < 2:
            return


def _baked(naive: Func, func: Func, names: set[str]) -> dict[str, int]:
    """The values that `bake` gave: those of dims that are plain symbols in the naive kernel."""
    out: dict[str, int] = {}
    for before, after in zip(naive.params, func.params, strict=True):
        for old, new in zip(before.shape, after.shape, strict=True):
            if isinstance(old, Sym) and old.name in names and isinstance(new, Const):
                out[old.name] = int(new.value)
    return out
