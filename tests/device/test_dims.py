"""Sizes as text: read without eval, computed like the IR's own expressions."""

from __future__ import annotations

import pytest

from tc.device.dims import compile_dim, dim_of
from tc.errors import CompileError
from tc.ir.expr import Const, Expr, Sym, binary, equal, maximum, minimum, select

M, N = Sym("m", 0, 100), Sym("n", 0, 100)


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (Const(7), 7),
        (M, 10),
        ((M + 15) // 16 * 16, 16),
        (M - N * 3, 1),
        (minimum(M, N) + maximum(M, N), 13),
        (M % N, 1),
        (-M // 4, -3),
        (select(M < N, M, N), 3),
        (select(equal(M, 10) & (N <= 2), M, N * 2), 6),
        (select(~(M < N), 5, M), 5),
        (binary("shl", M, N), 80),
    ],
)
def test_text_means_what_the_expression_means(size: Expr, value: int) -> None:
    assert compile_dim(dim_of(size), ("m", "n"))([10, 3]) == value


@pytest.mark.parametrize(
    "text",
    ["", "m +", "k", "m.real", "__import__('os')", "m ** 9", "[m]", "1.5", "True", "m if n else 1",
     "(" * 300 + "m" + ")" * 300, "m+" * 9999 + "m", "max(m)", "m < n < 3"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match="not an integer expression over m, n"):
        compile_dim(text, ("m", "n"))
