"""What all pointwise operators share: broadcasting, promotion and the shape of a row.

A family module gives a name, a function of expressions and its NumPy reference; the tensor
expression and the table's row are made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeAlias

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Expr, cast
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL, DType
from tc.ops.dims import broadcast, stretched
from tc.ops.promotion import Operand, compute_type, floating, number_as, result_type
from tc.ops.table import Builder, Kind, Operator, Sample, operator, register

Fn: TypeAlias = Callable[..., Expr]
Reference: TypeAlias = Callable[..., Any]  # on NumPy arrays


class Rule(Enum):
    """What an operator makes of the promoted type of its operands."""

    SAME = "same"  # computes and gives it
    FLOAT = "float"  # integers become f32
    TEST = "test"  # computes in it, gives a bool
    FLOAT_TEST = "float_test"  # computes in a float type, gives a bool
    LOGICAL = "logical"  # reads bools (anything but zero is true), gives a bool
    BITS = "bits"  # integers and bools only


def types_of(name: str, rule: Rule, operands: Sequence[Operand]) -> tuple[DType, DType]:
    """The type that `rule` brings the operands to, and the type of the result."""
    promoted = result_type(operands)
    match rule:
        case Rule.SAME:
            return promoted, promoted
        case Rule.FLOAT:
            return floating(promoted), floating(promoted)
        case Rule.TEST:
            return promoted, BOOL
        case Rule.FLOAT_TEST:
            return floating(promoted), BOOL
        case Rule.LOGICAL:
            return BOOL, BOOL
        case Rule.BITS:
            if promoted.is_float:
                raise UnsupportedError(f"{name}: takes integers or bools, not {promoted}")
            return promoted, promoted


def pointwise(
    name: str,
    operands: Sequence[Operand],
    held: DType,
    result: DType,
    fn: Fn,
    exact: bool = False,
) -> Tensor:
    """fn of the operands, each broadcast and brought to `held`, cast to `result` at the end.

    Args:
        exact: numbers and scalar tensors are not rounded to a half-precision `held`.
    """
    shape = broadcast(name, *(x.shape for x in operands if isinstance(x, Tensor)))
    compute = compute_type(held)

    def element(*index: Expr) -> Expr:
        values = []
        for x in operands:
            is_scalar = not isinstance(x, Tensor) or x.rank == 0
            kind = compute if exact and is_scalar else held
            value = (
                cast(stretched(x, shape, index), kind)
                if isinstance(x, Tensor)
                else number_as(x, kind)
            )
            values.append(cast(value, compute))
        return cast(fn(*values), result)

    return te.compute(shape, element, te.fresh(name))


def by_rule(
    name: str, rule: Rule, operands: Sequence[Operand], fn: Fn, exact: bool = False
) -> Tensor:
    """`pointwise` in the types that `rule` gives."""
    held, result = types_of(name, rule, operands)
    return pointwise(name, operands, held, result, fn, exact)


def enter(
    name: str,
    aten: Sequence[str],
    rule: Rule,
    fn: Fn,
    reference: Reference,
    samples: tuple[Sample, ...],
    exact: bool = False,
) -> None:
    """Enter a row whose arguments are all operands."""

    def build(*operands: Operand) -> Tensor:
        return by_rule(name, rule, operands, fn, exact)

    register(Operator(name, tuple(aten), Kind.POINTWISE, build, reference, samples))


def entry(
    name: str, reference: Callable[..., Any], *samples: Sample, aten: tuple[str, ...] = ()
) -> Callable[[Builder], Builder]:
    """A pointwise row for `aten.<name>.default` unless overloads are given."""
    return operator(
        name,
        aten=aten or (f"aten.{name}.default",),
        kind=Kind.POINTWISE,
        reference=reference,
        samples=samples,
    )
