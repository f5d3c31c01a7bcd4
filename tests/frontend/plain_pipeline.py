"""The plainest pipeline: one unscheduled kernel for each node. Slow, obvious, for tests alone.

What runs programs can be tested with it whatever the real pipeline does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tc import te
from tc.device.artifact import (
    Artifact,
    DimArg,
    FallbackArg,
    FallbackCall,
    KernelCall,
    KernelInfo,
    Place,
    Step,
    Storage,
    StorageArg,
    SymbolInfo,
    TensorInfo,
    entries,
)
from tc.device.dims import dim_of
from tc.device.run_code import make_code
from tc.frontend.options import Options
from tc.graph.fold import fold
from tc.graph.graph import Arg, Graph, Node, Value
from tc.ir.expr import Expr
from tc.ir.loop import Func
from tc.ir.lower import lower
from tc.ir.passes import place_scratch, run_passes
from tc.ir.tensor import Placeholder, Tensor
from tc.ops.table import by_name
from tc.pipeline import Compiled


class _Making:
    def __init__(self, graph: Graph) -> None:
        self.storages: list[Storage] = []
        self.place: dict[Value, int] = {}
        self.kernels: list[KernelInfo] = []
        self.flat: list[Func] = []
        for place, values in ((Place.INPUT, graph.inputs), (Place.PARAM, graph.params)):
            for n, value in enumerate(values):
                self.add(value, place, n)

    def add(self, value: Value, place: Place, number: int) -> None:
        self.place[value] = len(self.storages)
        self.storages.append(Storage(place, number, value.dtype, tuple(map(dim_of, value.shape))))

    def steps(self, nodes: Sequence[Node], made: Sequence[Value], place: Place) -> list[Step]:
        numbers = {value: n for n, value in enumerate(made)}
        found: list[Step] = []
        for node in nodes:
            for out in node.outputs:
                if out in numbers:
                    self.add(out, place, numbers[out])
                elif out not in self.place:
                    self.add(out, Place.TEMP, len(self.storages))
            found.append(self.fallback(node) if node.is_fallback else self.kernel(node))
        return found

    def fallback(self, node: Node) -> Step:
        def arg(a: Arg) -> FallbackArg:
            match a:
                case Value():
                    return StorageArg(self.place[a])
                case Expr():
                    return DimArg(dim_of(a))
                case tuple():
                    return tuple(arg(x) for x in a)
            return a

        outputs = tuple(self.place[v] for v in node.outputs)
        return FallbackCall(node.op, tuple(arg(a) for a in node.args), outputs, node.origin)

    def kernel(self, node: Node) -> Step:
        inputs = {v: Placeholder(te.fresh("in"), v.shape, v.dtype) for v in node.inputs}

        def arg(a: Arg) -> Any:
            if isinstance(a, Value):
                return inputs[a]
            return tuple(arg(x) for x in a) if isinstance(a, tuple) else a

        result = by_name(node.op).build(*[arg(a) for a in node.args])
        outputs = (result,) if isinstance(result, Tensor) else result
        outputs = tuple(_computed(t) for t in outputs)
        func = lower(outputs, tuple(inputs.values()))
        flat = run_passes(func)
        names = tuple(s.name for s in flat.symbols)
        scratch = dim_of(place_scratch(flat)[1])
        self.kernels.append(
            KernelInfo(node.outputs[0].name, str(func), "", names, scratch, 0, 0, (node.origin,))
        )
        self.flat.append(flat)
        buffers = tuple(self.place[v] for v in (*inputs, *node.outputs))
        return KernelCall(len(self.kernels) - 1, buffers, names)


def _computed(t: Tensor) -> Tensor:
    return te.compute(t.shape, lambda *i: t[i]) if isinstance(t, Placeholder) else t


def compile_graph(graph: Graph, options: Options) -> Compiled:
    folded = fold(graph)
    made = tuple(folded.prepare.outputs)
    making = _Making(graph)
    prepare = making.steps(folded.prepare.nodes, made, Place.PREPARED)
    handed = [v for v in graph.outputs if v in making.place]
    assert not handed, f"outputs that nothing computes: {handed}"
    main = making.steps(folded.main.nodes, graph.outputs, Place.OUTPUT)
    found = entries(len(making.storages), tuple(prepare), tuple(main))
    code = make_code(making.flat, found, options.target, options.cache_dir)

    def infos(values: Sequence[Value]) -> tuple[TensorInfo, ...]:
        return tuple(TensorInfo(v.name, v.dtype, tuple(map(dim_of, v.shape))) for v in values)

    artifact = Artifact(
        target=str(options.target),
        symbols=tuple(SymbolInfo(s.name, s.lo, s.hi) for s in graph.symbols),
        inputs=infos(graph.inputs),
        outputs=infos(graph.outputs),
        params=infos(graph.params),
        storages=tuple(making.storages),
        prepare=tuple(prepare),
        main=tuple(main),
        kernels=tuple(making.kernels),
        code=code.code,
    )
    return Compiled(artifact, code.cache_hits)
