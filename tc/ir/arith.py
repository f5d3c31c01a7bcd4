"""The arithmetic core of expressions: variables, literals and operators, and how they are made.

Import from `tc.ir.expr`, which has these nodes beside all others.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from numbers import Real
from typing import Final, NoReturn, TypeAlias, Union

from tc.errors import CompileError, InternalError, describe
from tc.frozen import frozen
from tc.ir.remembered import answers, remembers
from tc.ir.text import Printed
from tc.ir.types import BOOL, F32, HELD, I64, DType, wrapped

UNARY_OPS: Final = frozenset(
    (
        "neg", "not", "abs", "sign", "sqrt", "rsqrt", "exp", "expm1", "log", "log1p", "log2",
        "exp2", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh",
        "acosh", "atanh", "erf", "erfc", "exp_nonpos", "sigmoid", "floor", "ceil", "round", "trunc",
        "isnan", "isinf",
    )
)  # fmt: skip
COMPARISONS: Final = frozenset(("eq", "ne", "lt", "le"))
BINARY_OPS: Final = COMPARISONS | frozenset(
    (
        "add", "sub", "mul", "div", "floordiv", "mod", "min", "max", "and", "or", "xor", "shl",
        "shr", "pow", "atan2", "fmod",
    )
)  # fmt: skip
_PREDICATES: Final = frozenset(("isnan", "isinf"))

ExprLike: TypeAlias = Union["Expr", int, float, bool]


class Expr(Printed):
    """Base of every scalar expression; gives the operators of Python to them."""

    __slots__ = ("_dtype", "_free", "_hash", "_lanes", "_order", "_plain", "_poly")
    _dtype: DType
    _free: frozenset[Var]  # of `tc.ir.visit`
    _hash: int
    _lanes: int
    _order: str  # of `tc.ir.affine`
    _plain: bool  # of `tc.ir.affine`
    _poly: dict[tuple[Expr, ...], int]  # of `tc.ir.affine`

    @property
    def dtype(self) -> DType:
        raise InternalError(f"{type(self).__name__} has no dtype")

    @property
    def lanes(self) -> int:
        """1 for a scalar, the number of lanes for a vector."""
        return 1

    def __bool__(self) -> NoReturn:
        # Always true, it would make `a if i < n else b` be `a`, and `a and b` be `b`.
        raise CompileError(
            describe(
                str(self),
                why="is neither true nor false before the kernel runs",
                way_out="for `a if c else b` write te.select(c, a, b), for `and`, `or` and `not` "
                "write c & d, c | d and ~c, and compare by te.equal",
            )
        )

    def __add__(self, other: ExprLike) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return binary("add", other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return binary("sub", other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return binary("mul", other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return binary("div", other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return binary("floordiv", self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return binary("floordiv", other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return binary("mod", self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return binary("mod", other, self)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def __and__(self, other: ExprLike) -> Expr:
        return binary("and", self, other)

    def __or__(self, other: ExprLike) -> Expr:
        return binary("or", self, other)

    def __xor__(self, other: ExprLike) -> Expr:
        return binary("xor", self, other)

    def __invert__(self) -> Expr:
        return unary("not", self)

    def __lt__(self, other: ExprLike) -> Expr:
        return binary("lt", self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return binary("le", self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return binary("lt", other, self)

    def __ge__(self, other: ExprLike) -> Expr:
        return binary("le", other, self)


@answers(dtype="type", lanes=1)
@remembers
@frozen
class Const(Expr):
    """A literal. Equality is that of the bits: 0.0 is not -0.0, and NaN equals itself.

    An integer that its type cannot hold wraps around, as arithmetic in it does.
    """

    value: int | float | bool
    type: DType = I64

    def __post_init__(self) -> None:
        if self.type is I64 and type(self.value) is int and self.value in HELD[I64]:
            return  # as most are
        kind = float if self.type.is_float else bool if self.type is BOOL else int
        if type(self.value) is not kind:
            object.__setattr__(self, "value", kind(self.value))
        if kind is int and self.value not in HELD[self.type]:
            object.__setattr__(self, "value", wrapped(int(self.value), self.type))

    @property
    def dtype(self) -> DType:
        return self.type

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Const) or self.type is not other.type:
            return False
        if isinstance(self.value, float):
            return struct.pack("<d", self.value) == struct.pack("<d", other.value)
        return self.value == other.value

    def __hash__(self) -> int:
        value = self.value
        return hash(value) if value == value else 0  # each NaN object has a hash of its own


@answers(dtype="type", lanes="width")
@remembers
@frozen
class Var(Expr):
    """A loop variable, reduction axis, or the name that a `Let` binds."""

    name: str
    type: DType = I64
    width: int = 1

    @property
    def dtype(self) -> DType:
        return self.type

    @property
    def lanes(self) -> int:
        return self.width

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Var)
            and self.name == other.name
            and self.type is other.type
            and self.width == other.width
        )

    def __hash__(self) -> int:
        return hash(self.name)


@answers(lanes=1)
@remembers
@frozen
class Sym(Expr):
    """A symbolic dim: an i64 that is fixed during a call, with lo <= value <= hi."""

    name: str
    lo: int
    hi: int

    @property
    def dtype(self) -> DType:
        return I64


@remembers
@frozen
class Unary(Expr):
    """`op` applied to one operand; the operators are in `UNARY_OPS`."""

    op: str
    x: Expr

    def __post_init__(self) -> None:
        if self.op not in UNARY_OPS:
            raise _unknown("unary", self.op)

    @property
    def dtype(self) -> DType:
        return BOOL if self.op in _PREDICATES else self.x.dtype

    @property
    def lanes(self) -> int:
        return self.x.lanes


@remembers
@frozen
class Binary(Expr):
    """`op` applied to two operands of one dtype; the operators are in `BINARY_OPS`."""

    op: str
    a: Expr
    b: Expr

    def __post_init__(self) -> None:
        if self.op not in BINARY_OPS:
            raise _unknown("binary", self.op)

    @property
    def dtype(self) -> DType:
        return BOOL if self.op in COMPARISONS else self.a.dtype

    @property
    def lanes(self) -> int:
        return max(self.a.lanes, self.b.lanes)


def _unknown(kind: str, op: str) -> InternalError:
    return InternalError(f"{kind} operator {op!r}: no such operator in tc.ir.expr")


def wrap(x: ExprLike, like: Expr | None = None) -> Expr:
    """`x` as an expression; a Python number takes the dtype of `like`."""
    if isinstance(x, Expr):
        return x
    given: object = x
    if not isinstance(given, bool | int | float | Real):
        raise CompileError(
            f"{type(x).__name__} in an expression: neither a number nor a part of one; "
            "read tensors by x[i, j], and return what the function computes"
        )
    if isinstance(x, bool):
        return Const(x, BOOL if like is None else like.dtype)
    if like is not None and (like.dtype.is_float or isinstance(x, int)):
        return Const(x, like.dtype)
    return Const(x, I64 if isinstance(x, int) else F32)


def not_bool(x: ExprLike) -> ExprLike:
    """`x`, which is the truth of no comparison by `==`: that asks how expressions are written.

    Raises:
        CompileError: it is True or False.
    """
    if isinstance(x, bool):
        raise CompileError(
            describe(
                f"{x} in an expression",
                why="`==` and `!=` compare how two expressions are written, before the kernel runs",
                way_out="write te.equal(a, b), ~te.equal(a, b), or te.const(True, te.BOOL)",
            )
        )
    return x


_FOLD: Final[dict[str, Callable[[int, int], int | bool]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
}


def binary(op: str, a: ExprLike, b: ExprLike) -> Expr:
    """A binary expression; Python numbers take the other side's dtype, i64 constants fold."""
    if a.__class__ is bool or b.__class__ is bool:
        not_bool(a), not_bool(b)
    a = wrap(a, b if isinstance(b, Expr) else None)
    b = wrap(b, a)
    if isinstance(a, Const) and isinstance(b, Const) and a.type is I64 and b.type is I64:
        fold = _FOLD.get(op)
        if fold is not None and not (op in ("floordiv", "mod") and b.value == 0):
            value = fold(int(a.value), int(b.value))
            return Const(value, BOOL if op in COMPARISONS else I64)
    if a.dtype is I64 and b.dtype is I64:
        identity = _index_identity(op, a, b)
        if identity is not None:
            return identity
    if a.dtype is not b.dtype:
        raise CompileError(f"{op} of {a.dtype} and {b.dtype}: operands differ; cast one of them")
    return Binary(op, a, b)


def _index_identity(op: str, a: Expr, b: Expr) -> Expr | None:
    """x + 0, x * 1, x * 0, x // 1, x % 1 on integers: they would clutter every address."""
    left = a.value if isinstance(a, Const) else None
    right = b.value if isinstance(b, Const) else None
    if left is None and right is None:
        return None
    match op:
        case "add" | "sub" if right == 0:
            return a
        case "add" if left == 0:
            return b
        case "mul" if 0 in (left, right):
            return Const(0)
        case "mul" | "floordiv" if right == 1:
            return a
        case "mul" if left == 1:
            return b
        case "mod" if right == 1:
            return Const(0)
    return None


def unary(op: str, x: Expr) -> Expr:
    """A unary expression."""
    if op == "neg" and isinstance(x, Const) and x.type is not BOOL:
        return Const(-x.value, x.type)
    return Unary(op, x)
