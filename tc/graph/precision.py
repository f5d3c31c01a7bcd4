"""Contractions of activations with constant weights, in shorter numbers than f32.

    y = linear(x, weight, bias)     =>     x16 = to_dtype(x, bf16)
                                           w16 = to_dtype(weight, bf16)        (prepared)
                                           y = linear(to_dtype(x16, f32), to_dtype(w16, f32), bias)

The widening conversions cost nothing: they are done where the operands are read, and a product of
converted bf16 is what dot instructions compute. Sums, and everything but the operands of these
products, stay f32. Where the target has no such instruction, only the weights are shortened.

In int8 both operands are integers, whose sums are exact (the operators are in tc.ops.quantize):

    y = linear(x, weight, bias)     =>     x8, peak = quantize_rows(x)
                                           total = linear(to_dtype(x8, i32), to_dtype(w8, i32))
                                           y = dequantize(total, offset, peak, scale) + bias

Everything else keeps its precision. This pass must not look at sizes to decide what is faster.
"""

from __future__ import annotations

from typing import Final

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import producers, with_inputs, with_nodes
from tc.graph.views import RESHAPES
from tc.ir.expr import Const
from tc.ir.types import BF16, F32, I8, I32, U8, DType
from tc.target import Target

# Products, and which of their arguments are the activation and the weight.
_OPERANDS: Final = {"linear": (0, 1), "matmul": (0, 1), "mm": (0, 1), "addmm": (1, 2)}
# Views that keep each element once: a conversion may as well be done before them.
_PLAIN: Final = (False, False, None)  # arguments of to_dtype that mean nothing here
_REORDERS: Final = RESHAPES | {"transpose", "permute"}


def shorten(graph: Graph, precision: str, target: Target) -> Graph:
    """The graph with its contractions in `precision`: "fp32" (as they are), "bf16" or "int8"."""
    if precision == "fp32":
        return graph
    if precision == "int8":
        return _Int8(graph).run()
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
            self.add_behind(v, Node("to_dtype", (short, F32, *_PLAIN), (wide,), origin))
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
        nodes = [Node("to_dtype", (source, BF16, *_PLAIN), (out,), origin)]
        for n, view in enumerate(views):
            (old,) = view.outputs
            new = short if n == len(views) - 1 else self.value(f"{old.name}.bf16", old, BF16)
            nodes.append(Node(view.op, (out, *view.args[1:]), (new,), view.origin))
            out = new
        return nodes


class _Int8(_Shortening):
    """Operands of 8 bits: activations row by row at each call, weights by output channel."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.rows: dict[Value, tuple[Value, Value]] = {}
        self.weights: dict[tuple[Value, int], tuple[Value, Value, Value]] = {}

    def product(self, node: Node) -> list[Node] | None:
        """The product of integers, and what makes real numbers of it."""
        x, w = (node.args[n] for n in _OPERANDS[node.op])
        assert isinstance(x, Value) and isinstance(w, Value)
        dim = 1 if node.op == "linear" else 0
        if not _fits(w, dim) or (node.op == "addmm" and node.args[3:] != (1, 1)):
            return None
        bias = node.args[2] if node.op == "linear" else node.args[0] if node.op == "addmm" else None
        rows, peak = self.quantized_rows(x, node.origin)
        weight, scale, offset = self.quantized_weight(w, dim, node.origin)
        (out,) = node.outputs
        total = self.value(f"{out.name}.total", out, I32)
        real = out if bias is None else self.value(f"{out.name}.real", out, F32)
        op = "linear" if node.op == "linear" else "matmul"
        operands = (rows, weight, None) if op == "linear" else (rows, weight)
        made = [
            Node(op, operands, (total,), node.origin),
            Node("dequantize", (total, offset, peak, scale), (real,), node.origin),
        ]
        if bias is not None:
            made.append(Node("add", (real, bias, 1), (out,), node.origin))
        return made

    def quantized_rows(self, x: Value, origin: str) -> tuple[Value, Value]:
        """The rows of an activation as integers in i32, and their peaks."""
        if x not in self.rows:
            short, wide = self.value(f"{x.name}.u8", x, U8), self.value(f"{x.name}.i32", x, I32)
            column = Value("", (*x.shape[:-1], Const(1)), F32)
            peak = self.value(f"{x.name}.peak", column, F32)
            self.add_behind(x, Node("quantize_rows", (x,), (short, peak), origin))
            self.add_behind(x, Node("to_dtype", (short, I32, *_PLAIN), (wide,), origin))
            self.rows[x] = wide, peak
        return self.rows[x]

    def quantized_weight(self, w: Value, dim: int, origin: str) -> tuple[Value, Value, Value]:
        """A weight as integers in i32, the scale of its channels, and their offset."""
        if (w, dim) not in self.weights:
            channels = Value("", (w.shape[1 - dim],), F32)
            scale = self.value(f"{w.name}.scale", channels, F32)
            short, wide = self.value(f"{w.name}.i8", w, I8), self.value(f"{w.name}.i32", w, I32)
            offset = self.value(f"{w.name}.offset", channels, I32)
            self.add_behind(w, Node("weight_scale", (w, dim), (scale,), origin))
            self.add_behind(w, Node("weight_int8", (w, scale, dim), (short,), origin))
            self.add_behind(w, Node("weight_offset", (short, dim), (offset,), origin))
            self.add_behind(w, Node("to_dtype", (short, I32, *_PLAIN), (wide,), origin))
            self.weights[w, dim] = wide, scale, offset
        return self.weights[w, dim]


def _fits(w: Value, dim: int) -> bool:
    """Whether no sum of products can leave i32."""
    depth = w.shape[dim]
    return isinstance(depth, Const) and int(depth.value) * 255 * 127 < 1 << 31


def _is_matrix(w: Value) -> bool:
    return len(w.shape) == 2 and all(isinstance(d, Const) for d in w.shape)
