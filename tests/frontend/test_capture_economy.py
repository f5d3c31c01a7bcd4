"""What an export leaves out is nothing that its graph computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace
from torch.fx.experimental import proxy_tensor

from tc.frontend.capture import capture
from tc.frontend.capture_economy import economy


class Switches(nn.Module):
    """Turns gradients off and on in its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = self.inner(x)
        with torch.enable_grad():
            return y.sin() + x.sum()


def test_a_captured_graph_runs_when_it_is_called() -> None:
    model, x = Switches().eval(), torch.randn(2, 4)
    found = capture(model, (x,), {})
    weights = [weight.tensor for weight in found.weights]
    for given in (x, torch.randn(5, 4)):
        (value,) = found.graph(*weights, given)
        torch.testing.assert_close(value, model(given))
    assert "sin" in found.graph.code


def test_nothing_of_it_turns_gradients() -> None:
    targets = [
        str(n.target) for n in capture(Switches(), (torch.ones(2, 4),), {}).graph.graph.nodes
    ]
    assert any("sin" in target for target in targets)
    assert not any("grad" in target for target in targets)


def test_pytorch_is_as_before_afterwards() -> None:
    before = GraphModule.recompile, proxy_tensor._extract_tensor_metadata

    def fails() -> None:
        with economy():
            assert GraphModule.recompile is not before[0]
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert (GraphModule.recompile, proxy_tensor._extract_tensor_metadata) == before


def test_a_graph_made_meanwhile_works() -> None:
    with economy():
        made = symbolic_trace(nn.Sequential(nn.ReLU(), nn.Flatten()))
        nodes = made.graph.find_nodes(op="call_module", target="0")
        assert len(nodes) == 1
        assert made(-torch.ones(2, 3)).tolist() == [[0, 0, 0]] * 2
        nodes[0].replace_all_uses_with(nodes[0].args[0])
        made.graph.erase_node(nodes[0])
        made.recompile()
    assert made(-torch.ones(2, 3)).tolist() == [[-1, -1, -1]] * 2
