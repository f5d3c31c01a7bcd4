"""Cutting a graph into groups, each of which becomes one kernel.

Solid nodes start as clusters of their own and are merged:
  - a pointwise or gathering producer goes into the only pointwise or row-wise cluster that reads
    it, if it is not made larger there (prologues, and diamonds of pointwise operators);
  - a pointwise cluster goes into the contraction, attention or row-wise cluster that it reads
    point by point, if nobody else reads that (epilogues);
  - a product goes into the attention whose scores it makes;
  - a permutation that is the only reader of attention goes into it, which then stores so.
Free nodes are worked out in every group that reads through them; a reshape of a value in memory
is that memory. Nothing here says how a kernel runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

from tc.graph.classify import free_nodes
from tc.graph.compose import Composer, leaves_of
from tc.graph.graph import Graph, Loop, Node, Value
from tc.graph.group import Computation, Fused, Group, Turns
from tc.graph.in_place import written_in_place
from tc.graph.inline import checks_data, keeps_rows, reads_in_place, uses_of
from tc.graph.rewrite import kept, producers, users
from tc.graph.views import JOINS, is_reshape, source_of
from tc.ir.expr import Const
from tc.ir.tensor import Compute
from tc.ir.tensor_walk import bodies, topological
from tc.ops.dims import product, same
from tc.ops.table import Kind, by_name


class Weight(IntEnum):
    """What a cluster is, by its heaviest node."""

    POINTWISE = 0
    ROWWISE = 1
    CONTRACTION = 2
    ATTENTION = 3
    ALONE = 4  # scatters, scans, loops and fallbacks take nothing in


_WEIGHTS = {
    Kind.POINTWISE: Weight.POINTWISE,
    Kind.VIEW: Weight.POINTWISE,
    Kind.GATHER: Weight.POINTWISE,
    Kind.CREATE: Weight.POINTWISE,
    Kind.ROWWISE: Weight.ROWWISE,
    Kind.CONTRACTION: Weight.CONTRACTION,
    Kind.ATTENTION: Weight.ATTENTION,
    Kind.SCATTER: Weight.ALONE,
    Kind.LOOP: Weight.ALONE,
}


@dataclass(eq=False)
class Cluster:
    """Nodes that will be one kernel; `nodes` holds the solid ones."""

    weight: Weight
    nodes: list[Node] = field(default_factory=list)


def fuse(graph: Graph, composer: Composer) -> Fused:
    """Groups, loops and fallbacks in an order in which they can run."""
    return _Fusion(graph, composer).run()


class _Fusion:
    def __init__(self, graph: Graph, composer: Composer) -> None:
        self.graph = graph
        self.composer = composer
        self.place = {id(n): i for i, n in enumerate(graph.nodes)}
        self.made, self.used, self.kept = producers(graph), users(graph), kept(graph)
        self.constants = frozenset(graph.params)
        self.free = free_nodes(graph) - self._needed_in_memory()
        self.cluster: dict[int, Cluster] = {}
        for n in graph.nodes:
            if id(n) not in self.free:
                self.cluster[id(n)] = Cluster(_weight(n), [n])
        self.aliases: dict[Value, Value] = {}
        self.in_place = frozenset(written_in_place(graph))

    def _needed_in_memory(self) -> set[int]:
        """Free nodes that a caller, a loop or a fallback must find in memory."""
        wanted = set(self.kept)
        for n in self.graph.nodes:
            if n.is_fallback or n.loop is not None:
                wanted.update(n.inputs)
        return {id(self.made[v]) for v in wanted if v in self.made}

    def run(self) -> Fused:
        self._prologues(Weight.POINTWISE)
        self._epilogues()
        self._prologues(Weight.ROWWISE)
        self._epilogues()
        self._scores()
        self._permutations()
        clusters = self._ordered()
        return Fused(tuple(self._step(c) for c in clusters), self.aliases)

    def _step(self, c: Cluster) -> Group | Turns | Node:
        lone = c.nodes[0]
        if lone.loop is not None:
            return self._turns(lone, lone.loop)
        return lone if lone.is_fallback else self._group(c)

    def _turns(self, node: Node, loop: Loop) -> Turns:
        """The body in groups; what it is given of the parameters is constant there too."""
        body = loop.body
        given = zip(body.inputs, node.args[1:], strict=True)
        fixed = {v for v, arg in given if isinstance(arg, Value) and arg in self.constants}
        inputs = tuple(v for v in body.inputs if v not in fixed)
        params = tuple(v for v in body.inputs if v in fixed)
        body = replace(body, inputs=inputs, params=params)
        return Turns(node, replace(loop, body=body), fuse(body, self.composer))

    # --- who reads a value, through free nodes

    def _readers(self, value: Value) -> list[Node]:
        found: dict[int, Node] = {}

        def visit(v: Value) -> None:
            for n in self.used.get(v, ()):
                if id(n) not in self.free:
                    found[id(n)] = n
                else:
                    for o in n.outputs:
                        visit(o)

        visit(value)
        return list(found.values())

    def _only_reader(self, value: Value) -> Cluster | None:
        """The cluster of all readers, if it is one and no caller sees the value."""
        if value in self.kept:
            return None
        readers = {id(c): c for c in (self.cluster[id(n)] for n in self._readers(value))}
        return next(iter(readers.values())) if len(readers) == 1 else None

    def _merge(self, a: Cluster, into: Cluster) -> None:
        into.nodes = sorted([*into.nodes, *a.nodes], key=self._place_of)
        into.weight = max(into.weight, a.weight)
        for n in a.nodes:
            self.cluster[id(n)] = into

    def _place_of(self, node: Node) -> int:
        return self.place[id(node)]

    def _clusters(self) -> list[Cluster]:
        return list({id(c): c for c in self.cluster.values()}.values())

    # --- merging

    def _prologues(self, into: Weight) -> None:
        for n in reversed(self.graph.nodes):
            c = self.cluster.get(id(n))
            if c is None or c.weight is not Weight.POINTWISE or c.nodes[-1] is not n:
                continue
            if len(n.outputs) != 1 or any(v in self.kept for m in c.nodes for v in m.outputs):
                continue
            reader = self._only_reader(n.outputs[0])
            if reader is None or reader is c or reader.weight > into:
                continue
            if not self._not_enlarged(n.outputs[0], reader) or self._keeps_checks(c, reader):
                continue
            if not self._apart_from_rows(n.outputs[0], c, reader):
                self._merge(c, reader)

    def _keeps_checks(self, c: Cluster, reader: Cluster) -> bool:
        """Whether a map with `c` in it would hold, beside its outputs, a tensor that checks data.

        A map computes everything where it is stored; a check cannot be moved there.
        """
        if reader.weight is not Weight.POINTWISE or not any(map(_may_check, c.nodes)):
            return False
        both = Cluster(Weight.POINTWISE, sorted([*reader.nodes, *c.nodes], key=self._place_of))
        made = self._computation(both)
        names = {t.name for t in made.outputs}
        between = (t for t in topological(made.outputs) if t.name not in names)
        return any(checks_data(x) for t in between for x in bodies(t))

    def _apart_from_rows(self, value: Value, c: Cluster, reader: Cluster) -> bool:
        """Whether `reader`, row by row, would need places of `c` that are no row there.

        Each row would then compute all that those may be, an image for the sake of four pixels.
        """
        if reader.weight is not Weight.ROWWISE or self._is_read_by_rows(value):
            return False
        both = Cluster(reader.weight, sorted([*reader.nodes, *c.nodes], key=self._place_of))
        made = self._computation(both)
        between = {t.name for t in topological(made.outputs) if isinstance(t, Compute)}
        between -= {t.name for t in made.outputs}
        uses = (u for t in topological(made.outputs) for name in between for u in uses_of(t, name))
        return not all(map(keeps_rows, uses))

    def _is_read_by_rows(self, value: Value) -> bool:
        """Whether all that read it are row-wise operators, and read it as it is."""
        readers = self._readers(value)
        return all(value in n.inputs and by_name(n.op).kind is Kind.ROWWISE for n in readers)

    def _not_enlarged(self, value: Value, reader: Cluster) -> bool:
        """Whether no reader of the cluster has more points than the value."""
        for n in self._readers(value):
            if self.cluster[id(n)] is not reader:
                continue
            direct = value in n.inputs and (by_name(n.op).kind is Kind.ROWWISE or n.op in JOINS)
            if not direct and not all(_as_large(value, v) for v in n.outputs):
                return False
        return True

    def _epilogues(self) -> None:
        for n in self.graph.nodes:
            c = self.cluster.get(id(n))
            if c is None or c.weight is not Weight.POINTWISE or c.nodes[-1] is not n:
                continue
            for value in sorted(self._inputs(c), key=self._position, reverse=True):
                producer = self.made.get(value)
                g = None if producer is None else self.cluster.get(id(producer))
                if g is not None and self._is_epilogue(c, value, g):
                    self._merge(c, g)
                    break

    def _position(self, value: Value) -> int:
        node = self.made.get(value)
        return -1 if node is None else self.place[id(node)]

    def _is_epilogue(self, c: Cluster, value: Value, g: Cluster) -> bool:
        if g.weight not in (Weight.ROWWISE, Weight.CONTRACTION, Weight.ATTENTION):
            return False
        if self._only_reader(value) is not c or self._outputs(g) != (value,):
            return False
        (*_, last) = self._outputs(c) or (None,)
        if last is None or len(self._outputs(c)) != 1:
            return False
        if g.weight is Weight.ROWWISE and _is_statistic_of(value, last):
            return True
        # A result that is padded is read in place as well, but has more elements.
        same_points = len(value.shape) == len(last.shape) and _as_large(value, last)
        return same_points and self._read_in_place(c, value)

    def _read_in_place(self, c: Cluster, value: Value) -> bool:
        nodes = self._with_free(c, ())
        leaves = leaves_of(nodes)
        if value not in leaves:
            return False
        made = self.composer(nodes, leaves, self._outputs(c), self.constants)
        name = made.inputs[leaves.index(value)].name
        uses = [u for t in topological(made.outputs) for u in uses_of(t, name)]
        last = made.outputs[0].name
        return all(u.reader.name == last and reads_in_place(u) for u in uses)

    def _scores(self) -> None:
        """The product that makes the scores of attention goes into it."""
        for c in self._clusters():
            (node, *more) = c.nodes
            if c.weight is not Weight.ATTENTION or node.op != "softmax_matmul" or more:
                continue
            producer = self.made.get(node.inputs[0])
            g = None if producer is None else self.cluster.get(id(producer))
            if g is None or g.weight is not Weight.CONTRACTION:
                continue
            if self._only_reader(node.inputs[0]) is c and self._outputs(g) == (node.inputs[0],):
                self._merge(g, c)

    def _permutations(self) -> None:
        for c in self._clusters():
            outputs = self._outputs(c)
            if c.weight is not Weight.ATTENTION or len(outputs) != 1 or outputs[0] in self.kept:
                continue
            readers = self.used.get(outputs[0], [])
            if len(readers) != 1 or id(readers[0]) not in self.free:
                continue
            if readers[0].op in ("transpose", "permute"):
                c.nodes.append(readers[0])
                self.cluster[id(readers[0])] = c
                self.free.discard(id(readers[0]))

    # --- groups

    def _outputs(self, c: Cluster) -> tuple[Value, ...]:
        """The values of the cluster that others need."""
        mine = {id(n) for n in c.nodes}
        out = []
        for n in c.nodes:
            for v in n.outputs:
                if v in self.kept or any(id(r) not in mine for r in self._readers(v)):
                    out.append(v)
        return tuple(out)

    def _inputs(self, c: Cluster) -> tuple[Value, ...]:
        """The values of other clusters that the cluster reads."""
        nodes = self._with_free(c, ())
        return leaves_of(nodes)

    def _in_memory(self, value: Value) -> bool:
        """Whether the value is memory that a kernel can be given, noting aliases."""
        node = self.made.get(value)
        if node is None or id(node) not in self.free:
            return True
        if value in self.aliases:
            return True
        if is_reshape(node) and source_of(node).dtype is value.dtype:
            source = source_of(node)
            if self._in_memory(source):
                self.aliases[value] = self.aliases.get(source, source)
                return True
        return False

    def _with_free(self, c: Cluster, also: tuple[Node, ...]) -> list[Node]:
        """The nodes of the cluster and the free ones that it reads through, in order."""
        mine = {id(n): n for n in (*c.nodes, *also)}
        todo = [*c.nodes]
        while todo:
            node = todo.pop()
            for v in node.inputs:
                source = self.made.get(v)
                if source is None or id(source) in mine:
                    continue
                if self._through_cluster(v, mine) or not self._in_memory(v):
                    mine[id(source)] = source
                    todo.append(source)
        return sorted(mine.values(), key=self._place_of)

    def _through_cluster(self, value: Value, mine: dict[int, Node]) -> bool:
        """Whether a free value is made of what the cluster itself computes."""
        source = self.made.get(value)
        if source is None or id(source) not in self.free:
            return False
        return any(
            (m := self.made.get(v)) is not None
            and (id(m) in mine or self._through_cluster(v, mine))
            for v in source.inputs
        )

    def _group(self, c: Cluster) -> Group:
        nodes, outputs = self._with_free(c, ()), self._outputs(c)
        return Group(tuple(nodes), leaves_of(nodes), outputs, self._computation(c))

    def _computation(self, c: Cluster) -> Computation:
        nodes, outputs = self._with_free(c, ()), self._outputs(c)
        return self.composer(nodes, leaves_of(nodes), outputs, self.constants, self.in_place)

    def _ordered(self) -> list[Cluster]:
        """Clusters after those whose values they read."""
        done: dict[int, Cluster] = {}

        def visit(c: Cluster) -> None:
            if id(c) in done:
                return
            for v in self._inputs(c):
                base = self.aliases.get(v, v)
                source = self.made.get(base)
                if source is not None:
                    visit(self.cluster[id(source)])
            done[id(c)] = c

        for c in self._clusters():
            visit(c)
        return list(done.values())


def _weight(node: Node) -> Weight:
    return Weight.ALONE if node.is_fallback else _WEIGHTS[by_name(node.op).kind]


def _may_check(node: Node) -> bool:
    """Whether the node may check data: an index, or a divisor that is an integer."""
    return by_name(node.op).kind is Kind.GATHER or any(v.dtype.is_int for v in node.outputs)


def _as_large(value: Value, other: Value) -> bool:
    """Whether both have equally many elements."""
    return value.shape == other.shape or same(product(value.shape), product(other.shape))


def _is_statistic_of(value: Value, rows: Value) -> bool:
    """Whether the value has one element for each row of `rows`."""
    if len(value.shape) != len(rows.shape) or not value.shape:
        return False
    return value.shape[-1] == Const(1) and value.shape[:-1] == rows.shape[:-1]
