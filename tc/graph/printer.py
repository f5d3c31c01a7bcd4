"""Graphs as text, one node a line: `name: f32[s0, 768] = linear(x, weight, bias)  # origin`."""

from __future__ import annotations

from tc.graph.graph import Arg, Graph, Node, Value
from tc.ir.expr import Expr
from tc.ir.printer import expr_text
from tc.ir.types import DType


def print_graph(graph: Graph) -> str:
    """The whole graph, parameters and inputs first."""
    lines = [f"sym {s.name} in [{s.lo}, {s.hi}]" for s in graph.symbols]
    lines += [f"param {value_text(v)}" for v in graph.params]
    lines += [f"input {value_text(v)}" for v in graph.inputs]
    lines += [node_text(n) for n in graph.nodes]
    lines += [f"write {target.name} = {value.name}" for target, value in graph.mutated]
    lines.append(f"return {', '.join(v.name for v in graph.outputs)}")
    return "\n".join(lines) + "\n"


def node_text(node: Node) -> str:
    """One node."""
    left = ", ".join(value_text(v) for v in node.outputs)
    text = f"{left} = {node.op}({', '.join(arg_text(a) for a in node.args)})"
    return f"{text}  # {node.origin}" if node.origin else text


def value_text(value: Value) -> str:
    """A value with its element type and shape."""
    return f"{value.name}: {value.dtype}[{', '.join(expr_text(d) for d in value.shape)}]"


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
    return repr(arg)
