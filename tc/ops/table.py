"""The operator table: one row for each operator, read by lowering, tests and documentation alike.

A row's `build` takes the operands in the order of the ATen schema with every argument present:
tensors as `te.Tensor`, sizes as ints or index expressions, lists as tuples, dtypes as `DType`,
absent ones as None. It gives a tensor or a tuple of tensors, whose shapes and dtypes are the
operator's shape and dtype inference.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, TypeVar

from tc.errors import InternalError, UnsupportedError
from tc.frozen import frozen
from tc.ir.tensor import Tensor

Result = Tensor | tuple[Tensor, ...]
Build = Callable[..., Result]
Builder = TypeVar("Builder", bound=Build)


class Kind(Enum):
    """What fusion needs to know of an operator; it decides nothing about results."""

    POINTWISE = "pointwise"  # each element from the same point of its (broadcast) operands
    VIEW = "view"  # each element is one element of the operand: an index map
    ROWWISE = "rowwise"  # reductions and maps along trailing axes
    CONTRACTION = "contraction"  # products summed over axes
    ATTENTION = "attention"
    GATHER = "gather"  # an index is data
    SCATTER = "scatter"  # writes at computed places, or a running fold
    CREATE = "create"  # no tensor operand
    LOOP = "loop"  # a graph that is run again and again


@frozen
class Sample:
    """One call for the tests: arrays are given as `samples.Array`, the rest as it is.

    `args` follow the ATen schema. The tests make every dim symbolic as well.
    """

    args: tuple[Any, ...]  # arbitrary operator arguments: arrays, numbers, lists
    note: str = ""


@frozen
class Operator:
    """A row. `reference` computes the same on NumPy arrays in float64.

    `otherwise` names the row that takes the calls of the same overloads which this one refuses.
    """

    name: str
    aten: tuple[str, ...]
    kind: Kind
    build: Build
    reference: Callable[..., Any]  # NumPy array or a tuple of arrays
    samples: tuple[Sample, ...]
    otherwise: str = ""


_BY_NAME: Final[dict[str, Operator]] = {}
_BY_ATEN: Final[dict[str, Operator]] = {}


def operator(
    name: str,
    *,
    aten: tuple[str, ...],
    kind: Kind,
    reference: Callable[..., Any],
    samples: tuple[Sample, ...],
    otherwise: str = "",
) -> Callable[[Builder], Builder]:
    """Enter the decorated `build` function into the table."""

    def enter(build: Builder) -> Builder:
        register(Operator(name, aten, kind, build, reference, samples, otherwise))
        return build

    return enter


def register(row: Operator) -> None:
    """Add a row; a name or ATen overload that is taken is a mistake of ours."""
    for key, index in ((row.name, _BY_NAME), *((a, _BY_ATEN) for a in row.aten)):
        if key in index:
            raise InternalError(f"operator table: {key!r} is entered twice")
        index[key] = row


def by_name(name: str) -> Operator:
    """The row called `name`."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnsupportedError(f"operator {name!r}: not in the operator table") from None


def by_aten(overload: str) -> Operator | None:
    """The row for an ATen overload such as "aten.add.Tensor", or None."""
    return _BY_ATEN.get(overload)


def operators() -> tuple[Operator, ...]:
    """All rows that stand for an ATen operator, by name; the others are made by graph passes."""
    return tuple(_BY_NAME[n] for n in sorted(_BY_NAME) if _BY_NAME[n].aten)
