"""A graph of AOTAutograd as a captured program: tensors in, tensors out, sizes from shapes.

Its placeholders mix parameters, tensors and sizes, its results tensors, arguments and sizes. This
module must not compile or run anything.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._guards import TracingContext
from torch.fx import GraphModule, Node

from tc.errors import UnsupportedError, describe
from tc.frontend import capture_tree as tree
from tc.frontend.capture import shape_of
from tc.frontend.capture_normalise import normalise
from tc.frontend.captured import Captured, Weight
from tc.frontend.dynamo_views import Views, views_of
from tc.frontend.signature import Signature, Size, Symbol, TensorSpec
from tc.frozen import frozen

_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

# What an output is: ("made", number), ("argument", number), ("view", number), ("size", 0) or
# ("constant", value).
Output = tuple[str, Any]


@frozen
class Lifted:
    """A captured program, and how a call of the graph is one of it.

    Attributes:
        weights, inputs: the numbers of the placeholders that they are.
        constants: tensors that the graph holds, which follow its weights.
        outputs: what each output of the graph is.
        sizes: the text of each output that is a size, by its number.
        views: makes the outputs that are views of arguments, of what a call was given, if any.
        special: whether any output is not the program's output of that number.
    """

    captured: Captured
    weights: tuple[int, ...]
    constants: tuple[torch.Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[Output, ...]
    sizes: dict[int, Size]
    views: Views | None
    special: bool


def lift(graph: GraphModule) -> Lifted:
    """Bring a graph into the form of a captured program; `graph` itself stays as it is.

    Raises:
        UnsupportedError: a tensor that is not on the cpu, or a size that no tensor has.
    """
    viewed, view = views_of(graph)
    made = GraphModule(graph, _copied(graph))
    nodes = [n for n in made.graph.nodes if n.op == "placeholder"]
    static = _static_inputs()
    tensors = [n for n, node in enumerate(nodes) if isinstance(_value(node), torch.Tensor)]
    for number in tensors:
        _require_cpu(nodes[number])
    weights = tuple(n for n in tensors if n in static)
    inputs = tuple(n for n in tensors if n not in static)
    whence = _sizes_of([nodes[n] for n in inputs])
    for node in nodes:
        if not isinstance(_value(node), torch.Tensor):
            _replace_size(made, node, whence)
    outputs, sizes, kept = _outputs(made, nodes, viewed)
    _restore_attention(made)
    _restore_conversions(made)
    normalise(made)
    constants = _lift_constants(made)
    _reorder(made, [*(nodes[n] for n in weights), *constants, *(nodes[n] for n in inputs)])
    made.recompile()
    specs = tuple(_spec(nodes[n].name, nodes[n]) for n in inputs)
    signature = Signature(
        specs,
        tuple(_spec(f"output.{n}", node) for n, node in enumerate(kept)),
        tuple((f"output.{n}", n) for n in range(len(kept))),
        tuple(Symbol(name, name, 0, None) for name in _names(specs)),
        (),
        (),
    )
    listed = [Weight(nodes[n].name, _value(nodes[n]), constant=False) for n in weights]
    listed += [Weight(f"constant.{n.name}", t, constant=True) for n, t in constants.items()]
    nothing = tree.SequenceNode(tuple, ())
    captured = Captured(tuple(listed), signature, nothing, nothing, (), made)
    special = [o for n, o in enumerate(outputs) if o != ("made", n)]
    held = tuple(constants.values())
    views = view if viewed else None
    return Lifted(captured, weights, held, inputs, tuple(outputs), sizes, views, bool(special))


def _restore_attention(made: GraphModule) -> None:
    """Make torch's own kernel of attention, which AOTAutograd puts in, the operator it serves.

    Only where inference needs nothing but the first result, and nothing is dropped at random.
    """
    for node in [n for n in made.graph.nodes if n.target is _FLASH.default]:
        query, key, value, *rest = node.args
        names = ("dropout_p", "is_causal")
        given = {**dict(zip(names, rest, strict=False)), **node.kwargs}
        others = [n for n in node.users if n.target is not operator.getitem or n.args[1] != 0]
        if others or given.pop("dropout_p", 0.0):
            continue
        mask, causal = given.pop("attn_mask", None), given.pop("is_causal", False)
        heads = [int(_value(n).shape[1]) for n in (query, key)]
        with made.graph.inserting_before(node):
            plain = made.graph.call_function(
                torch.ops.aten.scaled_dot_product_attention.default,
                (query, key, value, mask, 0.0, causal),
                {**given, "enable_gqa": heads[0] != heads[1]},
            )
        plain.meta.update(node.meta, val=node.meta["val"][0])
        for read in list(node.users):
            read.replace_all_uses_with(plain)
            made.graph.erase_node(read)
        made.graph.erase_node(node)


def _restore_conversions(made: GraphModule) -> None:
    """Make conversions of AOTAutograd's own, as of numbers that it keeps in tensors, `to`."""
    for node in made.graph.nodes:
        if str(node.target) == "prims.convert_element_type.default":
            node.target = torch.ops.aten.to.dtype  # which takes the same arguments


def _lift_constants(made: GraphModule) -> dict[Node, torch.Tensor]:
    """Make each tensor that the graph holds as an attribute a placeholder; which is which."""
    found: dict[Node, torch.Tensor] = {}
    for node in [n for n in made.graph.nodes if n.op == "get_attr"]:
        held = operator.attrgetter(str(node.target))(made)
        if not isinstance(held, torch.Tensor):
            raise UnsupportedError(
                describe(
                    f"part {node.target} of the graph",
                    why=f"is a {type(held).__name__}, not a tensor",
                    way_out="let this part run eagerly",
                )
            )
        with made.graph.inserting_before(node):
            lifted = made.graph.placeholder(node.name)
        lifted.meta["val"] = node.meta.get("val", held)
        node.replace_all_uses_with(lifted)
        made.graph.erase_node(node)
        found[lifted] = held
    return found


def _copied(graph: GraphModule) -> torch.fx.Graph:
    copied = torch.fx.Graph()
    output = copied.graph_copy(graph.graph, {})
    copied.output(output)
    for node in copied.nodes:
        if node.op == "output":
            node.meta.update(next(n for n in graph.graph.nodes if n.op == "output").meta)
    return copied


def _static_inputs() -> frozenset[int]:
    """The numbers of the placeholders that torch knows to be parameters and buffers."""
    context = TracingContext.try_get()
    meta = None if context is None else context.fw_metadata
    return frozenset() if meta is None else frozenset(meta.static_input_indices)


def _value(node: Node) -> Any:
    return node.meta.get("val")


def _require_cpu(node: Node) -> None:
    value = _value(node)
    if value.device.type != "cpu" or value.layout is not torch.strided:
        raise UnsupportedError(
            describe(
                f"input {node.name}",
                why=f"is a {value.layout} tensor on {value.device}, tc runs dense ones on the cpu",
                way_out="move the model and its inputs to the cpu",
            )
        )


def _sizes_of(nodes: list[Node]) -> dict[str, tuple[Node, int]]:
    """For each symbol a tensor and the dim of it that has this size."""
    found: dict[str, tuple[Node, int]] = {}
    for node in nodes:
        for axis, size in enumerate(shape_of(_value(node))):
            if isinstance(size, str) and size.isidentifier():
                found.setdefault(size, (node, axis))
    return found


def _replace_size(made: GraphModule, node: Node, whence: dict[str, tuple[Node, int]]) -> None:
    """A size that is an argument is read from the tensor that has it."""
    value = _value(node)
    if not node.users:
        made.graph.erase_node(node)
        return
    if not isinstance(value, torch.SymInt):
        raise _no_tensor(node, type(value).__name__)
    text = str(value.node.expr)
    if text not in whence:
        raise _no_tensor(node, text)
    tensor, axis = whence[text]
    last = [n for n in made.graph.nodes if n.op == "placeholder"][-1]
    with made.graph.inserting_after(last):
        read = made.graph.call_function(torch.ops.aten.sym_size.int, (tensor, axis))
    read.meta["val"] = value
    node.replace_all_uses_with(read)
    made.graph.erase_node(node)


def _no_tensor(node: Node, text: str) -> UnsupportedError:
    return UnsupportedError(
        describe(
            f"argument {node.name}",
            why=f"is the number {text}, which is the size of no tensor argument",
            way_out="pass it as a tensor, or let this part run eagerly",
        )
    )


def _outputs(
    made: GraphModule, placeholders: list[Node], viewed: dict[int, int]
) -> tuple[list[Output], dict[int, Size], list[Node]]:
    """What each output is, and the distinct ones that the program must compute."""
    end = next(n for n in made.graph.nodes if n.op == "output")
    place = {node: number for number, node in enumerate(placeholders)}
    found: list[Output] = []
    sizes: dict[int, Size] = {}
    kept: list[Node] = []
    for number, value in enumerate(end.args[0]):
        if not isinstance(value, Node):
            found.append(("constant", value))
        elif value in place:
            found.append(("argument", place[value]))
        elif number in viewed:
            found.append(("view", viewed[number]))
        elif isinstance(_value(value), torch.Tensor):
            if value not in kept:
                kept.append(value)
            found.append(("made", kept.index(value)))
        else:
            found.append(("size", 0))
            expression = _value(value)
            sizes[number] = (
                str(expression.node.expr)
                if isinstance(expression, torch.SymInt)
                else int(expression)
            )
    end.args = (tuple(kept),)
    return found, sizes, kept


def _reorder(made: GraphModule, wanted: list[Node]) -> None:
    """Put the placeholders in this order, before everything else."""
    first = next(iter(made.graph.nodes))
    for node in wanted:
        if node is not first:
            first.prepend(node)
        else:
            first = node.next


def _spec(name: str, node: Node) -> TensorSpec:
    value = _value(node)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), shape_of(value))


def _names(specs: tuple[TensorSpec, ...]) -> list[str]:
    """The symbols of the inputs' shapes."""
    sizes = [size for spec in specs for size in spec.shape]
    return list(dict.fromkeys(s for s in sizes if isinstance(s, str) and s.isidentifier()))
