"""Writes to a part of an input that touch that part alone, as a cache of keys and values needs.

A traced write is a whole new value, `slice_scatter(cache, rows)`, that the input holds after the
call; made literally it would copy the cache. Where nothing else reads the input, the kernel writes
the rows into the input's own memory, and later readers of the new value read there. This module
must not change what any value is.
"""

from __future__ import annotations

from collections.abc import Mapping

from tc.graph.graph import Graph, Node, Value
from tc.graph.group import Group, Turns
from tc.graph.inline import reads_in_place, uses_of
from tc.graph.rewrite import producers, users, with_inputs, with_nodes
from tc.ir.expr import Const, Expr, Reduce
from tc.ir.tensor import Scatter
from tc.ir.tensor_walk import bodies, topological
from tc.ir.visit import sub_exprs
from tc.ops.dims import same
from tc.ops.table import Kind, by_name


def in_place(graph: Graph) -> Graph:
    """The graph with writes in the form that `written_in_place` recognises, where they can be."""
    if not graph.mutated:
        return graph
    graph = _without_copies(graph)
    made, used = producers(graph), users(graph)
    found: dict[int, Node] = {}
    for target, value in graph.mutated:
        node = made.get(value)
        if node is not None and _replaces(node, target, used) and value not in graph.outputs:
            new = _slice_write(node)
            if new is not None:
                found[id(node)] = new
    return with_nodes(graph, [found.get(id(n), n) for n in graph.nodes])


def written_in_place(graph: Graph) -> dict[Value, Value]:
    """Values that are made in the memory of an input: which one."""
    made, used = producers(graph), users(graph)
    found: dict[Value, Value] = {}
    for target, value in graph.mutated:
        node = made.get(value)
        if node is None or node.is_fallback or by_name(node.op).kind is not Kind.SCATTER:
            continue
        if len(node.outputs) == 1 and _replaces(node, target, used):
            found[value] = target
    # One memory for each: a value that two inputs hold afterwards, or that a call gives, is copied.
    held = [value for _, value in graph.mutated]
    return {
        value: target
        for value, target in found.items()
        if held.count(value) == 1 and value not in graph.outputs and target in graph.inputs
    }


def overwritten(turns: Turns) -> dict[Value, Value]:
    """Values of a loop's body that can be made in the memory of what they replace: which one.

    That is so where nothing reads the old value later on, and the kernel itself reads it, if at
    all, point by point as it writes the new one. They may be made in parts: see
    `written_in_place`.
    """
    steps, mutated = turns.fused.steps, turns.loop.body.mutated
    aliases = turns.fused.aliases
    place = {v: n for n, step in enumerate(steps) for v in step.outputs}
    held = [value for _, value in mutated]
    found = dict(written_in_place(turns.loop.body))
    for target, value in mutated:
        at = place.get(value)
        if at is None or held.count(value) > 1 or value in found:
            continue
        step = steps[at]
        same_type = value.shape == target.shape and value.dtype is target.dtype
        if not same_type or not isinstance(step, Group) or target not in turns.loop.body.inputs:
            continue
        later = {aliases.get(v, v) for s in steps[at + 1 :] for v in _read(s)}
        if target not in later and _reads_as_it_writes(step, target, value, aliases):
            found[value] = target
    return found


def _read(step: Group | Turns | Node) -> tuple[Value, ...]:
    return step.node.inputs if isinstance(step, Turns) else step.inputs


def _reads_as_it_writes(
    group: Group, target: Value, value: Value, aliases: Mapping[Value, Value]
) -> bool:
    """Whether a kernel reads `target` nowhere, or only where it stores that point of `value`."""
    made = group.computation
    if any(v is not target and aliases.get(v) == target for v in group.inputs):
        return False
    if target not in group.inputs:
        return True
    own = made.outputs[group.outputs.index(value)].name
    name = made.inputs[group.inputs.index(target)].name
    tensors = topological(made.outputs)
    if any(isinstance(x, Reduce) for t in tensors for body in bodies(t) for x in sub_exprs(body)):
        return False  # partial sums may be stored before
    if any(isinstance(t, Scatter) for t in tensors):
        return False  # what is read at a point is stored at another one
    uses = [u for t in tensors for u in uses_of(t, name)]
    return all(u.reader.name == own and reads_in_place(u) for u in uses)


def _replaces(node: Node, target: Value, used: dict[Value, list[Node]]) -> bool:
    """Whether the node makes a new version of `target`, and nobody else reads the old one."""
    if not node.args or node.args[0] != target or used.get(target) != [node]:
        return False
    return all(target not in _values(arg) for arg in node.args[1:])


def _values(arg: object) -> list[Value]:
    if isinstance(arg, Value):
        return [arg]
    return [v for part in arg for v in _values(part)] if isinstance(arg, tuple) else []


def _slice_write(node: Node) -> Node | None:
    """slice_scatter of what lies within its operand, as the write of that part."""
    if node.op != "slice_scatter":
        return None
    _, rows, dim, start, end, step = node.args
    assert isinstance(rows, Value) and isinstance(dim, int)
    first, last = _size(0 if start is None else start), _size(end)
    if step != 1 or first is None or last is None or not same(rows.shape[dim], last - first):
        return None
    return Node("slice_write", (*node.args[:3], first), node.outputs, node.origin)


def _size(bound: object) -> Expr | None:
    """A bound that does not count from the end."""
    if isinstance(bound, int) and not isinstance(bound, bool):
        return Const(bound) if bound >= 0 else None
    return bound if isinstance(bound, Expr) else None


def _without_copies(graph: Graph) -> Graph:
    """`x` after the call is copy(x, new), where new is x with parts replaced: it is `new`."""
    made = producers(graph)
    renames: dict[Value, Value] = {}
    for target, value in graph.mutated:
        node = made.get(value)
        if node is None or node.op != "copy" or node.args[0] != target:
            continue
        new = node.args[1]
        assert isinstance(new, Value)
        source = made.get(new)
        if source is None or new.shape != target.shape or new.dtype is not target.dtype:
            continue
        scatters = source.op == "slice_scatter" or (
            not source.is_fallback and by_name(source.op).kind is Kind.SCATTER
        )
        if scatters and source.args[0] == target:
            renames[value] = new
    if not renames:
        return graph
    nodes = [n for n in graph.nodes if not any(v in renames for v in n.outputs)]
    return with_nodes(graph, [with_inputs(n, renames) for n in nodes], renames)
