"""Attention of one query over many keys, as each step of a generation has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tc
from tc import te
from tc.graph.inline import inlined
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, F32
from tc.ops.attention import build_attention
from tc.ops.slices import sliced
from tests.schedule.running import machines

Arrays = dict[str, Any]


def expression(h: int, g: int, d: int, bias: bool) -> Tensor:
    """A query [b, h, 1, d] over the first m rows of caches [b, g, n, d]; heads stand inside."""
    b, n, m = te.sym("b"), te.sym("n"), te.sym("m")
    q = te.placeholder((b, h, 1, d), F32, "q")
    k, v = (te.placeholder((b, g, n, d), F32, name) for name in ("k", "v"))
    mask = te.placeholder((b, 1, 1, m), F32 if bias else BOOL, "mask")
    cut = [sliced(t, 2, 0, m) for t in (k, v)]
    used = [te.compute((b, g, m, d), lambda *i, t=t: t[i], te.fresh("used")) for t in cut]
    made = build_attention(q, *used, mask, 0.0, False, None, h != g)
    moved = te.compute((b, 1, h, d), lambda i, s, j, e: made[i, j, s, e], te.fresh("moved"))
    (out,) = inlined((moved,))
    return out


def arrays(b: int, h: int, g: int, n: int, d: int, used: int, bias: bool) -> Arrays:
    rng = np.random.default_rng(n * d)
    made: Arrays = {"q": rng.normal(size=(b, h, 1, d))}
    made |= {name: rng.normal(size=(b, g, n, d)) for name in ("k", "v")}
    made = {name: array.astype(np.float32) for name, array in made.items()}
    mask = rng.normal(size=(b, 1, 1, used))
    made["mask"] = mask.astype(np.float32) if bias else mask < 1
    # What is not used must not be read, or not matter.
    made["k"][:, :, used:] = np.nan
    made["v"][:, :, used:] = np.nan
    return made


def wanted(given: Arrays) -> Any:
    """In float64."""
    q, mask = given["q"].astype(float), given["mask"]
    used, group = mask.shape[-1], q.shape[1] // given["k"].shape[1]
    k, v = (np.repeat(given[x][:, :, :used].astype(float), group, 1) for x in ("k", "v"))
    s = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
    s = np.where(mask, s, -np.inf) if mask.dtype == bool else s + mask
    top = s.max(-1, keepdims=True)
    p = np.exp(s - np.where(np.isinf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    return ((p @ v) / np.where(total == 0, 1, total)).swapaxes(1, 2)


def run(kernel: Any, given: Arrays) -> Any:
    return kernel(*(given[info.name] for info in kernel.inputs))


@pytest.mark.slow
@pytest.mark.parametrize("target", machines("host", "x86-64-v3"))
@pytest.mark.parametrize("bias", [False, True], ids=["mask", "bias"])
@pytest.mark.parametrize(("h", "g", "d"), [(4, 4, 8), (6, 2, 17), (3, 1, 64), (2, 2, 80)])
def test_one_query(h: int, g: int, d: int, bias: bool, target: str) -> None:
    kernel = tc.build(expression(h, g, d, bias), target, threads=2)
    for b, n, used in ((2, 7, 5), (1, 40, 33), (3, 16, 16), (1, 130, 129), (2, 9, 1)):
        given = arrays(b, h, g, n, d, used, bias)
        np.testing.assert_allclose(run(kernel, given), wanted(given), atol=3e-6, rtol=3e-5)


@pytest.mark.parametrize(("groups", "heads"), [(4, 4), (2, 4)])
def test_heads_that_share_keys_pass_over_them_once(groups: int, heads: int) -> None:
    kernel = tc.build(expression(heads, groups, 64, False))
    loops = kernel.loops.splitlines()
    shared = f"for i20 in parallel({groups})" if groups < heads else "for i2 in parallel(4)"
    (at,) = [n for n, line in enumerate(loops) if shared in line]
    # The scores lie inside the loop over what has keys of its own, so they are taken once for it.
    assert any("with t0 = alloc" in line for line in loops[at + 1 : at + 3])
    assert sum("t0_acc[] <sum" in line for line in loops) == 1


def test_a_row_without_keys_is_zero() -> None:
    given = arrays(2, 4, 4, 19, 16, 19, False)
    given["mask"][0] = False
    made = run(tc.build(expression(4, 4, 16, False)), given)
    assert (made[0] == 0).all()
    assert (made[1] != 0).any()
