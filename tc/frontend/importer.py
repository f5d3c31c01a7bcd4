"""From a captured ATen graph to the graph IR.

Arguments are brought into the order of each operator's ATen schema with every default spelled
out, sizes become expressions over symbols, and writes to inputs become new values. An operator
that the table lacks stays as a node named by its overload. Nothing is optimised here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.fx import Node as FxNode

import tc.ops  # noqa: F401  (fills the operator table)
from tc.errors import CompileError, UnsupportedError, describe
from tc.frontend.capture_conditions import ASSERTION
from tc.frontend.captured import Captured, GraphError
from tc.frontend.importer_agreement import Agreement
from tc.frontend.importer_floats import has_float
from tc.frontend.importer_scalars import ITEMS, Scalars
from tc.frontend.importer_sizes import Sizes, dtype_of
from tc.frontend.importer_types import check_types
from tc.frozen import frozen
from tc.graph.compose import build
from tc.graph.experts import grouped_products
from tc.graph.graph import Arg, Graph, Node, Value
from tc.graph.recurrent import recurrent
from tc.graph.sorting import sorting
from tc.ir.expr import Const
from tc.ir.tensor import Placeholder, Tensor
from tc.ir.types import DType
from tc.ops.table import Operator, by_aten, by_name

# Operators that become several nodes; each of these gives None for what is not its own.
_OF_SEVERAL: Final = (recurrent, sorting, grouped_products)
# Where a tensor lies is not the graph's affair.
_NO_MEANING: Final = frozenset(("device", "layout", "pin_memory", "memory_format", "generator"))
# The size that a view is asked for may hold a -1; the traced result has none.
_TAKES_OWN_SHAPE: Final = frozenset(
    f"aten.{name}.default" for name in ("view", "reshape", "_unsafe_view")
)


@frozen
class Imported:
    """A graph, and the weight that each of its parameters is, in the same order."""

    graph: Graph
    weights: tuple[torch.Tensor, ...]


def import_graph(captured: Captured) -> Imported:
    """The graph IR of a captured program.

    Parameters are called as the model calls them, inputs as in the signature, other values as
    the traced nodes.

    Raises:
        GraphError: an element type or size that tc cannot hold, or a write to an input
            through a view.
        CompileError: operands of two element types where eager refuses them.
    """
    graph = _Importer(captured).graph()
    return Imported(graph, tuple(w.tensor for w in captured.weights))


class _Importer:
    def __init__(self, captured: Captured) -> None:
        self.captured = captured
        self.sizes = Sizes(captured.signature.symbols)
        self.scalars = Scalars(self._arg)
        self.agreement = Agreement(captured.signature, self.sizes.symbols)
        self.env: dict[FxNode, Arg] = {}
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.fits: dict[tuple[str, str], str] = {}
        # What an input holds by now, where the program writes to it.
        self.current: dict[Value, Value] = {}
        self.checks: list[Value] = []

    def graph(self) -> Graph:
        placeholders = [n for n in self._all() if n.op == "placeholder"]
        weights, signature = self.captured.weights, self.captured.signature
        names = [w.name for w in weights] + [spec.name for spec in signature.inputs]
        values = [self._placeholder(n, t) for n, t in zip(placeholders, names, strict=True)]
        outputs: tuple[Value, ...] = ()
        for node in self._all():
            if node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                outputs = tuple(self._value(a) for a in node.args[0])  # type: ignore[union-attr]
        params, inputs = values[: len(weights)], values[len(weights) :]
        symbols = tuple(self.sizes.symbols[s.name] for s in signature.symbols)
        mutated = tuple((i, self.current[i]) for i in inputs if i in self.current)
        ends = tuple(inputs), tuple(params), tuple(self.nodes), outputs, symbols, mutated
        return Graph(*ends, tuple(self.checks))

    def _all(self) -> list[FxNode]:
        return list(self.captured.graph.graph.nodes)

    def _placeholder(self, node: FxNode, name: str) -> Value:
        value = self._new(name, node.meta["val"])
        self.env[node] = value
        return value

    def _new(self, name: str, traced: torch.Tensor) -> Value:
        return Value(self._unique(name), self.sizes.shape(traced), dtype_of(traced.dtype))

    def _unique(self, name: str) -> str:
        unique, n = name, 1
        while unique in self.names:
            n += 1
            unique = f"{name}.{n}"
        self.names.add(unique)
        return unique

    def _value(self, node: Any) -> Value:
        value = self._arg(node)
        if not isinstance(value, Value):
            raise GraphError(
                describe(f"output {node}", why="not a tensor", way_out="run it eagerly")
            )
        return value

    # --- nodes

    def _call(self, node: FxNode) -> None:
        traced = node.meta.get("val")
        if isinstance(traced, torch.SymInt | int) and not isinstance(traced, bool):
            if node.target in ITEMS and (value := self.scalars.of(node.args[0])) is not None:
                self.sizes.bind(traced, value)
            self.env[node] = self.sizes(traced)
        elif isinstance(traced, torch.SymFloat | float):
            self.env[node] = self.sizes.number(traced)
        elif node.target is ASSERTION:
            self._assertion(node)
        elif node.target is operator.getitem:
            source, index = self._arg(node.args[0]), node.args[1]
            assert isinstance(source, tuple)
            assert isinstance(index, int)
            self.env[node] = source[index]
        elif isinstance(traced, torch.Tensor) or (
            isinstance(traced, tuple | list) and all(isinstance(t, torch.Tensor) for t in traced)
        ):
            if isinstance(traced, torch.Tensor):
                self._operator(node, (traced,), many=False)
            else:
                self._operator(node, tuple(traced), many=True)
        else:
            raise GraphError(
                describe(
                    f"operator {node.target}",
                    where=_origin(node),
                    why=f"gives a {type(traced).__name__}, not tensors",
                    way_out="run the model eagerly",
                )
            )

    def _operator(self, node: FxNode, traced: tuple[torch.Tensor, ...], many: bool) -> None:
        overload = str(node.target)
        args = _typed(node, self._schema_args(node), traced)
        check_types(overload, args, _origin(node))
        written = _written(node)
        base = args[written] if written is not None else None
        if written is not None:
            overload = _functional(node, overload, base)
            if isinstance(base, Value):
                traced, many = (node.args[written].meta["val"],), False  # type: ignore[union-attr]
        if overload in _TAKES_OWN_SHAPE:
            args = (args[0], self.sizes.shape(traced[0]))
        if any(map(self.sizes.unknown, traced)):
            self._bind(overload, args, traced)
        outputs = tuple(
            self._new(f"{node.name}.{n}" if many else node.name, t) for n, t in enumerate(traced)
        )
        given = overload, args, outputs, _origin(node)
        made = next((found for made_of in _OF_SEVERAL if (found := made_of(*given))), None)
        if made is None:
            made = [Node(self._row(overload, args, outputs), args, outputs, _origin(node))]
            if made[0].is_fallback and has_float(args):
                raise _of_sizes(overload, node)
        self.nodes += made
        self.env[node] = outputs if many else outputs[0]
        self.scalars.note(node, traced[0])
        if isinstance(base, Value):
            self._write(base, outputs[0])

    def _assertion(self, node: FxNode) -> None:
        """Refuse data, by what makes a value that nobody gets."""
        value = Value(self._unique(node.name), (), DType.BOOL)
        self.nodes.append(Node("assertion", self._schema_args(node), (value,), _origin(node)))
        self.checks.append(value)

    def _bind(self, overload: str, args: tuple[Arg, ...], traced: tuple[torch.Tensor, ...]) -> None:
        """Sizes that torch leaves open, as those of a slice between bounds that it takes for data,

        are what the row gives.
        """
        row = by_aten(overload)
        made = None if row is None else _built(row, args, ())
        for tensor, value in zip(made or (), traced, strict=False):
            for size, open_size in zip(tensor.shape, value.shape, strict=False):
                self.sizes.bind(open_size, size)

    def _row(self, overload: str, args: tuple[Arg, ...], outputs: tuple[Value, ...]) -> str:
        """The name of the table's row, or the overload where there is none for these arguments."""
        row = by_aten(overload)
        if row is None:
            return overload
        key = (overload, repr(args_key(args)))
        if key not in self.fits:
            rows = (row, by_name(row.otherwise)) if row.otherwise else (row,)
            fitting = (r.name for r in rows if _is_computed(r, args, outputs, self.agreement))
            self.fits[key] = next(fitting, overload)
        return self.fits[key]

    def _write(self, base: Value, new: Value) -> None:
        """From here on, the input that `base` stands for is `new`."""
        inputs = [i for i, now in self.current.items() if now is base]
        self.current[inputs[0] if inputs else base] = new
        for node, value in self.env.items():
            if value is base:
                self.env[node] = new

    # --- arguments

    def _schema_args(self, node: FxNode) -> tuple[Arg, ...]:
        """All arguments in the order of the schema, defaults spelled out."""
        schema = node.target._schema  # type: ignore[union-attr]
        out: list[Arg] = []
        for n, parameter in enumerate(schema.arguments):
            if parameter.name in _NO_MEANING:
                out.append(None)
            elif parameter.name in node.kwargs:
                out.append(self._arg(node.kwargs[parameter.name]))
            elif n < len(node.args) and not parameter.kwarg_only:
                out.append(self._arg(node.args[n]))
            else:
                out.append(self._arg(parameter.default_value))
        return tuple(out)

    def _arg(self, x: Any) -> Arg:
        match x:
            case FxNode():
                found = self.env[x]
                # A size that is a number is as good as an int, and rows may need to know it.
                if isinstance(found, Const):
                    return float(found.value) if found.dtype.is_float else int(found.value)
                return found
            case None | bool() | int() | float() | str():
                return x
            case torch.dtype():
                return dtype_of(x)
            case torch.SymInt():
                return self.sizes(x)
            case torch.SymFloat():
                return self.sizes.number(x)
            case tuple() | list():
                return tuple(self._arg(part) for part in x)
            case torch.device() | torch.layout() | torch.memory_format():
                return None
        raise GraphError(
            describe(
                f"argument {x!r}", why=f"a {type(x).__name__}", way_out="run the model eagerly"
            )
        )


def args_key(arg: Arg) -> object:
    """An argument with values replaced by what operators know of them."""
    if isinstance(arg, Value):
        return (arg.shape, arg.dtype)
    return tuple(args_key(a) for a in arg) if isinstance(arg, tuple) else arg


def _is_computed(
    row: Operator,
    args: tuple[Arg, ...],
    outputs: tuple[Value, ...],
    agreement: Agreement,
) -> bool:
    """Whether the row takes these arguments; what it refuses runs eagerly.

    Raises:
        GraphError, InternalError: the row gives other types or sizes than the traced operator.
    """
    made = _built(row, args, outputs)
    if made is None:
        return False
    if torch.get_default_dtype() is not torch.float32 and any(
        t.dtype is not v.dtype for t, v in zip(made, outputs, strict=True)
    ):
        return False  # the table's operators go from integers to fp32
    for t, v in zip(made, outputs, strict=True):
        agreement.check(t, v)
    return True


def _built(
    row: Operator, args: tuple[Arg, ...], outputs: tuple[Value, ...]
) -> tuple[Tensor, ...] | None:
    """What the row makes of these arguments; None where it refuses them."""
    node = Node(row.name, args, outputs)
    env: dict[Value, Tensor] = {
        v: Placeholder(f"in{n}", v.shape, v.dtype) for n, v in enumerate(node.inputs)
    }
    try:
        return tuple(build(node, env))
    except (UnsupportedError, CompileError):
        return None
    except TypeError:
        if not has_float(args):
            raise
        return None  # it wants to know the number


def _of_sizes(overload: str, node: FxNode) -> GraphError:
    return GraphError(
        describe(
            f"operator {overload}",
            where=_origin(node),
            why="it is given a float that follows from sizes",
            way_out="give a number, or compile with dynamic=False",
        )
    )


def _typed(node: FxNode, args: tuple[Arg, ...], traced: Sequence[torch.Tensor]) -> tuple[Arg, ...]:
    """The arguments of an operator that makes a tensor of nothing, with its element type told.

    It follows from a setting of the process otherwise.
    """
    names = [p.name for p in node.target._schema.arguments]  # type: ignore[union-attr]
    if "dtype" not in names or any(isinstance(arg, Value) for arg in args):
        return args
    at = names.index("dtype")
    return (
        args if args[at] is not None else (*args[:at], dtype_of(traced[0].dtype), *args[at + 1 :])
    )


def _origin(node: FxNode) -> str:
    """The dotted name of the module that the node was traced in."""
    stack: Mapping[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    places = [place for place, _ in stack.values() if place]
    return places[-1].removeprefix("model").removeprefix(".") if places else ""


def _written(node: FxNode) -> int | None:
    """The argument that an in-place operator writes to."""
    for n, parameter in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if parameter.alias_info is not None and parameter.alias_info.is_write:
            return n
    return None


def _functional(node: FxNode, overload: str, base: Arg) -> str:
    """The overload that gives a new tensor instead of writing to `base`."""
    packet, _, variant = overload.removeprefix("aten.").partition(".")
    source = node.args[0]
    name = packet.removesuffix("_")
    known: Callable[..., Any] | None = getattr(torch.ops.aten, name, None)
    direct = isinstance(source, FxNode) and source.op == "placeholder"
    chained = isinstance(source, FxNode) and _written_to(source)
    if not packet.endswith("_") or known is None or not (direct or chained):
        where = base.name if isinstance(base, Value) else str(base)
        raise GraphError(
            describe(
                f"operator {overload}",
                where=_origin(node),
                why=f"writes to {where} through a view",
                way_out="run the model eagerly",
            )
        )
    return f"aten.{name}.{variant}"


def _written_to(node: FxNode) -> bool:
    return hasattr(node.target, "_schema") and _written(node) is not None
