"""What a captured graph writes to: inputs, which is asked for, and a model's buffers, which is not.

A buffer that a call fills before it reads it keeps nothing from call to call, so a program leaves
it alone. This module must not change any value that the graph returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from tc.frontend.capture_refusal import writes_to_buffer
from tc.frontend.captured import Weight

_aten = torch.ops.aten


def forget_overwritten(program: ExportedProgram, graph: GraphModule) -> None:
    """Take out the writes to buffers of which the functional `graph` reads nothing else."""
    buffers = program.graph_signature.inputs_to_buffers
    for node in graph.graph.find_nodes(op="placeholder"):
        if node.name not in buffers or len(node.users) != 1:
            continue
        (write,) = node.users
        if write.target is not _aten.copy_.default or write.args[0] is not node:
            continue
        old, new = node.meta["val"], write.args[1].meta["val"]
        if (old.shape, old.dtype) == (new.shape, new.dtype):
            write.replace_all_uses_with(write.args[1])
            graph.graph.erase_node(write)


def mutated_inputs(
    graph: GraphModule, inputs: list[Node], weights: Sequence[Weight]
) -> tuple[int, ...]:
    """The inputs that an in-place operator of the graph writes to, through views or not.

    Raises:
        StatefulError: it writes to a weight, which a compiled program takes as it is.
    """
    written = set()
    for node in graph.graph.nodes:
        if node.op != "call_function" or not hasattr(node.target, "_schema"):
            continue
        for value, argument in zip(node.args, node.target._schema.arguments, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                written.add(_base(value))
    read = [n for n in graph.graph.nodes if n.op == "placeholder" and n not in inputs]
    for weight, node in zip(weights, read, strict=True):
        if node in written:
            raise writes_to_buffer(weight.name)
    return tuple(number for number, node in enumerate(inputs) if node in written)


def _base(value: Any) -> Any:
    """The tensor that `value` is a view of, following the alias annotations of its operator."""
    while isinstance(value, Node) and hasattr(value.target, "_schema"):
        returned = value.target._schema.returns
        if not returned or returned[0].alias_info is None:
            break
        value = value.args[0]
    return value
