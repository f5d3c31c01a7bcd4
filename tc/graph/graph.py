"""The graph IR: operators of the table applied to named values.

Values have symbolic shapes. Parameters are what the model owns (weights, buffers, constants);
inputs are what a call gives. Nothing here knows how a node is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tc.ir.expr import Expr, Sym
from tc.ir.types import DType


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that flows through the graph: row-major and dense unless a pass says otherwise."""

    name: str
    shape: tuple[Expr, ...]
    dtype: DType

    def __hash__(self) -> int:
        return hash(self.name)


Arg: TypeAlias = Value | Expr | int | float | bool | str | DType | tuple["Arg", ...] | None


@dataclass(frozen=True, slots=True)
class Node:
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
        return tuple(dict.fromkeys(values_of(self.args)))


@dataclass(frozen=True, slots=True)
class Graph:
    """A model for one set of arguments. Nodes stand in an order in which they can run.

    `mutated` pairs an input or parameter with the value that it holds after the call.
    """

    inputs: tuple[Value, ...]
    params: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]
    symbols: tuple[Sym, ...]
    mutated: tuple[tuple[Value, Value], ...] = ()

    def __str__(self) -> str:
        from tc.graph.printer import print_graph

        return print_graph(self)


def values_of(arg: Arg) -> Iterator[Value]:
    """Every value inside an argument."""
    if isinstance(arg, Value):
        yield arg
    elif isinstance(arg, tuple):
        for a in arg:
            yield from values_of(a)
