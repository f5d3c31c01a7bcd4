"""How rows of the table describe the arrays of their samples, and the shapes that all share."""

from __future__ import annotations

from typing import Any, Final

from tc.frozen import frozen
from tc.ops.table import Sample


@frozen
class Array:
    """An array of a sample: uniform in [low, high), integers too; `special` mixes in NaN, ±inf,

    -0.0 and denormals.
    """

    shape: tuple[int, ...]
    dtype: str = "f32"
    low: float = -3.0
    high: float = 3.0
    special: bool = False


def array(*shape: int, dtype: str = "f32", low: float = -3.0, high: float = 3.0) -> Array:
    """An array of that shape."""
    return Array(shape, dtype, low, high)


def ints(*shape: int, high: int = 5, low: int = 0, dtype: str = "i64") -> Array:
    """Integers in [low, high), usable as indices."""
    return Array(shape, dtype, low, high)


def bools(*shape: int) -> Array:
    """A random mask."""
    return Array(shape, "bool", 0, 2)


def special(*shape: int, dtype: str = "f32") -> Array:
    """Floats among which NaN, infinities, signed zeros and denormals occur."""
    return Array(shape, dtype, special=True)


def sample(*args: Any, note: str = "") -> Sample:  # whatever the operator takes
    """One call."""
    return Sample(args, note)


# Nothing, a scalar, one element, primes, and around the width of a vector register.
SHAPES: Final = ((0, 3), (), (1,), (3, 5), (2, 1, 7), (15,), (16,), (17,), (4, 33))
