"""Attention that is written out with matrix products and a softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import tc
from tc import te
from tc.frontend.capture import capture
from tc.frontend.importer import import_graph
from tc.graph.compose import Composer
from tc.graph.cost import flops
from tc.graph.fuse import fuse
from tc.graph.group import Computation, Group
from tc.ir.expr import Const
from tc.ops.attention import build_attention
from tc.pipeline import optimise
from tests.schedule.running import machines


class Eager(nn.Module):
    """softmax(cap(q kᵀ / 4) + mask) v, the keys shared by pairs of heads."""

    def __init__(self, keeps: bool = False, cap: float = 0.0) -> None:
        super().__init__()
        self.keeps, self.cap = keeps, cap

    def forward(self, q: Any, k: Any, v: Any, mask: Any) -> Any:
        k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (k, v))
        scores = q @ k.transpose(2, 3) / 4.0
        if self.cap:
            scores = torch.tanh(scores / self.cap) * self.cap
        weights = torch.softmax(scores + mask, -1)
        out = (weights @ v).transpose(1, 2).contiguous()
        return (out, weights) if self.keeps else out


def arguments(n: int, m: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(n)
    mask = torch.where(torch.rand(1, 1, n, m) < 0.7, 0.0, float("-inf"))
    mask[..., 0] = 0.0
    return torch.randn(2, 4, n, 16), torch.randn(2, 2, m, 16), torch.randn(2, 2, m, 24), mask


def groups(model: nn.Module, *args: torch.Tensor) -> list[Group]:
    names = dict(zip(("q", "k", "v", "mask"), args, strict=True))
    found = fuse(optimise(import_graph(capture(model, (), names)).graph).main, Composer())
    return [s for s in found.steps if isinstance(s, Group)]


def test_it_is_one_kernel() -> None:
    first, *others = groups(Eager(), *arguments(5, 7))
    assert {"matmul", "add", "softmax_matmul"} <= {n.op for n in first.nodes}
    assert len(first.outputs) == 1
    assert [[n.op for n in g.nodes] for g in others] == [["transpose"]]  # what the caller wants


def test_weights_that_are_asked_for_are_not_hidden() -> None:
    found = groups(Eager(keeps=True), *arguments(5, 7))
    assert any("softmax" in {n.op for n in g.nodes} for g in found)


@pytest.mark.parametrize("cap", [0.0, 3.0], ids=["plain", "capped"])
@pytest.mark.parametrize("target", machines("host", "x86-64-v3"))
def test_as_eager(cap: float, target: str) -> None:
    model = Eager(cap=cap)
    compiled = tc.compile(model, target=target, threads=1)
    for n, m in ((5, 7), (17, 33), (64, 130), (3, 1)):
        given = arguments(n, m)
        torch.testing.assert_close(compiled(*given), model(*given), rtol=2e-5, atol=3e-6)


def test_large_scores_and_rows_without_keys_are_as_eager_has_them() -> None:
    model = Eager()
    compiled = tc.compile(model, threads=1)
    q, k, v, mask = arguments(6, 9)
    mask[0, 0, 2] = float("-inf")  # nothing is seen: NaN, here where no operator says 0
    q[0, 1, 3] = 1e30
    q[1, 0, 1, 2] = float("nan")
    k[1, 1, 4, 0] = float("inf")
    v[0, 0, 5, 3] = float("inf")
    got, want = compiled(q, k, v, mask), model(q, k, v, mask)
    assert torch.isnan(want).any()
    torch.testing.assert_close(got, want, rtol=2e-5, atol=3e-6, equal_nan=True)


def test_work_is_counted_as_two_products() -> None:
    n, m = 8, 12
    q, k, v = (te.placeholder((1, 2, r, 16)) for r in (n, m, m))
    made = build_attention(q, k, v)
    count = flops(Computation((q, k, v), (made,), frozenset()))
    products = 2 * 2 * n * m * 16 * 2
    assert isinstance(count, Const)
    assert products <= count.value <= 1.1 * products
