"""What depends on parameters alone is computed once for each version of the weights.

The graph is cut in two: *prepare* computes such values from the parameters, *main* takes them as
further parameters. Nothing that grows with a symbol is prepared, for it differs from call to call.
Free nodes stay in main: worked out where they are read, they cost nothing. So do checks of the
parameters, since it is a call that they refuse.
"""

from __future__ import annotations

from tc.frozen import frozen
from tc.graph.classify import free_nodes
from tc.graph.dead_code import dead_code
from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.rewrite import kept
from tc.ir.expr import Const, Expr


@frozen
class Folded:
    """The outputs of `prepare` are parameters of `main`, after those of the model."""

    prepare: Graph
    main: Graph


def fold(graph: Graph) -> Folded:
    """Split off the nodes that need no input of the call."""
    known: set[Value] = set(graph.params)
    early: list[Node] = []
    late: list[Node] = []
    for node in graph.nodes:
        if _is_fixed(node, known) and node.outputs[0] not in graph.checks:
            early.append(node)
            known.update(node.outputs)
        else:
            late.append(node)
    wanted = {v for n in late for v in n.inputs} | kept(graph)
    again: list[Node] = []
    free = free_nodes(graph)
    for node in reversed(early):
        if id(node) in free and any(v in wanted for v in node.outputs):
            again.append(node)
            wanted.difference_update(node.outputs)
            wanted.update(node.inputs)
    made = tuple(v for n in early for v in n.outputs if v in wanted)
    prepare = dead_code(Graph((), graph.params, tuple(early), made, ()))
    main = Graph(
        graph.inputs,
        (*graph.params, *made),
        (*reversed(again), *late),
        graph.outputs,
        graph.symbols,
        graph.mutated,
        graph.checks,
    )
    return Folded(prepare, main)


def _is_fixed(node: Node, known: set[Value]) -> bool:
    if node.is_fallback or node.loop or not all(v in known for v in node.inputs):
        return False
    shapes = [d for v in node.outputs for d in v.shape]
    return all(isinstance(d, Const) for d in shapes) and not _has_symbol(node.args)


def _has_symbol(arg: Arg) -> bool:
    if isinstance(arg, tuple):
        return any(_has_symbol(a) for a in arg)
    return isinstance(arg, Expr) and not isinstance(arg, Const)
