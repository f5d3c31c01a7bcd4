"""Writing nodes one after the other, for what becomes a graph of several operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tc.errors import InternalError
from tc.graph.compose import build
from tc.graph.graph import Arg, Graph, Loop, Node, Value
from tc.graph.rewrite import with_inputs
from tc.ir.expr import Expr, Sym
from tc.ir.interval import bounds
from tc.ir.tensor import Placeholder, Tensor
from tc.ir.types import DType

_INDEX = "step"
_MOST_TIMES = 1 << 31


class Writer:
    """Collects nodes whose values are called `prefix`, a dot, and something of their own."""

    def __init__(self, prefix: str, origin: str = "") -> None:
        self.nodes: list[Node] = []
        self._prefix = prefix
        self.origin = origin
        self._count = 0

    def value(self, name: str, shape: tuple[Expr, ...], dtype: DType) -> Value:
        """A new value."""
        self._count += 1
        return Value(f"{self._prefix}.{name}{self._count}", shape, dtype)

    def __call__(self, op: str, *args: Arg) -> Value:
        """The value of an operator of the table that gives one; `args` follow its schema."""
        node = Node(op, args, (), self.origin)
        env: dict[Value, Tensor] = {v: Placeholder(v.name, v.shape, v.dtype) for v in node.inputs}
        (made,) = build(node, env)
        out = self.value(op, made.shape, made.dtype)
        self.nodes.append(Node(op, args, (out,), self.origin))
        return out

    def loop(self, body: BodyWriter, times: Expr) -> tuple[Value, ...]:
        """The states of a body after it has run so often, in the order in which it set them."""
        graph = body.graph()
        ends = tuple(self.value("end", v.shape, v.dtype) for v, _ in graph.mutated)
        loop = Loop(body.index, times, graph)
        self.nodes.append(Node("loop", (loop, *body.given), ends, self.origin))
        return ends

    def named(self, names: Mapping[Value, Value]) -> list[Node]:
        """The nodes with other names for some of the values that they make."""
        return [
            Node(n.op, n.args, tuple(names.get(v, v) for v in n.outputs), n.origin)
            for n in (with_inputs(node, names) for node in self.nodes)
        ]


class BodyWriter(Writer):
    """The body of a loop; everything that it reads is given to it."""

    def __init__(self, prefix: str, origin: str, times: Expr) -> None:
        super().__init__(prefix, origin)
        most = bounds(times).hi
        self.index = Sym(_INDEX, 0, max((_MOST_TIMES if most is None else most) - 1, 0))
        self.given: list[Value | None] = []
        self._inputs: list[Value] = []
        self._states: list[tuple[Value, Value]] = []

    def input(self, given: Value) -> Value:
        """What the body calls a value from outside."""
        return self._input(given, given.shape, given.dtype)

    def empty(self, shape: Sequence[Expr], dtype: DType) -> Value:
        """A state of which nothing is read before it is written."""
        return self._input(None, tuple(shape), dtype)

    def _input(self, given: Value | None, shape: tuple[Expr, ...], dtype: DType) -> Value:
        own = self.value("in", shape, dtype)
        self._inputs.append(own)
        self.given.append(given)
        return own

    def set(self, state: Value, new: Value) -> None:
        """The next time, the input `state` is `new`."""
        if state not in self._inputs or (state.shape, state.dtype) != (new.shape, new.dtype):
            raise InternalError(f"loop: {new.text} is no new state in place of {state.text}")
        self._states.append((state, new))

    def graph(self) -> Graph:
        """What was written."""
        states = tuple(self._states)
        return Graph(tuple(self._inputs), (), tuple(self.nodes), (), (), states)
