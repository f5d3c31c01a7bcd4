"""An operator of one's own: bias, GELU and residual in one pass over memory, used from torch.

    python examples/own_operator.py

docs/tutorial_operator.md explains it step by step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

import tc
from tc import te

COLUMNS = 3072


def kernel() -> Callable[..., torch.Tensor]:
    """y[i, j] = c[i, j] + gelu(a[i, j] + b[j]) for any number of rows."""
    rows = te.sym("rows")
    a = te.placeholder((rows, COLUMNS), name="a")
    b = te.placeholder((COLUMNS,), name="b")
    c = te.placeholder((rows, COLUMNS), name="c")

    def element(i: te.Var, j: te.Var) -> te.Expr:
        v = a[i, j] + b[j]
        return c[i, j] + v * 0.5 * (1.0 + te.erf(v * math.sqrt(0.5)))

    return tc.build(te.schedule(te.compute((rows, COLUMNS), element), (a, b, c)).vectorize("j", 16)
                    .parallel("i"))  # fmt: skip


def median_ms(call: Callable[[], object]) -> float:
    """Median of 20 calls in milliseconds."""
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * sorted(taken)[10]


def main() -> None:
    fused = kernel()
    torch.manual_seed(0)
    for rows in (1, 128, 1000):
        a, c = torch.randn(rows, COLUMNS), torch.randn(rows, COLUMNS)
        b = torch.randn(COLUMNS)

        def eager(a: torch.Tensor = a, b: torch.Tensor = b, c: torch.Tensor = c) -> torch.Tensor:
            return c + torch.nn.functional.gelu(a + b)

        error = (fused(a, b, c) - eager()).abs().max().item()
        ours = median_ms(lambda a=a, b=b, c=c: fused(a, b, c))
        print(
            f"{rows:5} rows: eager {median_ms(eager):.3f} ms, tc {ours:.3f} ms, error {error:.1e}"
        )


if __name__ == "__main__":
    main()
