"""What a model asserts of its data: a compiled program refuses what eager refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule
from transformers import XLMConfig, XLMModel

import tc
from tc.frontend.capture import capture
from tc.frontend.capture_conditions import ASSERTION
from tc.frontend.signature import IdCheck
from tests.frontend.asserting import (
    Alike,
    Asynchronous,
    Caught,
    Checked,
    Counted,
    Either,
    Function,
    Number,
    Raised,
    Statement,
    Twice,
    Untold,
)

TOLD = {
    Asynchronous: "program: it must be positive;",
    Twice: "program: it must be positive;",
    Untold: "Expected Tensor with single nonzero value, but got zero",
    Statement: r"fails: assert not \(x <= 0\)\.any\(\) and x\.shape\[0\] < 50;",
    Number: r"fails: assert -x\.long\(\)\.min\(\)\.item\(\) < x\.shape\[1\];",
    Function: r'fails: torch\._assert\(\(x > 0\)\.all\(\), "it must be positive"\);',
    Raised: r'message = "it must be positive" raise ValueError\(message\);',
    Checked: r'0\.1, lambda: "it must be positive"\);',
    Alike: r'unique_consecutive\(positive\.sum\(1\)\)\.numel\(\) == 1, "unlike"\);',
    Counted: r'torch_compilable_check\( x\[x > 0\]\.numel\(\) == x\.numel\(\), "it must',
}


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.usefixtures("plain")
def test_data_is_refused_as_eager_refuses_it(kind: type[nn.Module]) -> None:
    model, good = kind(), torch.rand(2, 7) + 1
    made = tc.compile(model, threads=1, fallback="error", example_inputs=good)
    bad = torch.rand(3, 5) + 1
    bad[1, 2] = -7
    for _ in range(2):
        torch.testing.assert_close(made(good), good + 1)
        with pytest.raises((RuntimeError, AssertionError, ValueError)):
            model(bad)
        with pytest.raises(tc.TcError, match=TOLD[kind]):
            made(bad)


def test_every_element_counts_whatever_else_is_computed() -> None:
    """A fused reduction over several threads; the value that is checked is used elsewhere too."""

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            good = (x > 0).all(-1)
            torch._assert_async(good.all(), 'a "message" of \\ all')
            return torch.where(good[:, None], x * 2, x)

    made = tc.compile(Model(), threads=2, fallback="error")
    for rows in (1, 33):
        x = torch.rand(rows, 70) + 1
        torch.testing.assert_close(made(x), x * 2)
        x[rows - 1, 69] = -1
        with pytest.raises(tc.TcError, match=r'a "message" of \\ all'):
            made(x)


def test_weights_are_checked_too() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._assert_async((self.scale > 0).all(), "a scale must be positive")
            return x * self.scale

    model = Model()
    made, x = tc.compile(model, threads=1, fallback="error"), torch.rand(2, 3)
    torch.testing.assert_close(made(x), x)
    model.scale[1] = -1
    with pytest.raises(tc.TcError, match="a scale must be positive"):
        made(x)


def assertions(graph: GraphModule) -> int:
    return sum(node.target is ASSERTION for node in graph.graph.nodes)


def test_what_follows_from_sizes_is_no_check_of_data() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            half = torch.tensor(x.shape[1]) - 2
            torch._check(half.item() >= 0)
            return x[:, : half.item()] + 1

    assert assertions(capture(Model(), (torch.rand(2, 7),), {}).graph) == 0


@pytest.mark.parametrize("kind", [Caught, Either])
def test_a_question_of_which_both_answers_lead_on_is_none(kind: type[nn.Module]) -> None:
    with pytest.raises(tc.CompileError, match="data-dependent"):
        capture(kind(), (torch.rand(2, 3),), {})


def test_a_model_that_asserts_its_lengths() -> None:
    config = XLMConfig(emb_dim=8, n_layers=1, n_heads=2, vocab_size=19, max_position_embeddings=16)
    given = {"input_ids": torch.ones(2, 7, dtype=torch.long), "lengths": torch.tensor([7, 3])}
    captured = capture(XLMModel(config).eval(), (), given)
    assert assertions(captured.graph) == 2
    # It takes a slice of the ids, which is all of them.
    assert IdCheck("input_ids", 19) in captured.signature.checks


@pytest.mark.usefixtures("plain")
def test_nothing_is_asserted_of_the_values_that_explain_makes_up() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch._assert_async((x > 2).all(), "it must be more")
            return x + 1

    made, x = tc.compile(Model(), threads=1, fallback="error"), torch.rand(2, 3)
    made(x + 3)
    assert made.explain(runs=1).rows
    with pytest.raises(tc.TcError, match="it must be more"):
        made(x)
