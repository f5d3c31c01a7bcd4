"""Told shapes are those that PyTorch works out, layouts and questions about sizes too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import fake_impls
from torch.export import Dim
from torch.nn import functional

from tc.frontend import capture_told
from tc.frontend.capture_told import told


class Calls(nn.Module):
    """A function of tensors with weights of its own."""

    def __init__(self, function: Callable[..., torch.Tensor], *sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList([torch.randn(size) for size in sizes])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.weights)


X = torch.randn(2, 3, 8)
CASES = {
    "linear": (Calls(functional.linear, (5, 8), (5,)), X),
    "linear without a bias": (Calls(functional.linear, (5, 8)), X),
    "linear of a transposed": (Calls(functional.linear, (5, 8), (5,)), X.mT.contiguous().mT),
    "linear without a bias of a transposed": (
        Calls(functional.linear, (5, 8)),
        X.mT.contiguous().mT,
    ),
    "linear of one vector": (Calls(functional.linear, (5, 8), (5,)), torch.randn(8)),
    "linear to one number": (Calls(functional.linear, (8,)), X),
    "linear of a free size": (Calls(lambda x: functional.linear(x, x[0])), X),
    "layer norm": (Calls(lambda x, *w: functional.layer_norm(x, (8,), *w), (8,), (8,)), X),
    "layer norm over two": (Calls(lambda x: functional.layer_norm(x, (3, 8))), X[None, :1]),
    "layer norm of a transposed": (
        Calls(lambda x, w: functional.layer_norm(x, (3,), w), (3,)),
        X.contiguous().mT,
    ),
    "dropout": (Calls(lambda x: functional.dropout(x, 0.5, False) + 1), X),
    "dropout in training": (Calls(lambda x: functional.dropout(x, 0.5, True)), X),
    "addmm": (Calls(lambda x, b, w: torch.addmm(b, x, w), (5,), (8, 5)), X[0]),
    "addmm with a matrix": (Calls(lambda x, w: torch.addmm(x, x, w), (8, 8)), X[0]),
    "addmm scaled": (
        Calls(lambda x, b, w: torch.addmm(b, x, w, beta=2, alpha=3), (1,), (8, 5)),
        X[0],
    ),
    "gelu": (Calls(lambda x: functional.gelu(x, approximate="tanh")), X),
    "gelu of a transposed": (Calls(functional.gelu), X.contiguous().mT),
    "tanh of integers": (Calls(torch.tanh), torch.arange(6).reshape(2, 3)),
    "pow": (Calls(lambda x: x**2), X),
    "pow of integers": (Calls(lambda x: x**0.5), torch.arange(6).reshape(2, 3)),
    "a complex power": (Calls(lambda x: (x**1j).real), X),
    "view": (Calls(lambda x: x.view(x.shape[0], -1, 2, 4)), X),
    "view of one row": (Calls(lambda x: x.view(-1)), X),
    "view of a transposed": (Calls(lambda x: x.mT.view(x.shape[0], 2, 4, x.shape[1])), X),
    "reshape that copies": (Calls(lambda x: x.mT.reshape(x.shape[0], -1)), X),
    "view of a number": (Calls(lambda x: x.sum().view(1, 1)), X),
}


def traced(model: nn.Module, x: torch.Tensor, inside: bool) -> list[tuple[object, ...]]:
    """What a trace says of each value, and the sizes that it is for."""
    free = {0: Dim.AUTO, 1: Dim.AUTO} if x.dim() > 1 else {}
    if inside:
        with told():
            program = torch.export.export(model, (x,), dynamic_shapes=(free,), strict=False)
    else:
        program = torch.export.export(model, (x,), dynamic_shapes=(free,), strict=False)
    values = [(n.target, n.meta.get("val")) for n in program.graph.nodes]
    kinds = [
        (str(t), v.dtype, tuple(map(str, v.shape)), tuple(map(str, v.stride())), v.storage_offset())
        for t, v in values
        if isinstance(v, torch.Tensor)
    ]
    bounds = [(str(s), str(r.lower), str(r.upper)) for s, r in program.range_constraints.items()]
    return [*kinds, *bounds]


@pytest.mark.parametrize("name", CASES)
def test_a_trace_is_the_same(name: str) -> None:
    model, x = CASES[name]
    assert traced(model, x, inside=True) == traced(model, x, inside=False)


def test_what_does_not_fit_is_refused_as_before() -> None:
    for model in (
        Calls(functional.linear, (5, 7)),
        Calls(functional.linear, (5, 8), (4,)),
        Calls(lambda x: functional.layer_norm(x, (7,))),
        Calls(lambda x, w: functional.layer_norm(x, (8,), w), (7,)),
        Calls(lambda x: x.view(x.shape[0], 5, 5)),
    ):
        messages = []
        for inside in (False, True):
            with pytest.raises((RuntimeError, ValueError)) as refused:
                traced(model, X, inside)
            messages.append(str(refused.value).partition("\n")[0])
        assert messages[0] == messages[1]


def test_pytorch_is_as_before_afterwards() -> None:
    linear = torch.ops.aten.linear.default
    before = dict(linear.py_kernels), dict(fake_impls.op_implementations_dict)
    rules = dict(fake_impls.get_fast_op_impls())

    def fails() -> None:
        with told():
            assert linear.py_kernels != before[0]
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert (dict(linear.py_kernels), dict(fake_impls.op_implementations_dict)) == before
    assert dict(fake_impls.get_fast_op_impls()) == rules


def test_other_threads_go_the_usual_way(monkeypatch: pytest.MonkeyPatch) -> None:
    told_to: list[int] = []
    usual = capture_told._contiguous

    def contiguous(like: Any, shape: Sequence[Any]) -> Any:
        told_to.append(threading.get_ident())
        return usual(like, shape)

    monkeypatch.setattr(capture_told, "_contiguous", contiguous)
    with told():
        thread = threading.Thread(target=traced, args=(*CASES["linear"], False))
        thread.start()
        thread.join()
        assert told_to == []
        traced(*CASES["linear"], inside=False)
    assert set(told_to) == {threading.get_ident()}
