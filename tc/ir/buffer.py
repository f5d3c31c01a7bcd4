"""Memory that loops read and write: what a buffer is and where it lives."""

from __future__ import annotations

from enum import Enum

from tc.frozen import frozen
from tc.ir.arith import Expr
from tc.ir.types import DType


class Scope(Enum):
    """Where a buffer lives."""

    PARAM = "param"  # given by the caller
    REGISTER = "register"  # constant shape and, after unrolling, constant indices
    SCRATCH = "scratch"  # memory of one thread, from its share of the arena


@frozen
class Buffer:
    """Memory of `shape` elements, row-major and dense, aligned to 64 bytes unless a parameter.

    `align` is the alignment in bytes that a parameter is known to have.
    """

    name: str
    shape: tuple[Expr, ...]
    dtype: DType
    scope: Scope = Scope.PARAM
    align: int = 1

    def __hash__(self) -> int:
        return hash(self.name)
