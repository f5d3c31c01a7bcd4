"""What a caller must check before a captured program may run: table rows and position counts.

Found in the graph and the modules, never by a list of model names. This module must not run a
model nor check anything itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
    for check in _position_checks(graph, specs, symbols, name_of, model):
        found[check] = None
    bounded = {check.size for check in found if isinstance(check, SizeCheck)}
    for check in _count_checks(graph, specs):
        if check.size not in bounded:
            found[check] = None
    return tuple(found)


def _position_checks(
    graph: GraphModule,
    specs: Sequence[TensorSpec],
    symbols: Sequence[Symbol],
    name_of: Mapping[Node, str],
    model: torch.nn.Module,
) -> Iterator[SizeCheck]:
    """Bounds of lengths: those the trace found, and rows of tables that positions index."""
    limits = {symbol.name: symbol.high for symbol in symbols if symbol.high is not None}
    length = {symbol.label: symbol.name for symbol in symbols}
    rows = min(
        (rows for rows in (_counted_rows(graph, name_of), _offset_rows(model)) if rows is not None),
        default=None,
    )
    if rows is not None and (name := length.get(shapes.LENGTH)) is not None:
        past = length.get(shapes.PAST)
        size = name if past is None else f"{past} + {name}"
        limits[size] = min(rows, limits.get(size, rows))
    for size, limit in limits.items():
        place = _place(specs, size)
        if place is not None:
            yield SizeCheck(*place, limit, size)


def _count_checks(graph: GraphModule, specs: Sequence[TensorSpec]) -> Iterator[SizeCheck]:
    """Bounds of sizes that are counted up to, by what the count indexes."""
    for node in graph.graph.nodes:
        if node.op != "call_function" or node.target is not _aten.embedding.default:
            continue
        count, rows = _source(node.args[1]), int(node.args[0].meta["val"].shape[0])
        if not isinstance(count, Node) or count.target is not _aten.arange.default:
            continue
        size = count.meta["val"].shape[0]
        if not isinstance(size, int) and (place := _place(specs, str(size))) is not None:
            yield SizeCheck(*place, rows, str(size))


def _place(specs: Sequence[TensorSpec], size: str) -> tuple[str, int] | None:
    """The first dim of that size, or of the last symbol in it."""
    for wanted in (size, size.split(" ")[-1]):
        for spec in specs:
            if wanted in spec.shape:
                return spec.name, spec.shape.index(wanted)
    return None


def _counted_rows(graph: GraphModule, name_of: Mapping[Node, str]) -> int | None:
    """The rows of the smallest table that is indexed by a plain count of positions."""
    rows = []
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is _aten.embedding.default:
            index = node.args[1]
            if _is_count(index) and _source(index) not in name_of:
                rows.append(int(node.args[0].meta["val"].shape[0]))
    return min(rows, default=None)


def _is_count(value: object) -> bool:
    """Whether a value is arange, perhaps shifted by the length of the past."""
    value = _source(value)
    if not isinstance(value, Node):
        return False
    if value.target is _aten.add.Tensor:
        return _is_count(value.args[0])
    return value.target is _aten.arange.default


def _source(value: object) -> object:
    while isinstance(value, Node) and value.target in _CARRIERS:
        value = value.args[0]
    return value


def _offset_rows(model: torch.nn.Module) -> int | None:
    """Positions of a model that counts them from its padding id on; None if none does."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, torch.nn.Embedding) and table.padding_idx is not None:
            return table.num_embeddings - table.padding_idx - 1
    return None
