"""Which sizes of a traced graph it may not take for others, since they mean something else.

A trace with free sizes assumes that none is one where torch asks (squeeze, Python branches); a call
where a size is one then needs a graph of its own. So does every size that decides how many pieces
it is cut into. This module must not trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.fx.experimental._config as symbolic_config
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._sympy.functions import Mod, PythonMod

_aten = torch.ops.aten
_CUTS = {_aten.chunk.default, _aten.split.Tensor, _aten.tensor_split.sections}
_LAYOUTS = {_aten.contiguous.default, _aten.clone.default}
_SQUEEZES = {_aten.squeeze.default, _aten.squeeze.dim, _aten.squeeze.dims}


def asked_about_one(program: ExportedProgram) -> set[str]:
    """The symbols for which one and more than one give different graphs."""
    found = squeezed(program)
    environment = _environment(program)
    if environment is not None:
        for guard in environment.guards:
            found |= _decided(guard.expr)
    return found


def squeezed(program: ExportedProgram) -> set[str]:
    """The symbols of sizes that are taken out where they are one; a trace never takes them out."""
    nodes = [n for n in program.graph.nodes if n.op == "call_function" and n.target in _SQUEEZES]
    return {symbol for node in nodes for symbol in _squeezed(node)}


def single_queries(program: ExportedProgram) -> set[str]:
    """The symbols of how many queries attention has: one alone is scheduled in another way."""
    return _of_attention(program, 0, -2)


def _of_attention(program: ExportedProgram, operand: int, dim: int) -> set[str]:
    """The symbols of a size of an operand (queries, keys, values) of all attention."""
    nodes = [
        n for n in program.graph.nodes if n.target is _aten.scaled_dot_product_attention.default
    ]
    sizes = [n.args[operand].meta["val"].shape[dim] for n in nodes]
    return {
        str(symbol)
        for size in sizes
        if isinstance(size, torch.SymInt)
        for symbol in size.node.expr.free_symbols
    }


def cut_up(program: ExportedProgram) -> set[str]:
    """The symbols of the sizes that must be numbers.

    Those that are cut into pieces, since their values say how many there are, and those that other
    sizes follow from through fractions (interpolation by 1.3), which rounds as floats do. So are
    those of which the trace asked for such a fraction, or for a remainder: its graph holds for the
    answer alone. The widths of heads of attention are no lengths that change from call to call, and
    its schedule is much better for numbers.
    """
    found = _of_attention(program, 0, -1) | _of_attention(program, 2, -1)
    environment = _environment(program)
    for guard in () if environment is None else environment.guards:
        asked = environment.replace(guard.expr)  # by now, some sizes are numbers
        if any(atom.is_Float for atom in asked.atoms()) or asked.has(Mod, PythonMod):
            found |= {str(symbol) for symbol in asked.free_symbols}
    for node in program.graph.nodes:
        found |= _of_fractions(node.meta.get("val"))
        if node.op == "call_function" and node.target in _CUTS:
            given = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
            size = node.args[0].meta["val"].shape[given]
            if isinstance(size, torch.SymInt) and not _even(node, size.node.expr):
                found |= {str(symbol) for symbol in size.node.expr.free_symbols}
    return found


def _even(node: Node, size: Any) -> bool:
    """Whether a size is cut into as many pieces whatever it is, all of one size."""
    return node.target is _aten.chunk.default and size % node.args[1] == 0


def _of_fractions(value: Any) -> set[str]:
    """The symbols that a float stands beside in the sizes of a traced value."""
    parts = value if isinstance(value, tuple | list) else (value,)
    sizes: list[Any] = [n for part in parts if isinstance(part, torch.Tensor) for n in part.shape]
    return {
        str(symbol)
        for size in sizes
        if isinstance(size, torch.SymInt)
        for symbol in size.node.expr.free_symbols
        if any(number.is_Float for number in size.node.expr.atoms())
    }


def without(
    program: ExportedProgram, axes: Sequence[dict[int, Any]], symbols: set[str]
) -> list[dict[int, Any]]:
    """The free axes of the inputs of `program` but those whose sizes are among `symbols`."""
    return [
        {axis: free for axis, free in each.items() if str(shape[axis]) not in symbols}
        for each, shape in zip(axes, _shapes(program), strict=True)
    ]


def free_sizes(program: ExportedProgram) -> set[str]:
    """The symbols that are sizes of the inputs."""
    return {str(n) for shape in _shapes(program) for n in shape if isinstance(n, torch.SymInt)}


def widths(program: ExportedProgram) -> set[str]:
    """The symbols of last dims, which are those of features more often than any others."""
    last = (shape[-1] for shape in _shapes(program) if len(shape) > 1)
    return {str(size) for size in last if isinstance(size, torch.SymInt)}


def _shapes(program: ExportedProgram) -> list[tuple[Any, ...]]:
    specs = [s for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    traced = {n.name: n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"}
    return [tuple(traced[spec.arg.name].shape) for spec in specs]


def ones_of(program: ExportedProgram, samples: Sequence[torch.Tensor]) -> set[str]:
    """The symbols that stand for sizes of one of `samples`, which were traced."""
    return {
        str(size.node.expr)
        for shape, sample in zip(_shapes(program), samples, strict=True)
        for size, given in zip(shape, sample.shape, strict=True)
        if given == 1 and isinstance(size, torch.SymInt)
    }


def with_other_ones(
    program: ExportedProgram, samples: Sequence[torch.Tensor], symbols: set[str]
) -> list[torch.Tensor]:
    """`samples`, which were traced, with ones for the sizes `symbols`; twos where one was a one."""
    many = not symbols.isdisjoint(ones_of(program, samples))
    changed = []
    for shape, sample in zip(_shapes(program), samples, strict=True):
        for axis, size in enumerate(shape):
            if str(size) in symbols:
                first = sample.narrow(axis, 0, 1)
                sample = torch.cat((first, first), axis) if many else first
        changed.append(sample)
    return changed


def same_graph(program: ExportedProgram, other: ExportedProgram, ones: set[str]) -> bool:
    """Whether two traces of one module compute the same where the sizes `ones` are one.

    Layouts of tensors do not count.
    """
    return _described(program, ones) == _described(other, ones)


def _described(program: ExportedProgram, ones: set[str]) -> list[str]:
    """Of each node what it computes from which others, and sizes and dtypes of what it gives."""
    place: dict[Node, str] = {}
    found: list[str] = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt):
            place[node] = _at_one(value, ones)
        elif node.target in _LAYOUTS:
            place[node] = place[node.args[0]]
        else:
            place[node] = f"%{len(found)}"
            args, kwargs = map_arg((node.args, node.kwargs), place.__getitem__)
            given = [
                (v.dtype, *(_at_one(size, ones) for size in tuple(v.shape)))
                for v in (value if isinstance(value, tuple | list) else (value,))
                if isinstance(v, torch.Tensor)
            ]
            found.append(f"{node.op} {node.target} {args} {kwargs} {given}")
    return found


def _at_one(size: Any, ones: set[str]) -> str:
    if not isinstance(size, torch.SymInt):
        return str(size)
    expression = size.node.expr
    return str(expression.subs({s: 1 for s in expression.free_symbols if str(s) in ones}))


def oblivious() -> AbstractContextManager[None]:
    """Traces in which a one is a size like others, and which record questions about it."""
    settings: Any = symbolic_config  # its methods are installed when it is imported
    found: AbstractContextManager[None] = settings.patch(backed_size_oblivious=True)
    return found


def _squeezed(node: Node) -> set[str]:
    source = node.args[0]
    assert isinstance(source, Node)
    shape: tuple[Any, ...] = tuple(source.meta["val"].shape)
    chosen: Any = node.args[1] if len(node.args) > 1 else range(len(shape))
    dims = (chosen,) if isinstance(chosen, int) else chosen
    sizes = [shape[d] for d in dims] if shape else []
    return {
        str(symbol)
        for size in sizes
        if isinstance(size, torch.SymInt)
        for symbol in size.node.expr.free_symbols
    }


def _decided(guard: Any) -> set[str]:
    """The symbol of a guard that holds for one alone, or for all but one of the small sizes."""
    symbols = guard.free_symbols
    if len(symbols) != 1:
        return set()
    (symbol,) = symbols
    one, two = (_answer(guard, symbol, size) for size in (1, 2))
    return {str(symbol)} if one != two else set()


def _answer(guard: Any, symbol: Any, size: int) -> bool | None:
    """Whether a guard holds for a size; None where it means nothing, such as -3 mod 32 to torch."""
    try:
        return bool(guard.subs(symbol, size))
    except (AssertionError, ArithmeticError, TypeError, ValueError):
        return None


def _environment(program: ExportedProgram) -> Any:
    """What recorded the questions of the trace; None where no size is free."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        sizes: tuple[Any, ...] = tuple(value.shape) if isinstance(value, torch.Tensor) else ()
        for size in sizes:
            if isinstance(size, torch.SymInt):
                return size.node.shape_env
    return None
