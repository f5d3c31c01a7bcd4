"""What the tests of schedules share: data for a kernel, and running it in every legal order.

Data are small whole numbers, so that sums in any order are exact in float32 and results can be
compared bit by bit. The interpreter runs every loop upwards; loops that are divided between
threads or put in lanes are turned round here, so that a dependence between their iterations shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tc.ir.expr import Const, Sym
from tc.ir.interpret import run, storage
from tc.ir.loop import For, Func, LoopKind, Stmt
from tc.ir.visit import map_expr, map_stmt, substitute_stmt
from tc.schedule.apply import apply
from tc.schedule.step import Schedule

Arrays = dict[str, np.ndarray[Any, Any]]


def shapes(func: Func, symbols: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter for given symbols."""
    probe = Func(func.name, (), func.symbols, (), func.body)
    del probe
    return {p.name: tuple(value(d, symbols) for d in p.shape) for p in func.params}


def value(x: Any, symbols: Mapping[str, int]) -> int:
    """An index expression over symbols, as a number."""
    folded = map_expr(x, lambda n: Const(symbols[n.name]) if isinstance(n, Sym) else None)
    assert isinstance(folded, Const) or not isinstance(folded, Sym)
    return int(_fold(folded))


def _fold(x: Any) -> int:
    from tc.ir.interpret.scalar import Evaluator

    return int(Evaluator({}, {})(x))


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


def turned(func: Func) -> Func:
    """`func` with parallel and vector loops running downwards."""

    def fn(s: Stmt) -> Stmt | None:
        if isinstance(s, For) and s.kind in (LoopKind.PARALLEL, LoopKind.VECTOR):
            return For(s.var, s.extent, s.kind, substitute_stmt(s.body, {s.var: s.extent - 1 - s.var}))
        return None

    return Func(func.name, func.params, func.symbols, func.outputs, map_stmt(func.body, None, fn))


def results(func: Func, arrays: Arrays, symbols: Mapping[str, int]) -> Arrays:
    """The outputs of one run; `arrays` stay as they are."""
    copies = {n: a.copy() for n, a in arrays.items()}
    run(func, copies, symbols)
    return {n: copies[n] for n in func.outputs}


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
    naive: Func, scheduled: Func, symbols: Mapping[str, int], exact: bool = False, high: int = 5
) -> None:
    """`scheduled` gives what `naive` gives, upwards and downwards."""
    arrays = inputs_of(naive, symbols, high=high)
    want = results(naive, arrays, symbols)
    told = f"{symbols}\n{scheduled}"
    given = {p.name: arrays[p.name] for p in scheduled.params}
    left = {s.name: symbols[s.name] for s in scheduled.symbols}
    assert_same(results(scheduled, given, left), want, told, exact)
    assert_same(results(turned(scheduled), given, left), want, "turned " + told, exact)


def scheduled(naive: Func, text: str) -> Func:
    return apply(naive, Schedule.parse(text))
