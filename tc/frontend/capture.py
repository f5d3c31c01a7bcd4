"""From a model and one set of arguments to an ATen graph that serves every batch and length.

`capture` traces with torch.export on a twin of the model that shares its tensors, so the model
itself is not touched, and at sizes of its own choice, so that the sizes of the first call are not
baked in. This module must not lower or compile anything, nor copy a weight.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule

from tc.errors import TcError
from tc.frontend import capture_shapes as shapes
from tc.frontend import capture_tree as tree
from tc.frontend.capture_asserts import asserting
from tc.frontend.capture_branches import Branches, recorded
from tc.frontend.capture_buffers import forget_overwritten, mutated_inputs
from tc.frontend.capture_checks import find_checks
from tc.frontend.capture_complex import expand_complex
from tc.frontend.capture_composites import expand_composites
from tc.frontend.capture_economy import economy
from tc.frontend.capture_kinds import merge_kinds
from tc.frontend.capture_kinds_parts import join_parts
from tc.frontend.capture_layers import any_values
from tc.frontend.capture_masked import take_last_rows
from tc.frontend.capture_normalise import normalise
from tc.frontend.capture_ones import (
    asked_about_one,
    cut_up,
    free_sizes,
    oblivious,
    ones_of,
    same_graph,
    single_queries,
    squeezed,
    widths,
    with_other_ones,
    without,
)
from tc.frontend.capture_picked import compute_whole
from tc.frontend.capture_refusal import quiet, refusal, writes_to_buffer
from tc.frontend.capture_result import arguments_of, result_names, result_tree
from tc.frontend.capture_rope import settle_frequencies
from tc.frontend.capture_transforms import expand_transforms
from tc.frontend.capture_windows import whole_windows
from tc.frontend.captured import Captured, Request, Setting, Weight, own_tensors
from tc.frontend.copies import twin
from tc.frontend.settings import Written
from tc.frontend.signature import Signature, Size, Symbol, TensorSpec


class _Flat(torch.nn.Module):
    """The model as a function of flat tensors; `report` is told of the tree of its result, and of
    the attributes that it wrote."""

    def __init__(
        self,
        model: torch.nn.Module,
        arguments: tree.Node,
        dims: Sequence[shapes.Dims] | None,
        report: Callable[[tree.Node, list[str]], None],
        begin: Callable[[Sequence[torch.Tensor]], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.dims = dims
        # A function: torch.export takes back what a trace changes in a module's attributes.
        self.report = report
        self.begin = begin

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        self.begin(tensors)
        if self.dims is not None:
            _unify(self.dims, tensors)
        caches: list[Any] = []
        args, kwargs = arguments_of(self.arguments, tensors, caches)
        before, written = dict(self.model.named_buffers()), Written(self.model)
        value = self.model(*args, **kwargs)
        for name, buffer in self.model.named_buffers():
            # torch.export drops what is assigned to a buffer of an inner module.
            if before.get(name, buffer) is not buffer:
                raise writes_to_buffer(name)
        outputs: list[torch.Tensor] = []
        self.report(result_tree(value, caches, outputs), written.names)
        return tuple(outputs)


def _unify(dims: Sequence[shapes.Dims], tensors: Sequence[torch.Tensor]) -> None:
    """Tell the trace which dims are one and the same."""
    sizes: dict[str, Any] = {}
    sums: list[tuple[str, Any]] = []
    for each, tensor in zip(dims, tensors, strict=True):
        for label, size in zip(each.labels, tensor.shape, strict=True):
            if label is None:
                continue
            if "+" in label:
                sums.append((label, size))
            elif label in sizes:
                _equate(size, sizes[label])
            else:
                sizes[label] = size
    for label, size in sums:
        parts = label.split("+")
        if all(part in sizes for part in parts):
            _equate(size, sum(sizes[part] for part in parts))


def _equate(size: Any, other: Any) -> None:
    torch._check(size == other)  # type: ignore[no-untyped-call]  # torch gives it no types


def capture(
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    dynamic: bool = True,
    labels: Sequence[Sequence[str | None]] | None = None,
) -> Captured:
    """Trace `model(*args, **kwargs)` as one graph for all sizes that the model allows.

    Args:
        model: any module; it is traced in eval mode and left as it is.
        args, kwargs: one set of arguments; sizes do not matter to a Hugging Face model, and the
            values of tensors never do.
        dynamic: False bakes the sizes of the arguments.
        labels: of the dims of each tensor in order, where the caller knows them (see
            `capture_shapes.Dims`); default: what the arguments' names tell.

    Raises:
        UnsupportedError: an argument or result of a type that no program can hold.
        TraceError: the model refuses the call, or torch.export cannot trace it (data-dependent
            control flow).
    """
    return capture_request(Request.of(model, args, kwargs, dynamic, labels))


def capture_request(request: Request) -> Captured:
    """As `capture`."""
    model, tensors = request.model, list(request.tensors)
    results: list[tuple[tree.Node, list[str]]] = []
    branches = Branches()
    traced = twin(model)
    kept = settle_frequencies(traced)
    flat = _Flat(
        traced,
        request.arguments,
        request.dims,
        lambda *told: results.append(told),
        branches.begin,
    )
    with economy():
        try:
            with recorded(branches):
                program, asked = _traced(flat, tensors, request.dynamic, branches)
        except TcError:
            raise
        except Exception as error:
            # torch.export raises whatever the model raises.
            raise refusal(model, flat, request.names, tensors, error) from error
        result, written = results[-1]
        settled = (*_settled(model, traced), *((name, None) for name in (*kept, *written)))
        return _assemble(program, request, result, branches, asked, settled)


def _settled(model: torch.nn.Module, traced: torch.nn.Module) -> tuple[tuple[str, Setting], ...]:
    before, after = (
        getattr(getattr(each, "config", None), "__dict__", {}) for each in (model, traced)
    )
    return tuple(
        (name, value)
        for name, value in after.items()
        if isinstance(value, Setting) and before.get(name, value) != value
    )


def _traced(
    flat: _Flat, tensors: list[torch.Tensor], dynamic: bool, branches: Branches
) -> tuple[ExportedProgram, set[str]]:
    """Trace with every size free that can be, ones too, unless the module asks about them.

    Also gives the symbols of which the trace does not hold for a one.
    """
    if flat.dims is not None:
        return _export(flat, *shapes.samples(tensors, flat.dims)), set()
    given = [tensor.detach() for tensor in tensors]
    if not dynamic:
        return _export(flat, given, [{} for _ in given]), set()
    free = [{i: Dim.AUTO for i, size in enumerate(t.shape) if size} for t in given]
    many = [{i: Dim.AUTO for i, size in enumerate(t.shape) if size > 1} for t in given]
    try:
        # Oblivious: a one is a size like others, and questions about it are recorded.
        with oblivious():
            program = _export(flat, given, free)
            while cut := (cut_up(program) | branches.untold()) & free_sizes(program):
                # Once the width of rows is a number, what is asked of all sizes may be settled.
                cut = cut & widths(program) or cut
                free, many = without(program, free, cut), without(program, many, cut)
                program = _export(flat, given, free)
            while True:
                program, asked = _apart_at_one(flat, given, free, program)
                ones = ones_of(program, given) & (asked | single_queries(program))
                if not ones:
                    return program, asked
                free = without(program, free, ones)
                program = _export(flat, given, free)
    except TcError:
        raise
    except Exception:  # noqa: BLE001  (torch.export raises whatever the model raises)
        # Ones that are broadcast are no free sizes. Whatever else it was is raised again.
        program = _export(flat, given, many)
        return program, asked_about_one(program)


def _apart_at_one(
    flat: _Flat,
    given: list[torch.Tensor],
    free: list[dict[int, Any]],
    program: ExportedProgram,
) -> tuple[ExportedProgram, set[str]]:
    """A trace for ones and others, and the symbols of which it does not hold for a one.

    Many a question about a one is for the layout of a tensor alone and changes nothing: a trace of
    the other answer tells, and the one of sizes beyond one holds for both.
    """
    asked = asked_about_one(program)
    if not asked or not asked.isdisjoint(squeezed(program)):
        return program, asked
    others = Branches()
    silent = _Flat(flat.model, flat.arguments, None, lambda *_: None, others.begin)
    try:
        with recorded(others):
            other = _export(silent, with_other_ones(program, given, asked), free)
    except Exception:  # noqa: BLE001  (torch.export raises whatever the model raises)
        return program, asked
    if not same_graph(program, other, asked):
        return program, asked
    return (program if asked.isdisjoint(ones_of(program, given)) else other), set()


def _export(
    flat: _Flat, samples: list[torch.Tensor], axes: list[dict[int, Any]]
) -> ExportedProgram:
    shapes_of_all = {"tensors": tuple(axes)} if samples else None
    plain = torch.autocast("cpu", enabled=False)  # a program's types are its own
    told = quiet(), whole_windows(), any_values(), asserting(), plain
    with torch.no_grad(), warnings.catch_warnings(), contextlib.ExitStack() as stack:
        for each in told:
            stack.enter_context(each)
        warnings.simplefilter("ignore")
        return torch.export.export(flat, tuple(samples), strict=False, dynamic_shapes=shapes_of_all)


def _assemble(
    program: ExportedProgram,
    request: Request,
    result: tree.Node,
    branches: Branches,
    asked: set[str],
    settled: tuple[tuple[str, Setting], ...],
) -> Captured:
    graph, model, dims = program.graph_module, request.model, request.dims
    take_last_rows(graph)
    expand_composites(graph)
    expand_transforms(graph)
    normalise(graph)
    merge_kinds(program, graph)
    join_parts(graph)
    compute_whole(graph)
    expand_complex(graph)
    forget_overwritten(program, graph)
    weights, inputs = _split_placeholders(program, model, graph)
    mutated = mutated_inputs(graph, inputs, weights)
    result, kept = _settle_outputs(graph, inputs, result)
    graph.recompile()
    specs = tuple(_spec(name, node) for name, node in zip(request.names, inputs, strict=True))
    symbols = _symbols(program, specs, dims, asked)
    outputs, result_names = _output_specs(kept, result)
    signature = Signature(
        specs,
        outputs,
        result_names,
        symbols,
        find_checks(graph, inputs, specs, symbols, model),
        mutated,
        branches.found(request.names, labelled=dims is not None),
    )
    return Captured(weights, signature, request.arguments, result, settled, graph)


def _split_placeholders(
    program: ExportedProgram, model: torch.nn.Module, graph: GraphModule
) -> tuple[tuple[Weight, ...], list[torch.fx.Node]]:
    """The weights that the graph reads, unused ones taken out of it, and its user inputs."""
    own = own_tensors(model)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    weights, inputs = [], []
    for node in [node for node in graph.graph.nodes if node.op == "placeholder"]:
        spec = specs[node.name]
        if spec.kind == InputKind.USER_INPUT:
            inputs.append(node)
        elif not node.users:
            graph.graph.erase_node(node)
        else:
            assert spec.target is not None
            name = spec.target.removeprefix("model.")
            if name in own:
                weights.append(Weight(name, own[name], constant=False))
            else:
                made = program.constants.get(spec.target)
                assert made is not None, spec
                weights.append(Weight(f"constant.{name}", made, constant=True))
    return tuple(weights), inputs


def _settle_outputs(
    graph: GraphModule, inputs: list[torch.fx.Node], result: tree.Node
) -> tuple[tree.Node, list[torch.fx.Node]]:
    """Give every distinct output once, and none that is an input handed back."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    nodes = list(output.args[0])
    kept = [node for node in dict.fromkeys(nodes) if node not in inputs]
    place = {node: number for number, node in enumerate(kept)}
    given = {node: number for number, node in enumerate(inputs)}

    def renumber(leaf: tree.Node) -> tree.Node:
        assert isinstance(leaf, tree.LeafNode)
        node = nodes[leaf.number]
        return tree.InputNode(given[node]) if node in given else tree.LeafNode(place[node])

    output.args = (tuple(kept),)
    return tree.map_leaves(result, renumber), kept


def _spec(name: str, node: torch.fx.Node) -> TensorSpec:
    value = node.meta["val"]
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape_of(value))


def shape_of(value: torch.Tensor) -> tuple[Size, ...]:
    """The shape of a traced value: ints, and text for sizes over symbols."""
    sizes: tuple[Any, ...] = tuple(value.shape)
    return tuple(
        _size_text(size.node.expr) if isinstance(size, torch.SymInt) else int(size)
        for size in sizes
    )


def _size_text(expression: Any) -> Size:
    return int(expression) if expression.is_Integer else str(expression)


def _symbols(
    program: ExportedProgram,
    specs: Sequence[TensorSpec],
    dims: Sequence[shapes.Dims] | None,
    asked: set[str],
) -> tuple[Symbol, ...]:
    labels: dict[str, str] = {}
    for number, spec in enumerate(specs):
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str) and size.isidentifier():
                label = dims[number].labels[axis] if dims is not None else None
                labels.setdefault(size, label or size)
    found = []
    for symbol, bounds in program.range_constraints.items():
        if str(symbol) in labels:
            # A trace never sees 0 or 1, so a bound up to 2 is the tracer's, not the model's.
            low = 0 if bounds.lower <= 2 else int(bounds.lower)
            if str(symbol) in asked:
                low = max(low, 2)
            high = int(bounds.upper) if bounds.upper.is_Integer else None
            found.append(Symbol(str(symbol), labels[str(symbol)], low, _finite(high)))
    return tuple(found)


def _finite(bound: int | None) -> int | None:
    return None if bound is None or bound >= 2**62 else bound


def _output_specs(
    kept: list[torch.fx.Node], result: tree.Node
) -> tuple[tuple[TensorSpec, ...], tuple[tuple[str, int], ...]]:
    names = tuple(result_names(result))
    first: dict[int, str] = {}
    for name, index in names:
        first.setdefault(index, name)
    specs = tuple(
        _spec(first.get(number, f"cache.{number}"), node) for number, node in enumerate(kept)
    )
    return specs, names
