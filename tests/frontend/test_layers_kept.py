"""Layers whose error in shorter numbers is out of bounds stay in longer ones, and are told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import tc
from tc.frontend.accuracy import error
from tc.frontend.captured import own_tensors
from tc.frontend.layer_errors import layer_errors, short_rows, short_weight
from tc.frontend.layers_kept import BOUNDS
from tc.graph.short_numbers import groups_of
from tc.ops.table import by_name
from tc.target import Target

HOST = Target.parse("x86-64-v3")


class Shifted(torch.nn.Module):
    """The second layer's weights sum to zero, so that of a common shift nothing is left; what they
    are off by is multiplied with it."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.shift = shift
        self.plain = torch.nn.Linear(96, 64)
        self.second = torch.nn.Linear(64, 48)
        with torch.no_grad():
            self.second.weight -= self.second.weight.mean(1, keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.plain(x) + self.shift)


def shifted(shift: float, precision: str, x: torch.Tensor) -> tuple[torch.nn.Module, Any]:
    model = Shifted(shift).eval()
    # Where an instruction multiplies pairs of bf16 activations are rounded too.
    given: Any = {"precision": precision, "example_inputs": (x,), "threads": 1}
    return model, tc.compile(model, target="x86-64-v3", **given)


@pytest.mark.parametrize(
    ("shift", "precision", "kept"),
    [(0.0, "int8", {}), (9.0, "int8", {"second.weight": "bf16"}),
     (5000.0, "int8", {"second.weight": "fp32"}), (5000.0, "bf16", {"second.weight": "fp32"})],
)  # fmt: skip
def test_layers_out_of_bounds_stay_longer(
    shift: float, precision: str, kept: dict[str, str]
) -> None:
    x = torch.randn(33, 96, generator=torch.Generator().manual_seed(1))
    model, cm = shifted(shift, precision, x)
    with torch.no_grad():
        assert error(cm(x), model(x)) <= BOUNDS[precision]
    told = cm.explain(1).accuracy
    assert {layer.name: layer.precision for layer in told.kept} == kept
    assert [layer.name for layer in told.layers] == ["plain.weight", "second.weight"]
    assert told.worst == pytest.approx(cm.accuracy(x).worst, rel=0.01)
    text = str(cm.explain(1))
    for name, longer in kept.items():
        assert f"kept in a longer precision: {name} in {longer} ({precision} " in text
    assert ("kept" in text) == bool(kept)


class Between(torch.nn.Module):
    """What is left of two layers that are nearly the same: each is off by little of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.one, self.other = (torch.nn.Linear(96, 64, bias=False) for _ in range(2))
        with torch.no_grad():
            self.other.weight.mul_(0.05).add_(self.one.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.one(x) - self.other(x)


def test_layers_that_are_too_far_together_stay_longer() -> None:
    x = torch.randn(33, 96, generator=torch.Generator().manual_seed(1))
    model = Between().eval()
    given: Any = {"precision": "int8", "example_inputs": (x,), "threads": 1}
    cm: Any = tc.compile(model, target="x86-64-v3", **given)
    with torch.no_grad():
        assert error(cm(x), model(x)) <= BOUNDS["int8"]
    told = cm.explain(1).accuracy
    assert all(layer.tried[0][1] <= BOUNDS["int8"] for layer in told.layers)
    assert told.kept and {layer.precision for layer in told.kept} == {"bf16"}
    for layer in told.kept:
        assert f"{layer.name} in bf16 (int8 " in str(told)
    assert "too much with all others" in str(told)


def test_what_is_measured_is_what_the_program_gives() -> None:
    x = torch.randn(40, 200)
    model = torch.nn.Linear(200, 30).eval()
    cm: Any = tc.compile(model, precision="int8", example_inputs=(x,), threads=1)
    found = cm.accuracy(x)
    (layer,) = found.layers
    assert layer.error == pytest.approx(found.worst, rel=1e-3)
    other = cm.accuracy(x + 9.0)
    assert other.layers[0].error == pytest.approx(other.worst, rel=1e-3)
    assert abs(other.layers[0].error / layer.error - 1) > 0.1
    assert not other.kept  # that was settled before
    assert tc.compile(model, example_inputs=(x,)).accuracy(x).layers == ()


@pytest.mark.parametrize("depth", [1, 7, 64, 130])
@pytest.mark.parametrize("bits", [7, 8])
def test_rounding_is_that_of_the_operators(depth: int, bits: int) -> None:
    torch.manual_seed(depth)
    x, w = torch.randn(5, depth) * 3 + 1, torch.randn(4, depth)
    w[1, : depth // 2] = 0
    w[2] = 0
    count, size = groups_of(depth)

    def grouped(given: torch.Tensor) -> np.ndarray:
        whole = torch.nn.functional.pad(given, (0, count * size - depth))
        return whole.reshape(len(given), count, size).numpy()

    step, zero, level = by_name("quantize_rows").reference(grouped(x), bits)
    rows = ((level.astype(np.int32) - zero) * step).reshape(5, -1)[:, :depth]
    np.testing.assert_allclose(short_rows(x, bits).numpy(), rows, rtol=1e-5, atol=1e-6)
    scale = by_name("weight_scale").reference(grouped(w))
    with np.errstate(invalid="ignore"):
        short = np.nan_to_num(np.clip(np.round(grouped(w) / scale.T[..., None]), -127, 127))
    wanted = (short * scale.T[..., None]).reshape(4, -1)[:, :depth]
    np.testing.assert_allclose(short_weight(w, "int8").numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_programs_that_keep_other_layers_are_told_apart() -> None:
    x = torch.randn(9, 96)
    with torch.no_grad():
        _, first = shifted(9.0, "int8", x)
        again = Shifted(9.0).eval()
        again.second.weight.normal_()  # no shift is taken out
        second: Any = tc.compile(again, precision="int8", example_inputs=(x,), threads=1)
        assert [layer.name for layer in first.explain(1).accuracy.kept] == ["second.weight"]
        assert not second.explain(1).accuracy.kept
        assert error(second(x), again(x)) <= BOUNDS["int8"]


def test_graphs_of_torch_compile_keep_them_too() -> None:
    x = torch.randn(33, 96, generator=torch.Generator().manual_seed(1))
    model = Shifted(100.0).eval()
    torch._dynamo.reset()
    cm = torch.compile(model, backend="tc", options={"precision": "int8", "threads": 1})
    with torch.no_grad():
        wanted = model(x)
        for _ in range(2):
            found = cm(x)
            assert error(found, wanted) <= BOUNDS["int8"]
            assert not torch.allclose(found, wanted, rtol=0, atol=1e-4)  # the first layer is short


class Reused(torch.nn.Module):
    """A weight in two calls, one made of a parameter, one that no product has, a product of two
    activations, and a state that the model counts its calls in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.fc = torch.nn.Linear(32, 32)
        self.raw = torch.nn.Parameter(torch.randn(32, 16))
        self.scale = torch.nn.Parameter(torch.ones(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(self.fc(x) * 50)
        y = y @ (self.raw * self.scale)
        return y @ y.mT


def test_every_product_with_a_constant_weight_is_measured() -> None:
    model = Reused().eval()
    asked: list[str] = []

    def following(name: str, found: Any) -> str | None:
        asked.append(name)
        return None if "int8" in found else "int8"

    random = torch.random.get_rng_state()
    found = layer_errors(own_tensors(model), lambda: model(torch.ones(3, 32)), following, HOST)
    assert torch.equal(random, torch.random.get_rng_state())
    assert set(found) == {"fc.weight", "raw", "scale"}
    assert all(0 < errors["int8"] < 1 for errors in found.values())
    assert asked.count("fc.weight") == 4


def test_a_call_that_the_model_refuses_is_not_measured() -> None:
    class Refuses(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError(f"never of {len(x)}")

    with pytest.raises(tc.TcError, match="never"):
        tc.compile(Refuses(), precision="int8", example_inputs=(torch.ones(2),))


def test_numbers_beyond_all_bounds() -> None:
    model = torch.nn.Linear(8, 4).eval()
    x = torch.full((2, 8), 1e38)
    with torch.no_grad():
        model.weight.mul_(1e-3)
    given: Any = own_tensors(model), lambda: model(x), lambda _, f: None if f else "bf16", HOST
    found = layer_errors(*given)
    assert math.isfinite(found["weight"]["bf16"])
    x[0, 0] = torch.inf
    assert layer_errors(*given) == {}
