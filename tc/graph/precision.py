"""Contractions of activations with constant weights, in shorter numbers than f32.

    y = linear(x, weight, bias)     =>     x16 = to_dtype(x, bf16)
                                           w16 = to_dtype(weight, bf16)        (prepared)
                                           y = linear(to_dtype(x16, f32), to_dtype(w16, f32), bias)

The widening conversions cost nothing: they are done where the operands are read, and a product of
converted bf16 is what dot instructions compute. Sums, and everything but the operands of these
products, stay f32; rows taken of such a weight, as of tied embeddings, are those of the short one.
Where the target has no such instruction, only the weights are shortened.

In int8 both operands are integers, in groups along what is summed over, so that what lies far out
spoils its own group alone. Sums in a group are exact (the operators are in tc.ops.quantize):

    y = linear(x, weight, bias)     =>     step, zero, x8 = quantize_rows(x in groups)
                                           y = grouped_linear(step, zero, x8, scale, sums, w8)
                                               + bias

Everything else keeps its precision, and so does a product of a parameter that is said to be kept
longer. This pass must not look at sizes to decide what is faster.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from tc.graph.graph import Graph, Node, Value
from tc.graph.rewrite import producers, with_inputs, with_nodes
from tc.graph.short_numbers import PRECISIONS, activation_bits, groups_of, rounds_activations
from tc.graph.views import RESHAPES
from tc.ir.expr import Const, Expr
from tc.ir.types import BF16, F32, I8, I16, I32, U8, DType
from tc.target import Target

# Products, which of their arguments are the activation and the weight, and the weight's rank.
_OPERANDS: Final = {
    "linear": (0, 1, 2),
    "matmul": (0, 1, 2),
    "mm": (0, 1, 2),
    "addmm": (1, 2, 2),
    "grouped_matmul": (0, 1, 3),
}
_LEAST: Final = {"grouped_matmul": "bf16"}  # what a product is shortened to at most
# Views that keep each element once: a conversion may as well be done before them.
_PLAIN: Final = (False, False, None)  # arguments of to_dtype that mean nothing here
_REORDERS: Final = RESHAPES | {"transpose", "permute"}


def shorten(
    graph: Graph,
    precision: str,
    target: Target,
    kept: Mapping[str, str] | None = None,
    factors: Collection[str] = (),
) -> Graph:
    """The graph with its contractions in `precision`: "fp32" (as they are), "bf16" or "int8".

    `kept`: names of parameters whose products stay in a longer precision than that, and in which.
    Where several parameters make one weight, the longest of theirs counts. `factors`: names of
    parameters that another program of the model has as weights of `linear`; rows are taken of what
    they are there.
    """
    longer = kept or {}

    def of(op: str, names: frozenset[str]) -> str:
        each = (_LEAST.get(op, precision), *(longer.get(name, precision) for name in names))
        return max(each, key=PRECISIONS.index)

    for each in PRECISIONS[PRECISIONS.index(precision) : -1]:

        def wanted(op: str, names: frozenset[str], each: str = each) -> bool:
            return of(op, names) == each

        if each == "int8":
            graph = _Int8(graph, wanted, activation_bits(target)).run(factors)
        else:
            graph = _Bf16(graph, wanted, rounds_activations(target)).run(factors)
    return graph


Wanted: TypeAlias = Callable[[str, frozenset[str]], bool]


class _Shortening(ABC):
    """Rewrites the nodes of a graph in order.

    `wanted`: whether a product by this operator, of a weight made of these parameters, is to be
    rewritten.
    """

    def __init__(self, graph: Graph, wanted: Wanted) -> None:
        self.graph = graph
        self.wanted = wanted
        self.nodes: list[Node] = []
        self.made = producers(graph)
        # What is made of parameters alone, and of which.
        self.fixed = {v: frozenset((v.name,)) for v in graph.params}
        self.taken = {*graph.params, *graph.inputs, *self.made}
        self.names = {v.name for v in self.taken}
        # Where in `nodes` a value is made, so that a conversion can be put right behind it.
        self.behind: dict[Value, list[Node]] = {}

    def run(self, factors: Collection[str]) -> Graph:
        """The graph again; `factors`: see `shorten`."""
        for v in self.graph.params:
            if v.name in factors and v.dtype is F32 and self.wanted("linear", self.fixed[v]):
                self.short_weight(v, "")
        for node in self.graph.nodes:
            if not node.is_fallback and node.inputs and all(v in self.fixed for v in node.inputs):
                names = frozenset[str]().union(*(self.fixed[v] for v in node.inputs))
                self.fixed.update(dict.fromkeys(node.outputs, names))
            self.nodes += self.product(node) if self.is_product(node) else [node]
        ordered: list[Node] = []
        for node in self.nodes:
            ordered.append(node)
            for v in node.outputs:
                ordered += self.behind.pop(v, [])
        early = [n for nodes in self.behind.values() for n in nodes]  # of inputs and parameters
        return with_nodes(
            self.graph, [new for n in (*early, *ordered) for new in self.rewritten(n)]
        )

    def rewritten(self, node: Node) -> list[Node]:
        """The node, or what takes rows of a table in the form that a product has it in."""
        table = node.args[0] if node.op == "embedding" else None
        return self.short_rows(node, table) if isinstance(table, Value) else [node]

    def is_product(self, node: Node) -> bool:
        """Whether the node multiplies an f32 activation with a constant f32 matrix."""
        at = _OPERANDS.get(node.op)
        if at is None:
            return False
        x, w = node.args[at[0]], node.args[at[1]]
        if not isinstance(x, Value) or not isinstance(w, Value) or x in self.fixed:
            return False
        if not x.dtype is w.dtype is node.outputs[0].dtype is F32 or not x.shape:
            return False
        if len(w.shape) != at[2] or not all(isinstance(d, Const) for d in w.shape):
            return False
        return w in self.fixed and self.wanted(node.op, self.fixed[w])

    @abstractmethod
    def product(self, node: Node) -> list[Node]:
        """The nodes in its place."""

    @abstractmethod
    def short_weight(self, weight: Value, origin: str) -> object:
        """What a weight of `linear` is read as."""

    @abstractmethod
    def short_rows(self, node: Node, table: Value) -> list[Node]:
        """The nodes in place of one that takes rows of a table; itself where no product has it."""

    def value(self, name: str, shape: tuple[Expr, ...], dtype: DType) -> Value:
        """A new value of that name or one like it."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return Value(name, shape, dtype)

    def add_behind(self, source: Value, node: Node) -> None:
        """Put a node right behind the one that makes `source`."""
        self.behind.setdefault(source, []).append(node)


class _Bf16(_Shortening):
    """bf16 operands; `activations`: not of the weights alone."""

    def __init__(self, graph: Graph, wanted: Wanted, activations: bool) -> None:
        super().__init__(graph, wanted)
        self.activations = activations
        self.wide: dict[Value, Value] = {}

    def product(self, node: Node) -> list[Node]:
        """The same product of operands that went through bf16."""
        x, w = (node.args[n] for n in _OPERANDS[node.op][:2])
        assert isinstance(x, Value) and isinstance(w, Value)
        renames = {w: self.through_bf16(w, node.origin)}
        if self.activations:
            renames[x] = self.through_bf16(x, node.origin)
        return [with_inputs(node, renames)]

    def short_rows(self, node: Node, table: Value) -> list[Node]:
        """Rows of bf16, widened."""
        wide = self.wide.get(table) if table in self.fixed else None
        return [node] if wide is None else [with_inputs(node, {table: wide})]

    def short_weight(self, weight: Value, origin: str) -> Value:
        """The weight rounded to bf16."""
        return self.through_bf16(weight, origin)

    def through_bf16(self, v: Value, origin: str) -> Value:
        """`v` rounded to bf16, as f32."""
        if v not in self.wide:
            short, wide = (self.value(f"{v.name}.{t}", v.shape, t) for t in (BF16, F32))
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
        out = self.value(f"{source.name}.bf16", source.shape, BF16) if views else short
        nodes = [Node("to_dtype", (source, BF16, *_PLAIN), (out,), origin)]
        for n, view in enumerate(views):
            (old,) = view.outputs
            new = short if n == len(views) - 1 else self.value(f"{old.name}.bf16", old.shape, BF16)
            nodes.append(Node(view.op, (out, *view.args[1:]), (new,), view.origin))
            out = new
        return nodes


class _Int8(_Shortening):
    """Operands of 8 bits, activations of `bits`, in groups along what is summed over."""

    def __init__(self, graph: Graph, wanted: Wanted, bits: int) -> None:
        super().__init__(graph, wanted)
        self.bits = bits
        self.rows: dict[Value, tuple[Value, ...]] = {}
        self.weights: dict[tuple[Value, int], tuple[Value, ...]] = {}

    def product(self, node: Node) -> list[Node]:
        """The product of integers, and what is added to it."""
        x, w = (node.args[n] for n in _OPERANDS[node.op][:2])
        assert isinstance(x, Value) and isinstance(w, Value)
        if x.shape[-1] == Const(0) or (node.op == "addmm" and node.args[3:] != (1, 1)):
            return [node]
        bias = node.args[2] if node.op == "linear" else node.args[0] if node.op == "addmm" else None
        rows = self.quantized(x, node.origin)
        weight = self.quantized_weight(w, 1 if node.op == "linear" else 0, node.origin)
        (out,) = node.outputs
        real = out if bias is None else self.value(f"{out.name}.real", out.shape, F32)
        made = [Node("grouped_linear", (*rows, *weight, self.bits), (real,), node.origin)]
        if bias is not None:
            made.append(Node("add", (real, bias, 1), (out,), node.origin))
        return made

    def quantized(self, x: Value, origin: str) -> tuple[Value, ...]:
        """Step, zero and u8 of each group of the rows of an activation."""
        if x not in self.rows:
            groups = self.grouped(x, x, origin)
            column = (*groups.shape[:-1], Const(1))
            step = self.value(f"{x.name}.step", column, F32)
            zero = self.value(f"{x.name}.zero", column, I32)
            short = self.value(f"{x.name}.u8", groups.shape, U8)
            self.add_behind(
                x, Node("quantize_rows", (groups, self.bits), (step, zero, short), origin)
            )
            self.rows[x] = step, zero, short
        return self.rows[x]

    def quantized_weight(self, w: Value, dim: int, origin: str) -> tuple[Value, ...]:
        """Scale, sum and i8 of each group of the channels of a weight."""
        if (w, dim) not in self.weights:
            channels = w
            if dim == 0:
                channels = self.value(f"{w.name}.turned", w.shape[::-1], F32)
                self.add_behind(w, Node("permute", (w, (1, 0)), (channels,), origin))
            groups = self.grouped(channels, w, origin)
            sizes = (groups.shape[1], groups.shape[0])
            scale = self.value(f"{w.name}.scale", sizes, BF16)
            short = self.value(f"{w.name}.i8", groups.shape, I8)
            sums = self.value(f"{w.name}.sums", sizes, I16)
            self.add_behind(w, Node("weight_scale", (groups,), (scale,), origin))
            self.add_behind(w, Node("weight_int8", (groups, scale), (short,), origin))
            self.add_behind(w, Node("weight_sum", (short,), (sums,), origin))
            self.weights[w, dim] = scale, sums, short
        return self.weights[w, dim]

    def short_weight(self, weight: Value, origin: str) -> tuple[Value, ...]:
        """Its scale, sums and integers."""
        return self.quantized_weight(weight, 1, origin)

    def short_rows(self, node: Node, table: Value) -> list[Node]:
        """Rows of integers, times the scale of each group."""
        if (table, 1) not in self.weights:
            return [node]
        scale, _, short = self.weights[table, 1]
        depth = table.shape[1]
        assert isinstance(depth, Const)
        args = scale, short, node.args[1], int(depth.value)
        return [Node("grouped_embedding", args, node.outputs, node.origin)]

    def grouped(self, x: Value, behind: Value, origin: str) -> Value:
        """`x` with its last dim in groups, zeros at the end where it does not divide evenly."""
        depth = x.shape[-1]
        assert isinstance(depth, Const)
        length = int(depth.value)
        count, size = groups_of(length)
        if count * size != length:
            whole = self.value(f"{x.name}.whole", (*x.shape[:-1], Const(count * size)), x.dtype)
            pad = (0, count * size - length)
            self.add_behind(behind, Node("constant_pad_nd", (x, pad, 0), (whole,), origin))
            x = whole
        shape = (*x.shape[:-1], Const(count), Const(size))
        out = self.value(f"{x.name}.groups", shape, x.dtype)
        self.add_behind(behind, Node("reshape", (x, shape), (out,), origin))
        return out
