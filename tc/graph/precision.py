"""Contractions of activations with constant weights, in shorter numbers than f32.

    y = linear(x, weight, bias)     =>     x16 = to_dtype(x, bf16)
                                           w16 = to_dtype(weight, bf16)        (prepared)
                                           y = linear(to_dtype(x16, f32), to_dtype(w16, f32), bias)

The widening conversions cost nothing: they are done where the operands are read, and a product of
converted bf16 is what dot instructions compute. Sums, and everything but the operands of these
products, stay f32. Where the target has no such instruction, only the weights are shortened.

In int8 both operands are integers, whose sums are exact (the operators are in tc.ops.quantize):

    y = linear(x, weight, bias)     =>     step, zero, x8 = quantize_rows(x, balance)
                                           total = linear(to_dtype(x8, i32), to_dtype(w8, i32))
                                           y = dequantize(total, step, zero, scale, sums) + bias

Everything else keeps its precision. This pass must not look at sizes to decide what is faster.
"""

from __future__ import annotations

from dataclasses import dataclass
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


def shorten(
    graph: Graph,
    precision: str,
    target: Target,
    delicate: frozenset[tuple[str, int]] = frozenset(),
) -> Graph:
    """The graph with its contractions in `precision`: "fp32" (as they are), "bf16" or "int8".

    `delicate`: names of parameters, each with the dim that is summed over, which int8 would round
    too much; their products are in bf16 instead.
    """
    if precision == "fp32":
        return graph
    activations = target.has("avx512bf16")
    if precision == "int8":
        return _Int8(graph, activations, delicate).run()
    return _Bf16(graph, activations).run()


@dataclass(frozen=True, slots=True)
class _Rows:
    """An activation in u8, widened; the step and the zero of each row."""

    wide: Value
    step: Value
    zero: Value


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight in i8, widened; the balance of its inputs, scale and sum of its outputs."""

    wide: Value
    balance: Value
    scale: Value
    sums: Value


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
                self.prepared(node)
            self.nodes += self.product(node) if self.is_product(node) else [node]
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

    def product(self, node: Node) -> list[Node]:
        """The nodes in its place."""
        raise NotImplementedError

    def prepared(self, node: Node) -> None:
        """Look at a node that depends on parameters alone."""

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


class _Int8(_Bf16):
    """Operands of 8 bits: activations row by row at each call, weights by output channel."""

    def __init__(
        self, graph: Graph, activations: bool, delicate: frozenset[tuple[str, int]]
    ) -> None:
        super().__init__(graph, activations)
        self.delicate = {(v, d) for v in graph.params for d in (0, 1) if (v.name, d) in delicate}
        self.weights: dict[tuple[Value, int], _Weight] = {}
        self.rows: dict[tuple[Value, Value], _Rows] = {}

    def prepared(self, node: Node) -> None:
        """What is made of delicate weights is delicate."""
        found = {d for v, d in self.delicate if v in node.inputs}
        if found and node.op != "cat":
            found = {0, 1}  # who knows what became of the dims
        self.delicate.update((v, d) for v in node.outputs for d in found)

    def product(self, node: Node) -> list[Node]:
        """The product of integers, and what makes real numbers of it."""
        x, w = (node.args[n] for n in _OPERANDS[node.op])
        assert isinstance(x, Value) and isinstance(w, Value)
        dim = 1 if node.op == "linear" else 0
        plain = node.op != "addmm" or node.args[3:] == (1, 1)
        if not plain or not _fits(w, dim) or (w, dim) in self.delicate:
            return super().product(node)
        bias = node.args[2] if node.op == "linear" else node.args[0] if node.op == "addmm" else None
        weight = self.quantized_weight(w, dim, node.origin)
        rows = self.quantized_rows(x, weight.balance, node.origin)
        (out,) = node.outputs
        total = self.value(f"{out.name}.total", out, I32)
        real = out if bias is None else self.value(f"{out.name}.real", out, F32)
        real_of = (total, rows.step, rows.zero, weight.scale, weight.sums)
        operands = (rows.wide, weight.wide)
        made = [
            Node("linear", (*operands, None), (total,), node.origin)
            if node.op == "linear"
            else Node("matmul", operands, (total,), node.origin),
            Node("dequantize", real_of, (real,), node.origin),
        ]
        if bias is not None:
            made.append(Node("add", (real, bias, 1), (out,), node.origin))
        return made

    def quantized_rows(self, x: Value, balance: Value, origin: str) -> _Rows:
        """The rows of an activation in u8, balanced for a weight."""
        if (x, balance) not in self.rows:
            column = Value("", (*x.shape[:-1], Const(1)), F32)
            short, wide = self.value(f"{x.name}.u8", x, U8), self.value(f"{x.name}.i32", x, I32)
            step = self.value(f"{x.name}.step", column, F32)
            zero = self.value(f"{x.name}.zero", column, I32)
            self.add_behind(x, Node("quantize_rows", (x, balance), (step, zero, short), origin))
            self.add_behind(x, Node("to_dtype", (short, I32, *_PLAIN), (wide,), origin))
            self.rows[x, balance] = _Rows(wide, step, zero)
        return self.rows[x, balance]

    def quantized_weight(self, w: Value, dim: int, origin: str) -> _Weight:
        """A weight in i8, with what undoes that."""
        if (w, dim) not in self.weights:
            depth, channels = (Value("", (w.shape[d],), F32) for d in (dim, 1 - dim))
            balance = self.value(f"{w.name}.balance", depth, F32)
            scale = self.value(f"{w.name}.scale", channels, F32)
            short, wide = self.value(f"{w.name}.i8", w, I8), self.value(f"{w.name}.i32", w, I32)
            sums = self.value(f"{w.name}.sums", channels, I32)
            self.add_behind(w, Node("weight_balance", (w, dim), (balance,), origin))
            self.add_behind(w, Node("weight_scale", (w, balance, dim), (scale,), origin))
            self.add_behind(w, Node("weight_int8", (w, balance, scale, dim), (short,), origin))
            self.add_behind(w, Node("weight_sum", (short, dim), (sums,), origin))
            self.add_behind(w, Node("to_dtype", (short, I32, *_PLAIN), (wide,), origin))
            self.weights[w, dim] = _Weight(wide, balance, scale, sums)
        return self.weights[w, dim]


def _fits(w: Value, dim: int) -> bool:
    """Whether no sum of products can leave i32."""
    depth = w.shape[dim]
    return isinstance(depth, Const) and int(depth.value) * 255 * 127 < 1 << 31


def _is_matrix(w: Value) -> bool:
    return len(w.shape) == 2 and all(isinstance(d, Const) for d in w.shape)
