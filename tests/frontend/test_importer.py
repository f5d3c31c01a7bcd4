"""Captured graphs as graph IR: names, arguments, sizes, writes, operators that tc lacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tc.errors import UnsupportedError
from tc.frontend.capture import capture
from tc.frontend.importer import import_graph
from tc.graph.graph import Graph
from tc.ir.types import DType
from tests.captures import captured
from tests.models import Entry, entry, zoo


def imported(fn: Any, *args: torch.Tensor) -> Graph:
    class Module(nn.Module):
        def forward(self, *tensors: torch.Tensor) -> Any:
            return fn(*tensors)

    return import_graph(capture(Module(), args, {})).graph


@pytest.mark.parametrize("each", zoo(), ids=lambda each: each.name)
def test_tc_has_every_operator_of_the_zoo(each: Entry) -> None:
    graph = import_graph(captured(each.name)).graph
    assert [n.op for n in graph.nodes if n.is_fallback] == []


def test_parameters_and_inputs_are_called_as_the_model_calls_them() -> None:
    graph = import_graph(captured("bert")).graph
    assert "encoder.layer.0.attention.self.query.weight" in {v.name for v in graph.params}
    assert [v.name for v in graph.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert "encoder.layer.1.output.dense" in {n.origin for n in graph.nodes}


def test_two_imports_print_the_same() -> None:
    each = entry("gpt2-lm")
    first, second = (
        str(import_graph(capture(each.build(), (), each.inputs(2, 5))).graph) for _ in range(2)
    )
    assert first == second


def test_defaults_are_spelled_out() -> None:
    graph = imported(lambda x: torch.add(x, x, alpha=2) + torch.softmax(x, -1), torch.rand(3, 4))
    assert [n.args[1:] for n in graph.nodes if n.op == "softmax"] == [(-1, None)]
    first = next(n for n in graph.nodes if n.op == "add")
    assert first.args[2] == 2


def test_each_piece_of_a_split_is_a_value() -> None:
    graph = imported(lambda x: torch.split(x, 2, 1)[1], torch.rand(3, 6))
    (node,) = graph.nodes
    assert [v.name for v in node.outputs] == ["split.0", "split.1", "split.2"]
    assert graph.outputs == (node.outputs[1],)


def test_an_operator_that_tc_lacks_keeps_the_name_of_its_overload() -> None:
    graph = imported(lambda x: torch.linalg.matrix_exp(x), torch.rand(3, 3))
    assert [n.op for n in graph.nodes] == ["aten.linalg_matrix_exp.default"]


def test_a_write_to_an_input_is_a_new_value() -> None:
    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.add_(y)
        return x * 2

    graph = imported(step, torch.rand(3, 4), torch.rand(3, 4))
    ((target, new),) = graph.mutated
    assert target is graph.inputs[0]
    assert [n.op for n in graph.nodes] == ["add", "mul"]
    assert graph.nodes[0].outputs == (new,)
    assert graph.nodes[1].inputs == (new,)


def test_element_types_that_tc_lacks_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="complex64.*run it eagerly"):
        imported(lambda x: torch.fft.fft(x).exp().real, torch.rand(8))


def test_tensors_made_of_nothing_have_the_default_type_of_the_process() -> None:
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        graph = imported(
            lambda x: x + torch.ones(3) * torch.full((3,), 2.0) + torch.arange(3) / 2,
            torch.rand(2, 3),
        )
    finally:
        torch.set_default_dtype(usual)
    assert {v.dtype for v in graph.outputs} == {DType.F64}
    assert {n.op for n in graph.nodes if n.is_fallback} <= {"aten.div.Tensor"}
