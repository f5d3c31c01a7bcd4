"""Binding a call's shapes to a signature's symbols, and the errors of shapes that do not fit.

Works on shapes and names alone, so it serves saved programs too. This module must not import torch
or look at values, but for `check_ids`, which is given the least and the greatest of each input, and
`require_writable`, which asks an array whether it may be written to.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from tc.errors import TcError, describe
from tc.frontend.signature import Branch, IdCheck, Signature, Size, SizeCheck
from tc.frontend.signature_branch import holds

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class ShapeMismatchError(TcError):
    """Inputs whose sizes contradict each other or the program.

    `another`: a program of their own may serve them, since a size is 1 or a number in this one, or
    the model goes another way for them.
    """

    def __init__(self, message: str, another: bool) -> None:
        super().__init__(message)
        self.another = another


def evaluate(size: Size, symbols: Mapping[str, int]) -> int:
    """The value of a size; KeyError when it reads a symbol that is not bound."""
    if isinstance(size, int):
        return size
    return _evaluate(ast.parse(size, mode="eval").body, symbols)


def _evaluate(node: ast.expr, symbols: Mapping[str, int]) -> int:
    match node:
        case ast.Name(name):
            return symbols[name]
        case ast.Constant(int(value)):
            return value
        case ast.UnaryOp(ast.USub(), inner):
            return -_evaluate(inner, symbols)
        case ast.BinOp(left, op, right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_evaluate(left, symbols), _evaluate(right, symbols))
    raise TcError(f"size {ast.unparse(node)!r}: not a sum, product or quotient of symbols")


def bind(signature: Signature, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """The value of every symbol, for inputs of these shapes.

    Raises:
        ShapeMismatchError: a rank, a size that contradicts another input's or a baked one, or sizes
            for which the model's Python goes another way.
        TcError: a size beyond what the model has positions for, or out of a symbol's range.
    """
    symbols: dict[str, int] = {}
    whence: dict[str, str] = {}
    for spec, shape in zip(signature.inputs, shapes, strict=True):
        if len(shape) != len(spec.shape):
            raise ShapeMismatchError(
                describe(
                    f"input {spec.name}",
                    why=f"has rank {len(shape)}, the program takes rank {len(spec.shape)}",
                    way_out="pass it with the rank that the model was compiled with",
                ),
                another=False,
            )
        for axis, (size, given) in enumerate(zip(spec.shape, shape, strict=True)):
            if isinstance(size, str) and size.isidentifier() and size not in symbols:
                symbols[size] = given
                whence[size] = f"dim {axis} of {spec.name}"
    _check_branches(signature, shapes)
    _check_equal(signature, shapes, symbols, whence)
    _check_ranges(signature, symbols, whence)
    _check_maxima(signature, symbols)
    return symbols


def is_for(signature: Signature, sizes: Mapping[str, int]) -> bool:
    """Whether the program is for calls of these sizes, each under the label of its symbols.

    One with a condition on a size that is not among them is not.
    """
    values = {s.name: sizes[s.label] for s in signature.symbols if s.label in sizes}
    for symbol in signature.symbols:
        value = values.get(symbol.name, symbol.low)
        if value < symbol.low or (symbol.high is not None and value > symbol.high):
            return False
    shape_of = {spec.name: spec.shape for spec in signature.inputs}
    try:
        return all(
            holds(
                branch.condition,
                {
                    name: evaluate(shape_of[owner][axis], values)
                    for name, owner, axis in branch.dims
                },
            )
            for branch in signature.branches
        )
    except KeyError:
        return False


def _check_branches(signature: Signature, shapes: Sequence[Sequence[int]]) -> None:
    shape_of = {spec.name: shape for spec, shape in zip(signature.inputs, shapes, strict=True)}
    for branch in signature.branches:
        sizes = {name: int(shape_of[owner][axis]) for name, owner, axis in branch.dims}
        if not holds(branch.condition, sizes):
            raise ShapeMismatchError(
                describe(
                    "sizes of " + ", ".join(dict.fromkeys(owner for _, owner, _ in branch.dims)),
                    why=f"the program is for {_in_words(branch)}, which the model's Python asks, "
                    f"and here {', '.join(f'{n} is {size}' for n, size in _named(branch, sizes))}",
                    way_out="call the model itself, or compile it for such sizes too",
                ),
                another=True,
            )


def _in_words(branch: Branch) -> str:
    names = {name: f"{owner}.shape[{axis}]" for name, owner, axis in branch.dims}
    return re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), branch.condition)


def _named(branch: Branch, sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(f"{owner}.shape[{axis}]", sizes[name]) for name, owner, axis in branch.dims]


def _check_equal(
    signature: Signature,
    shapes: Sequence[Sequence[int]],
    symbols: Mapping[str, int],
    whence: Mapping[str, str],
) -> None:
    ones = {name for name, value in symbols.items() if value == 1}
    for spec, shape in zip(signature.inputs, shapes, strict=True):
        for axis, (size, given) in enumerate(zip(spec.shape, shape, strict=True)):
            expected = evaluate(size, symbols)
            if expected == given:
                continue
            reason = f", like {whence[size]}" if isinstance(size, str) and size in whence else ""
            baked = " (baked into the program)" if isinstance(size, int) else ""
            raise ShapeMismatchError(
                describe(
                    f"input {spec.name}",
                    where=f"dim {axis}",
                    why=f"is {given}, must be {expected}{reason}{baked}",
                    way_out="pass inputs of matching sizes",
                ),
                another=given == 1 or isinstance(size, int) or size in ones,
            )


def _check_ranges(
    signature: Signature, symbols: Mapping[str, int], whence: Mapping[str, str]
) -> None:
    for symbol in signature.symbols:
        value = symbols.get(symbol.name)
        if value is None:
            continue
        if value < symbol.low or (symbol.high is not None and value > symbol.high):
            high = "any" if symbol.high is None else symbol.high
            message = describe(
                f"input size {symbol.label}",
                where=whence[symbol.name],
                why=f"is {value}, the model allows {symbol.low} to {high}",
                way_out="cut or pad the input",
            )
            if value < symbol.low:
                # Less may mean something else to the model, or the bound be the trace's alone, as
                # that of a length less one which is one: a program of its own may serve it.
                raise ShapeMismatchError(message, another=True)
            raise TcError(message)


def _check_maxima(signature: Signature, symbols: Mapping[str, int]) -> None:
    for check in signature.checks:
        if isinstance(check, SizeCheck) and evaluate(check.size, symbols) > check.maximum:
            raise TcError(
                describe(
                    f"input {check.input}",
                    where=f"dim {check.dim}",
                    why=f"reaches position {evaluate(check.size, symbols)}, the model has "
                    f"{check.maximum}",
                    way_out="truncate the input (tokenizer(..., truncation=True, "
                    f"max_length={check.maximum}))",
                )
            )


def check_ids(check: IdCheck, least: int, greatest: int) -> None:
    """Refuse ids out of their table.

    Raises:
        TcError: naming the input, the id and the number of rows.
    """
    if least < 0 or greatest >= check.count:
        bad = least if least < 0 else greatest
        raise TcError(
            describe(
                f"input {check.input}",
                why=f"holds id {bad}, the table has ids 0 to {check.count - 1}",
                way_out="use the tokenizer that the model was trained with",
            )
        )


def require_writable(name: str, array: object) -> None:
    """Refuse an array of NumPy's that is read-only, for an input that a program writes to.

    Raises:
        TcError: naming the input.
    """
    if not getattr(getattr(array, "flags", None), "writeable", True):
        raise TcError(
            describe(
                f"input {name}",
                why="is read-only, and the model writes to it",
                way_out="pass a copy of it",
            )
        )
