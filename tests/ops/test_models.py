"""Every operator of every captured model: its row on the model's own symbolic shapes.

Shape and dtype must be those that torch.export inferred, the values those of eager.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import pytest
import torch

from tc.frontend import capture_tree as tree
from tc.frontend.capture import capture
from tc.frontend.captured import Captured
from tc.ir.expr import Const, Expr, Sym
from tc.ir.tensor import Placeholder, Tensor
from tc.ops import by_aten
from tc.ops.dims import same
from tc.te import dtype as dtype_of
from tc.te import fresh
from tests.captures import captured
from tests.models import Entry, shallow, zoo
from tests.ops.harness import TORCH, distance, run, same_values

NAMES = {kind: dtype_of(name) for name, kind in TORCH.items()}
SYMBOLS = (operator.add, operator.sub, operator.mul, operator.floordiv, operator.getitem)
# Values that lack no precision but are large sums: eager itself is off by this much.
SLACK = 1e-5


class _Checker(torch.fx.Interpreter):
    """Runs a captured graph eagerly and checks the row of each operator on the way."""

    def __init__(self, captured: Captured) -> None:
        super().__init__(captured.graph)
        self.symbols = {
            s.name: Sym(s.name, s.low, (1 << 31) if s.high is None else s.high)
            for s in captured.signature.symbols
        }
        self.sizes: dict[str, int] = {}
        self.checked: set[str] = set()

    def dim(self, size: Any) -> Expr:
        """A size of the trace as an index expression."""
        if isinstance(size, int):
            return Const(size)
        return eval(str(size.node.expr), {}, dict(self.symbols))  # type: ignore[no-any-return]

    def run_node(self, n: torch.fx.Node) -> Any:
        found = super().run_node(n)
        if n.op == "placeholder":
            for size, actual in zip(n.meta["val"].shape, found.shape, strict=True):
                if not isinstance(size, int) and str(size).isidentifier():
                    self.sizes[str(size)] = actual
        name = str(n.target)
        if n.op == "call_function" and n.target not in SYMBOLS and "sym_size" not in name:
            self.check(n, found)
        return found

    def check(self, n: torch.fx.Node, found: Any) -> None:
        row = by_aten(str(n.target) if str(n.target).startswith("aten.") else f"aten.{n.target}")
        assert row is not None, f"{n.target}: no row"
        arrays: dict[str, Any] = {}

        def lift(x: Any) -> Any:
            match x:
                case torch.fx.Node():
                    value = x.meta["val"]
                    if not isinstance(value, torch.Tensor):
                        return self.dim(value)
                    shape = tuple(self.dim(s) for s in value.shape)
                    p = Placeholder(fresh("p"), shape, NAMES[value.dtype])
                    arrays[p.name] = self.env[x].numpy()
                    return p
                case torch.dtype():
                    return NAMES[x]
                case list() | tuple():
                    return tuple(lift(v) for v in x)
                case torch.device() | torch.layout() | torch.memory_format():
                    return None
            return x

        schema = n.target._schema.arguments  # type: ignore[union-attr]  # an OpOverload
        given = dict(zip((a.name for a in schema), n.args, strict=False)) | n.kwargs
        args = [lift(given.get(a.name, a.default_value)) for a in schema]
        built = row.build(*args)
        tensors = built if isinstance(built, tuple) else (built,)
        many = isinstance(found, tuple | list)
        metas = n.meta["val"] if many else (n.meta["val"],)
        values = found if many else (found,)
        for t, meta, value in zip(tensors, metas, values, strict=True):
            self.compare(str(n.target), t, meta, value, arrays)
        self.checked.add(row.name)

    def compare(self, name: str, t: Tensor, meta: Any, value: Any, arrays: dict[str, Any]) -> None:
        assert NAMES[meta.dtype] is t.dtype, name
        assert len(t.shape) == len(meta.shape), name
        for mine, theirs in zip(t.shape, meta.shape, strict=True):
            assert same(mine, self.dim(theirs)), f"{name}: {mine} for {theirs}"
        (got,) = run([t], arrays, self.sizes)
        wanted = value.detach().numpy()
        if distance(got, wanted, t.dtype) <= SLACK * max(1.0, float(np.abs(wanted).max(initial=0))):
            return
        same_values(got, wanted, t.dtype, name)


def check(found: Captured, kwargs: dict[str, Any]) -> set[str]:
    """Check the graph on a call; the names of the rows that it used."""
    tensors: list[torch.Tensor] = []
    tree.flatten(([], kwargs), tensors, [], "")
    checker = _Checker(found)
    with torch.no_grad():
        checker.run(*[w.tensor for w in found.weights], *tensors)
    return checker.checked


@pytest.mark.slow
@pytest.mark.parametrize("each", zoo(), ids=lambda each: each.name)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7)], ids=str)
def test_rows_serve_the_graph(each: Entry, shape: tuple[int, int]) -> None:
    rows = check(captured(each.name), each.inputs(*shape))
    assert "linear" in rows or "addmm" in rows


@pytest.mark.slow
@pytest.mark.parametrize("name", [e.name for e in zoo() if e.causal and not e.encoder_decoder])
def test_rows_serve_decoding(name: str) -> None:
    each = shallow(name)
    model = each.build()
    with torch.no_grad():
        past = model(**each.inputs(2, 6)).past_key_values
    step = {
        "input_ids": torch.tensor([[5], [6]]),
        "attention_mask": torch.ones(2, 7, dtype=torch.int64),
        "position_ids": torch.full((2, 1), 6),
        "past_key_values": past,
    }
    rows = check(capture(model, (), copy.deepcopy(step)), step)
    assert {"attention", "cat"} <= rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-sequence", "bert-token", "gpt2-lm", "t5", "llama-lm"])
def test_rows_serve_losses(name: str) -> None:
    each = shallow(name)
    model, call = each.build(), each.inputs(2, 5)
    length = () if "sequence" in name else (5,)
    call = {**call, "labels": torch.ones(2, *length, dtype=torch.int64)}
    call.pop("decoder_input_ids", None)
    assert "cross_entropy_loss" in check(capture(model, (), call), call)
