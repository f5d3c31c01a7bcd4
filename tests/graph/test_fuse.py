"""Import, graph passes and fusion preserve what a model computes, and fuse what they should."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import tc
from tc import te
from tc.frontend.capture import capture
from tc.frontend.captured import Captured
from tc.frontend.importer import import_graph
from tc.graph.compose import Composer
from tc.graph.fuse import fuse
from tc.graph.graph import Graph, Node, Value
from tc.graph.group import Fused, Group
from tc.graph.inline import inlined
from tc.ir.expr import Const
from tc.ir.types import F32
from tc.pipeline import optimise
from tests.captures import captured
from tests.graph.eager import run_graph
from tests.models import Entry, zoo


def fused(model: nn.Module, **call: torch.Tensor) -> Fused:
    return fused_graph(capture(model, (), call))


@cache
def fused_model(name: str) -> Fused:
    return fused_graph(captured(name))


def fused_graph(found: Captured) -> Fused:
    return fuse(optimise(import_graph(found).graph).main, Composer())


def groups(found: Fused) -> list[Group]:
    return [s for s in found.steps if isinstance(s, Group)]


def ops_of(group: Group) -> set[str]:
    return {n.op for n in group.nodes}


@pytest.mark.parametrize("each", zoo(), ids=lambda each: each.name)
def test_fused_graphs_compute_what_the_model_does(each: Entry) -> None:
    model = captured(each.name)
    calls = [call for n, call in enumerate(each.variants()) if n in (0, 1, 3)]
    for got, expected in run_graph(model, import_graph(model), calls):
        for ours, theirs in zip(got, expected, strict=True):
            assert ours.shape == tuple(theirs.shape)
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=5e-6)


def test_a_layer_of_bert_is_six_kernels() -> None:
    found = groups(fused_model("bert"))
    layers = [g for g in found if any("layer.1." in place for place in g.origin)]
    assert [g.name for g in layers] == [
        "linear", "index_attention", "linear", "layer_norm", "linear_gelu", "linear", "layer_norm",
    ]  # fmt: skip


def test_equal_layers_share_their_computation() -> None:
    found = groups(fused_model("bert"))
    attention = [g.computation for g in found if "attention" in ops_of(g)]
    assert len(attention) == 2
    assert attention[0] is attention[1]


def test_residual_sums_are_epilogues_of_products() -> None:
    found = groups(fused_model("gpt2"))
    sums = [g for g in found if "matmul" in ops_of(g) and len(g.inputs) == 4]
    assert len(sums) == 2  # of the one layer: behind attention and behind the mlp
    assert all(len(g.computation.outputs) == 1 for g in sums)


def test_masks_are_part_of_attention() -> None:
    found = groups(fused_model("gpt2"))
    for g in found:
        if "attention" in ops_of(g):
            assert "attention_mask" in {v.name for v in g.inputs}
            assert {"le", "index", "bitwise_and"} <= ops_of(g)


def test_attention_stores_in_the_order_that_the_next_product_reads() -> None:
    found = fused_model("bert")
    (attention, *_) = [g for g in groups(found) if "attention" in ops_of(g)]
    (out,) = attention.outputs
    assert [str(d) for d in out.shape[2:]] == ["4", "8"]  # heads after positions
    assert out in found.aliases.values()  # and the merge of heads is no copy


class Normalised(nn.Module):
    """RMS normalisation spelled out, as Llama has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def test_a_normalisation_spelled_out_is_one_kernel() -> None:
    assert len(groups(fused(Normalised(), x=torch.rand(3, 8)))) == 1


class Diamond(nn.Module):
    """One value that two pointwise operators read, joined again."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.exp(x)
        return torch.sin(y) + torch.cos(y)


def test_a_diamond_is_one_kernel_that_computes_its_top_once() -> None:
    (group,) = groups(fused(Diamond(), x=torch.rand(3, 8)))
    (out,) = group.computation.outputs
    assert str(out).count("exp(") == 1


def test_a_value_is_not_bound_where_its_place_does_not_exist() -> None:
    x = te.placeholder((3,))
    t = te.compute((3,), lambda i: te.exp(x[i]) * te.tanh(x[i]) + te.log(x[i] + 1.0), name="t")
    padded = te.compute((4,), lambda i: te.where(i < 3, t[i] * t[i], 0.0))
    whole = te.compute((3,), lambda i: te.where(x[i] < 1.0, t[i] * t[i], 0.0))
    assert "t:" in str(inlined((padded,))[0])
    assert "t:" not in str(inlined((whole,))[0])


class _Neighbours(nn.Module):
    """Embeddings beside those of the tokens before and after, as in MobileBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        e = self.words(ids)
        after = nn.functional.pad(e[:, 1:], [0, 0, 0, 1])
        before = nn.functional.pad(e[:, :-1], [0, 0, 1, 0])
        return torch.cat([after, e, before], 2)


def test_an_embedding_read_at_several_places_is_a_kernel_of_its_own() -> None:
    model, ids = _Neighbours(), torch.randint(0, 9, (2, 7))
    looked_up, joined = groups(fused(model, ids=ids))
    assert ops_of(looked_up) == {"embedding"}
    assert "cat" in ops_of(joined)
    with torch.no_grad():
        assert torch.equal(tc.compile(model)(ids), model(ids))


class _Merged(nn.Module):
    """Four pixels become one, normalised: how Swin halves an image."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        image = (x + y).view(-1, 6, 8, 16)
        corners = [image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        found: torch.Tensor = self.norm(torch.cat(corners, -1).view(-1, 12, 64))
        return found


def test_a_row_does_not_compute_the_image_that_it_takes_pixels_of() -> None:
    x = torch.randn(1, 48, 16)
    found = groups(fused(_Merged(), x=x, y=x))
    assert ["layer_norm" in ops_of(group) for group in found] == [False, True]
    assert "add" not in ops_of(found[1])


def test_padding_is_no_epilogue() -> None:
    x, w, y = (Value(n, tuple(map(Const, d)), F32) for n, d in
               (("x", (3, 8)), ("w", (5, 8)), ("y", (3, 5))))  # fmt: skip
    out = Value("out", (Const(3), Const(7)), F32)
    nodes = (Node("linear", (x, w, None), (y,)), Node("constant_pad_nd", (y, (0, 2), 0), (out,)))
    assert len(fuse(Graph((x,), (w,), nodes, (out,), ()), Composer()).steps) == 2
