"""Running fused graphs with the NumPy interpreter, group by group: what fusion must preserve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tc.device.dims import compile_dim, dim_of
from tc.frontend import capture_tree as tree
from tc.frontend.captured import Captured
from tc.frontend.importer import Imported
from tc.frontend.importer_sizes import program_names
from tc.frontend.signature_bind import bind
from tc.graph.compose import Composer
from tc.graph.fuse import fuse
from tc.graph.graph import Value
from tc.graph.group import Fused, Group
from tc.ir.interpret import evaluate
from tc.pipeline import optimise

Array = np.ndarray[Any, Any]


class Values:
    """Arrays by value, aliases resolved."""

    def __init__(self, fused: Fused, known: Mapping[Value, Array], sizes: Mapping[str, int]):
        self.fused, self.known, self.sizes = fused, dict(known), sizes

    def __getitem__(self, v: Value) -> Array:
        if v in self.known:
            return self.known[v]
        names = list(self.sizes)
        at = [self.sizes[n] for n in names]
        shape = [compile_dim(dim_of(d), names)(at) for d in v.shape]
        return self[self.fused.aliases[v]].reshape(shape)


def run_fused(fused: Fused, known: Mapping[Value, Array], sizes: Mapping[str, int]) -> Values:
    """Every value that the groups make, and those that were known."""
    values = Values(fused, known, sizes)
    for group in fused.steps:
        assert isinstance(group, Group), group
        made = group.computation
        inputs = {
            p.name: np.ascontiguousarray(values[v]).reshape(values[v].shape)
            for p, v in zip(made.inputs, group.inputs, strict=True)
        }
        for t, v in zip(made.outputs, group.outputs, strict=True):
            values.known[v] = evaluate(t, inputs, sizes)
    return values


def run_graph(
    captured: Captured, imported: Imported, calls: Sequence[Mapping[str, Any]]
) -> list[tuple[list[Array], list[torch.Tensor]]]:
    """For each call: the outputs of the optimised, fused graph, and those of the captured one."""
    graph = imported.graph
    folded, composer = optimise(graph), Composer()
    prepare, main = fuse(folded.prepare, composer), fuse(folded.main, composer)
    weights = [w.detach().numpy() for w in imported.weights]
    known = dict(zip(graph.params, weights, strict=True))
    prepared = run_fused(prepare, known, {})
    results = []
    for call in calls:
        tensors: list[torch.Tensor] = []
        tree.flatten(([], dict(call)), tensors, [], "")
        bound = bind(captured.signature, [t.shape for t in tensors])
        symbols = captured.signature.symbols
        names = dict(zip([s.name for s in symbols], program_names(symbols), strict=True))
        sizes = {names[name]: size for name, size in bound.items()}
        with torch.no_grad():
            expected = captured.graph(*imported.weights, *tensors)
        given = {v: prepared[v] for v in folded.main.params}
        given |= {v: t.numpy() for v, t in zip(graph.inputs, tensors, strict=True)}
        values = run_fused(main, given, sizes)
        results.append(([values[v] for v in folded.main.outputs], list(expected)))
    return results
