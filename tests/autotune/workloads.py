"""Workloads of every family, as the pipeline has them, for any target; sizes are small or known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from tc import te
from tc.graph.group import Computation
from tc.ir.lower import lower_named
from tc.ir.tensor import Placeholder, Tensor
from tc.pipeline import Workload
from tc.target import Target

Build = Callable[[Target], Workload]


def workload(
    outputs: Sequence[Tensor], inputs: Sequence[Placeholder], constants: Sequence[Tensor] = ()
) -> Build:
    """A workload for whatever target."""
    made = Computation(tuple(inputs), tuple(outputs), frozenset(t.name for t in constants))
    lowered = lower_named(made.outputs, made.inputs)
    return lambda target: Workload(made, lowered, target)


def product(m: int | None, k: int, n: int, constant: bool = True, gelu: bool = False) -> Build:
    """x @ w + bias, with any number of rows where m is None."""
    rows = te.sym("M") if m is None else m
    a, b = te.placeholder((rows, k), name="a"), te.placeholder((k, n), name="b")
    bias = te.placeholder((n,), name="bias")
    r = te.reduce_axis(k)

    def body(i, j):
        x = te.sum(a[i, r] * b[r, j], axis=r) + bias[j]
        return x * (te.erf(x * math.sqrt(0.5)) + 1.0) * 0.5 if gelu else x

    return workload([te.compute((rows, n), body)], [a, b, bias], [b, bias] if constant else [])


def softmax(n: int) -> Build:
    """The softmax of rows."""
    rows = te.sym("M")
    x = te.placeholder((rows, n), name="x")
    k, l = te.reduce_axis(n), te.reduce_axis(n)  # noqa: E741
    top = te.compute((rows,), lambda i: te.max(x[i, k], axis=k))
    power = te.compute((rows, n), lambda i, j: te.exp(x[i, j] - top[i]))
    total = te.compute((rows,), lambda i: te.sum(power[i, l], axis=l))
    return workload([te.compute((rows, n), lambda i, j: power[i, j] / total[i])], [x])


def gelu(n: int) -> Build:
    """A map of a flat tensor."""
    rows = te.sym("M")
    x = te.placeholder((rows, n), name="x")

    def body(i, j):
        return x[i, j] * (te.erf(x[i, j] * math.sqrt(0.5)) + 1.0) * 0.5

    return workload([te.compute((rows, n), body)], [x])


def transposed(n: int) -> Build:
    """A map that reads columns."""
    x = te.placeholder((n, 96), name="x")
    return workload([te.compute((96, n), lambda i, j: x[j, i] + 1.0)], [x])


def column_sums(n: int) -> Build:
    """Sums over the first axis."""
    rows = te.sym("M")
    x = te.placeholder((rows, n), name="x")
    k = te.reduce_axis(rows)
    return workload([te.compute((n,), lambda j: te.sum(x[k, j], axis=k))], [x])


WORKLOADS: Mapping[str, Build] = {
    "gemm": product(None, 768, 3072),
    "gemm, few rows": product(16, 384, 1536),
    "gemm, deep": product(None, 3072, 768),
    "gemm, odd": product(33, 97, 131),
    "gemm, GELU": product(None, 96, 384, gelu=True),
    "gemv": product(1, 256, 512),
    "gemm, B not constant": product(None, 64, 80, constant=False),
    "softmax": softmax(128),
    "softmax, odd": softmax(37),
    "gelu": gelu(3072),
    "transposed": transposed(200),
    "column sums": column_sums(100),
}
