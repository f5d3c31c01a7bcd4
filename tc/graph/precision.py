"""Contractions of activations with constant weights, in shorter numbers than f32.

    y = linear(x, weight, bias)     =>     x16 = to_dtype(x, bf16)
                                           w16 = to_dtype(weight, bf16)        (prepared)
                                           y = linear(to_dtype(x16, f32), to_dtype(w16, f32), bias)

The widening conversions cost nothing: they are done where the operands are read, and a product of
converted bf16 is what dot instructions compute. Sums, and everything but the operands of these
products, stay f32. Where the target has no such instruction, only the weights are shortened.

Everything else keeps its precision. This pass must not look at sizes to decide what is faster.
"""

from __future__ import annotations

from typing import Final

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import producers, with_inputs, with_nodes
from tc.graph.views import RESHAPES
from tc.ir.expr import Const
from tc.ir.types import BF16, F32, DType
from tc.target import Target

# Products, and which of their arguments are the activation and the weight.
_OPERANDS: Final = {"linear": (0, 1), "matmul": (0, 1), "mm": (0, 1), "addmm": (1, 2)}
# Views that keep each element once: a conversion may as well be done before them.
_REORDERS: Final = RESHAPES | {"transpose", "permute"}


def shorten(graph: Graph, precision: str, target: Target) -> Graph:
    """The graph with its contractions in `precision`: "fp32" (as they are) or "bf16"."""
    if precision == "fp32":
        return graph
    return _Bf16(graph, activations=target.has("avx512bf16")).run()


class _Shortening:
    """Rewrites the nodes of a graph in order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.made = producers(graph)
        self.fixed = set(graph.params)
        self.taken = {*graph.params, *graph.inputs, *self.made}
        self.names = {v.name for v in self.taken}
        # Where in `nodes` a value is made, so that a conversion can be put right behind it.
        self.behind: dict[Value, list[Node]] = {}

    def run(self) -> Graph:
        for node in self.graph.nodes:
            if not node.is_fallback and node.inputs and all(v in self.fixed for v in node.inputs):
                self.fixed.update(node.outputs)
            new = self.product(node) if self.is_product(node) else None
            self.nodes += [node] if new is None else new
        ordered: list[Node] = []
        for node in self.nodes:
            ordered.append(node)
            for v in node.outputs:
                ordered += self.behind.pop(v, [])
        early = [n for nodes in self.behind.values() for n in nodes]  # of inputs and parameters
        return with_nodes(self.graph, [*early, *ordered])

    def is_product(self, node: Node) -> bool:
        """Whether the node multiplies an f32 activation with a constant f32 matrix."""
        at = _OPERANDS.get(node.op)
        if at is None:
            return False
        x, w = (node.args[n] for n in at)
        if not isinstance(x, Value) or not isinstance(w, Value) or x in self.fixed:
            return False
        plain = x.dtype is w.dtype is node.outputs[0].dtype is F32 and x.shape
        return bool(plain) and w in self.fixed and _is_matrix(w)

    def product(self, node: Node) -> list[Node] | None:
        """The nodes in its place, or None to leave it."""
        raise NotImplementedError

    def value(self, name: str, like: Value, dtype: DType) -> Value:
        """A new value of that name or one like it."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return Value(name, like.shape, dtype)

    def add_behind(self, source: Value, node: Node) -> None:
        """Put a node right behind the one that makes `source`."""
        self.behind.setdefault(source, []).append(node)


class _Bf16(_Shortening):
    """bf16 operands; `activations`: not of the weights alone."""

    def __init__(self, graph: Graph, activations: bool) -> None:
        super().__init__(graph)
        self.activations = activations
        self.wide: dict[Value, Value] = {}

    def product(self, node: Node) -> list[Node]:
        """The same product of operands that went through bf16."""
        x, w = (node.args[n] for n in _OPERANDS[node.op])
        assert isinstance(x, Value) and isinstance(w, Value)
        renames = {w: self.through_bf16(w, node.origin)}
        if self.activations:
            renames[x] = self.through_bf16(x, node.origin)
        return [with_inputs(node, renames)]

    def through_bf16(self, v: Value, origin: str) -> Value:
        """`v` rounded to bf16, as f32."""
        if v not in self.wide:
            short, wide = self.value(f"{v.name}.bf16", v, BF16), self.value(f"{v.name}.f32", v, F32)
            for node in self.narrow(v, short, origin):
                self.add_behind(v, node)
            self.add_behind(v, Node("to_dtype", (short, F32, False, False, None), (wide,), origin))
            self.wide[v] = wide
        return self.wide[v]

    def narrow(self, v: Value, short: Value, origin: str) -> list[Node]:
        """Conversion, before the views between an operator and `v`: it then ends that operator."""
        views: list[Node] = []
        source = v
        while (node := self.made.get(source)) is not None and node.op in _REORDERS:
            inner = node.args[0]
            assert isinstance(inner, Value)
            if inner.dtype is not F32:
                break
            views.insert(0, node)
            source = inner
        out = self.value(f"{source.name}.bf16", source, BF16) if views else short
        nodes = [Node("to_dtype", (source, BF16, False, False, None), (out,), origin)]
        for n, view in enumerate(views):
            (old,) = view.outputs
            new = short if n == len(views) - 1 else self.value(f"{old.name}.bf16", old, BF16)
            nodes.append(Node(view.op, (out, *view.args[1:]), (new,), view.origin))
            out = new
        return nodes


def _is_matrix(w: Value) -> bool:
    return len(w.shape) == 2 and all(isinstance(d, Const) for d in w.shape)
