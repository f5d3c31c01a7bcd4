"""From the nodes of a group to the tensors of its kernel.

Each node's row of the operator table gives its tensors over those of its operands; `inline` makes
few expressions of them. Groups that differ only in names are composed once.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import count

from tc.errors import InternalError
from tc.graph.graph import Arg, Node, Value, values_of
from tc.graph.group import Computation
from tc.graph.inline import inlined
from tc.ir.expr import Const, Expr, Var
from tc.ir.tensor import Compute, Placeholder, Scatter, Tensor
from tc.ir.types import DType
from tc.ops.table import by_name


class Composer:
    """Composes groups; keeps what it made, so that equal layers share their tensors."""

    def __init__(self) -> None:
        self._made: dict[tuple[object, ...], Computation] = {}

    def __call__(
        self,
        nodes: Sequence[Node],
        leaves: Sequence[Value],
        outputs: Sequence[Value],
        constants: frozenset[Value],
        in_place: Container[Value] = (),
    ) -> Computation:
        """The computation of `nodes`, in order, from `leaves` to `outputs`.

        Outputs that are `in_place` are written to the memory of what they replace parts of.
        """
        placed = tuple([v in in_place for v in outputs])
        key = (_signature(nodes, leaves, outputs, constants), placed)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = _compose(nodes, leaves, outputs, constants, placed)
        return found


def _signature(
    nodes: Sequence[Node],
    leaves: Sequence[Value],
    outputs: Sequence[Value],
    constants: frozenset[Value],
) -> tuple[object, ...]:
    number: dict[Value, int] = {}
    counter = count()
    parts: list[object] = []
    for v in leaves:
        number[v] = next(counter)
        parts.append((v.shape, v.dtype, v in constants))
    for node in nodes:
        parts.append((node.op, tuple([_typed(a, number) for a in node.args]), len(node.outputs)))
        for v in node.outputs:
            number[v] = next(counter)
            parts.append(v.shape)
    parts.append(tuple(number[v] for v in outputs))
    return tuple(parts)


def _typed(arg: Arg, number: dict[Value, int]) -> object:
    if isinstance(arg, Value):
        return ("value", number[arg])
    if isinstance(arg, tuple):
        return tuple([_typed(a, number) for a in arg])
    return (type(arg), repr(arg) if isinstance(arg, float) else arg)


def _compose(
    nodes: Sequence[Node],
    leaves: Sequence[Value],
    outputs: Sequence[Value],
    constants: frozenset[Value],
    in_place: tuple[bool, ...],
) -> Computation:
    placeholders = [Placeholder(f"in{n}", v.shape, v.dtype) for n, v in enumerate(leaves)]
    env: dict[Value, Tensor] = dict(zip(leaves, placeholders, strict=True))
    for node in nodes:
        for v, t in zip(node.outputs, build(node, env), strict=True):
            env[v] = as_value(t, v)
    made = [_placed(env[v]) if p else env[v] for v, p in zip(outputs, in_place, strict=True)]
    roots = _distinct(made, placeholders)
    names = frozenset(p.name for p, v in zip(placeholders, leaves, strict=True) if v in constants)
    return Computation(tuple(placeholders), inlined(roots), names)


def _placed(t: Tensor) -> Tensor:
    """The tensor, in the memory of its base."""
    if not isinstance(t, Scatter):
        raise InternalError(f"compose: {t.name} cannot be written in place")
    return replace(t, in_place=True)


def build(node: Node, env: dict[Value, Tensor]) -> tuple[Tensor, ...]:
    """The tensors of a node's outputs."""
    made = by_name(node.op).build(*[_tensors(a, env) for a in node.args])
    return made if isinstance(made, tuple) else (made,)


def _tensors(arg: Arg, env: dict[Value, Tensor]) -> object:
    if isinstance(arg, Value):
        return env[arg]
    if isinstance(arg, tuple):
        return tuple([_tensors(a, env) for a in arg])
    if arg is None or isinstance(arg, Expr | int | float | str | DType):
        return arg
    raise InternalError(f"compose: {arg!r} is no argument of an operator")


def check_value(t: Tensor, v: Value) -> None:
    """InternalError where the operator table gives something else than the graph says."""
    sizes = zip(t.shape, v.shape, strict=False)
    if (
        t.dtype is not v.dtype
        or t.rank != len(v.shape)
        or any(isinstance(a, Const) and isinstance(b, Const) and a != b for a, b in sizes)
    ):
        ours, theirs = (f"{d}[{', '.join(map(str, s))}]" for d, s in
                        ((t.dtype, t.shape), (v.dtype, v.shape)))  # fmt: skip
        raise InternalError(f"{v.name}: the operator table gives {ours}, the graph says {theirs}")


def as_value(t: Tensor, v: Value) -> Tensor:
    """The tensor with the shape that the graph says; they may be written differently."""
    check_value(t, v)
    if isinstance(t, Compute) and t.shape != v.shape:
        return replace(t, shape=v.shape)
    return t


def _distinct(tensors: list[Tensor], placeholders: list[Placeholder]) -> tuple[Tensor, ...]:
    """Outputs must be tensors of their own: an operand handed on, or given twice, is copied."""
    seen = {p.name for p in placeholders}
    out: list[Tensor] = []
    for n, t in enumerate(tensors):
        if t.name in seen:
            axes = tuple(_axis(n, d) for d in range(t.rank))
            t = Compute(f"copy{n}", axes, t.shape, t[axes])
        seen.add(t.name)
        out.append(t)
    return tuple(out)


def _axis(n: int, d: int) -> Var:
    return Var(f"c{n}_{d}")


def leaves_of(nodes: Sequence[Node]) -> tuple[Value, ...]:
    """The values that the nodes read and do not give, in order of appearance."""
    made = {v for n in nodes for v in n.outputs}
    read = (v for n in nodes for v in values_of(n.args))
    return tuple(dict.fromkeys(v for v in read if v not in made))
