"""The graph IR: operators of the table applied to named values.

Values have symbolic shapes. Parameters are what the model owns (weights, buffers, constants);
inputs are what a call gives. Nothing here knows how a node is computed. As text, a graph has one
node a line: `name: f32[s0, 768] = linear(x, weight, bias)  # origin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from tc.frozen import frozen
from tc.ir.expr import Expr, Sym
from tc.ir.printer import expr_text
from tc.ir.types import DType


@frozen
class Value:
    """A tensor that flows through the graph: row-major and dense unless a pass says otherwise."""

    name: str
    shape: tuple[Expr, ...]
    dtype: DType

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def text(self) -> str:
        """Name, element type and shape: `x: f32[s0, 768]`."""
        return f"{self.name}: {self.dtype}[{', '.join(expr_text(d) for d in self.shape)}]"


Arg: TypeAlias = "Value | Loop | Expr | int | float | bool | str | DType | tuple[Arg, ...] | None"


class _Asked:
    """Room for what a node works out once."""

    __slots__ = ("_inputs",)
    _inputs: tuple[Value, ...]


@frozen
class Node(_Asked):
    """One operator. `args` follow its ATen schema; `origin` is the place in the model.

    An operator that the table lacks has the name of its ATen overload, "aten.topk.default", and
    runs eagerly.
    """

    op: str
    args: tuple[Arg, ...]
    outputs: tuple[Value, ...]
    origin: str = ""

    @property
    def is_fallback(self) -> bool:
        return "." in self.op

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The values among the arguments, each once."""
        try:
            return self._inputs
        except AttributeError:
            found = tuple(dict.fromkeys(values_of(self.args)))
            object.__setattr__(self, "_inputs", found)
            return found

    @property
    def loop(self) -> Loop | None:
        """What a node of the operator "loop" does, its first argument."""
        first = self.args[0] if self.op == "loop" else None
        return first if isinstance(first, Loop) else None

    def __str__(self) -> str:
        left = ", ".join(v.text for v in self.outputs)
        text = f"{left} = {self.op}({', '.join(arg_text(a) for a in self.args)})"
        return f"{text}  # {self.origin}" if self.origin else text


@frozen
class Graph:
    """A model for one set of arguments. Nodes stand in an order in which they can run.

    `mutated` pairs an input or parameter with the value that it holds after the call. `checks` are
    values that no caller gets: what makes them reports data that the model refuses.
    """

    inputs: tuple[Value, ...]
    params: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    symbols: tuple[Sym, ...]
    mutated: tuple[tuple[Value, Value], ...] = ()
    checks: tuple[Value, ...] = ()

    def __str__(self) -> str:
        """One node a line, parameters and inputs first."""
        lines = [f"sym {s.name} in [{s.lo}, {s.hi}]" for s in self.symbols]
        lines += [f"param {v.text}" for v in self.params]
        lines += [f"input {v.text}" for v in self.inputs]
        lines += [str(n) for n in self.nodes]
        lines += [f"write {target.name} = {value.name}" for target, value in self.mutated]
        lines += [f"check {value.name}" for value in self.checks]
        lines.append(f"return {', '.join(v.name for v in self.outputs)}")
        return "\n".join(lines) + "\n"


@frozen
class Loop:
    """A graph that is run again and again: the first argument of a node of the operator "loop".

    The other arguments are the inputs of `body` in their order; None for one of which nothing is
    read before it is written. What the body writes to an input is there the next time. The node's
    outputs are what the inputs that it writes to hold in the end, in the order of `mutated`; the
    arguments themselves stay as they are.

    Attributes:
        index: a symbol of the body: how often it has run before.
        times: how often it runs, maybe never.
    """

    index: Sym
    times: Expr
    body: Graph

    def __str__(self) -> str:
        body = "; ".join(str(self.body).strip().split("\n"))
        return f"for {self.index.name} in {expr_text(self.times)} {{{body}}}"


def values_of(arg: Arg) -> Iterator[Value]:
    """Every value inside an argument."""
    if isinstance(arg, Value):
        yield arg
    elif isinstance(arg, tuple):
        for a in arg:
            yield from values_of(a)


def arg_text(arg: Arg) -> str:
    """An argument as Python would write it."""
    if isinstance(arg, Value):
        return arg.name
    if isinstance(arg, Expr):
        return expr_text(arg)
    if isinstance(arg, DType):
        return str(arg)
    if isinstance(arg, tuple):
        inside = ", ".join(arg_text(a) for a in arg)
        return f"({inside},)" if len(arg) == 1 else f"({inside})"
    if isinstance(arg, Loop):
        return str(arg)
    return repr(arg)
