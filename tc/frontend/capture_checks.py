"""What a caller must check before a captured program may run: table rows and position counts.

Found in the graph and the modules, never by a list of model names. This module must not run a
model nor check anything itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

from tc.frontend import capture_shapes as shapes
from tc.frontend.signature import IdCheck, SizeCheck, Symbol, TensorSpec

_aten = torch.ops.aten
# Operators that hand every index on unchanged.
_CARRIERS = {
    _aten.view.default,
    _aten.reshape.default,
    _aten._to_copy.default,
    _aten.to.dtype,
    _aten.contiguous.default,
    _aten.clone.default,
    _aten.expand.default,
    _aten.unsqueeze.default,
}


def find_checks(
    graph: GraphModule,
    inputs: Sequence[Node],
    specs: Sequence[TensorSpec],
    symbols: Sequence[Symbol],
    model: torch.nn.Module,
) -> tuple[SizeCheck | IdCheck, ...]:
    """The checks that the inputs need: ids within their tables, sizes within their bounds."""
    name_of = {node: spec.name for node, spec in zip(inputs, specs, strict=True)}
    found: dict[SizeCheck | IdCheck, None] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is _aten.embedding.default:
            source = _source(node.args[1])
            if source in name_of:
                rows = node.args[0].meta["val"].shape[0]
                found[IdCheck(name_of[source], int(rows))] = None
    limits = {symbol.name: symbol.high for symbol in symbols if symbol.high is not None}
    positions = _offset_positions(model)
    for symbol in symbols:
        if positions is not None and symbol.label == shapes.LENGTH:
            limits[symbol.name] = min(positions, limits.get(symbol.name, positions))
    for spec in specs:
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str) and size in limits:
                found[SizeCheck(spec.name, axis, limits[size])] = None
    return tuple(found)


def _source(value: object) -> object:
    while isinstance(value, Node) and value.target in _CARRIERS:
        value = value.args[0]
    return value


def _offset_positions(model: torch.nn.Module) -> int | None:
    """Positions of a model that counts them from its padding id on; None if none does."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
            return table.num_embeddings - table.padding_idx - 1
    return None
