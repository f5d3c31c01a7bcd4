"""Text to expressions: the tokens and the recursive descent behind tc.ir.parser.

Names are looked up in the declarations around; whether types agree is not checked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tc.errors import CompileError, describe
from tc.ir.expr import (
    BINARY_OPS,
    UNARY_OPS,
    Binary,
    Bitcast,
    Broadcast,
    Cast,
    Const,
    Dot,
    Expr,
    Fma,
    LaneReduce,
    Let,
    Load,
    Ramp,
    Reduce,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.loop import Buffer
from tc.ir.monoid import FAMILIES, Monoid, monoid
from tc.ir.printer import INFIX, PREFIX
from tc.ir.types import BOOL, I64, DType

_TYPES: Final = "|".join(sorted((t.value for t in DType), key=len, reverse=True))
_TOKEN: Final = re.compile(
    r"\s*(?:"
    rf"(?P<number>(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan):(?:{_TYPES})\b|\d+)"
    rf"|(?P<typed>[A-Za-z_]\w*:(?:{_TYPES})(?:x\d+)?(?!\w))"
    r"|(?P<name>[A-Za-z_]\w*)"
    r'|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<sign>//|<<|>>|<=|>=|==|!=|[-+*/%&|^~<>=()\[\],:;])"
    r")"
)
_LEVELS: Final = {word: (op, strength) for op, (word, strength) in INFIX.items()}
_SIGNS: Final = {sign: op for op, sign in PREFIX.items()}


def parse_error(where: str, why: str) -> CompileError:
    """What to raise for text that is not the printer's."""
    return CompileError(
        describe("parse", where=f"at `{where.strip()}`", why=why, way_out="see tc.ir.printer")
    )


def parse_monoid(text: str) -> Monoid:
    """The monoid that prints as `text`, for example `argmax[f32, i64]`."""
    match = re.fullmatch(r"(\w+)\[(\w+)(?:, \w+)*\]", text)
    if match is None or match[1] not in {*FAMILIES, "any", "all"}:
        known = ", ".join(sorted({*FAMILIES, "any", "all"}))
        raise parse_error(text, f"no such monoid; known are {known}")
    found = monoid(match[1], dtype_of(match[2]))
    if str(found) != text:
        raise parse_error(text, f"the states of this monoid are {found}")
    return found


def dtype_of(text: str) -> DType:
    """The type called `text`."""
    try:
        return DType(text)
    except ValueError:
        raise parse_error(
            text, f"no such type; known are {', '.join(t.value for t in DType)}"
        ) from None


@dataclass
class Names:
    """What the names of a text stand for."""

    buffers: dict[str, Buffer] = field(default_factory=dict)
    symbols: dict[str, Sym] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


class Tokens:
    """Expressions, from one line of text."""

    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.names = names
        self.at = 0
        self.tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None:
                raise parse_error(text, f"what is `{text[place:].strip()}`?")
            assert match.lastgroup is not None
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    # --- single tokens

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise parse_error(self.text, "the text ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def skip(self, sign: str) -> bool:
        if self.peek() != sign:
            return False
        self.at += 1
        return True

    def need(self, sign: str) -> None:
        if not self.skip(sign):
            raise parse_error(self.text, f"expected `{sign}`, found `{self.peek()}`")

    def end(self) -> None:
        if self.at != len(self.tokens):
            raise parse_error(self.text, f"unexpected `{self.peek()}`")

    def integer(self) -> int:
        kind, word = self.take()
        if kind != "number" or not word.isdigit():
            raise parse_error(self.text, f"expected a number, found `{word}`")
        return int(word)

    # --- expressions

    def whole(self) -> Expr:
        found = self.expr()
        self.end()
        return found

    def listed(self, close: str) -> tuple[Expr, ...]:
        """Expressions with commas between, up to `close`."""
        found: list[Expr] = []
        while not self.skip(close):
            if found:
                self.need(",")
            found.append(self.expr())
        return tuple(found)

    def expr(self, strength: int = 0) -> Expr:
        """An expression whose operators bind at least as strongly as `strength`."""
        left = self.prefix()
        while self.peek() in _LEVELS:
            op, own = _LEVELS[self.peek()]
            if own < strength:
                break
            self.at += 1
            left = Binary(op, left, self.expr(own + 1))
        return left

    def prefix(self) -> Expr:
        kind, word = self.take()
        if word in _SIGNS and kind == "sign":
            if word == "-" and self.at < len(self.tokens) and self.tokens[self.at][0] == "number":
                return self.number(self.take()[1], -1)
            return Unary(_SIGNS[word], self.prefix())
        if word == "(":
            inner = self.expr()
            self.need(")")
            return inner
        match kind:
            case "number":
                return self.number(word, 1)
            case "typed":
                return self.variable(word)
            case "name":
                return self.named(word)
        raise parse_error(self.text, f"an expression cannot start with `{word}`")

    def number(self, word: str, sign: int) -> Const:
        digits, _, suffix = word.partition(":")
        dtype = dtype_of(suffix) if suffix else I64
        return Const(sign * (float(digits) if dtype.is_float else int(digits)), dtype)

    def variable(self, word: str) -> Var:
        name, _, kind = word.partition(":")
        base, _, width = kind.partition("x")
        return Var(name, dtype_of(base), int(width or 1))

    def named(self, word: str) -> Expr:
        if word in ("true", "false"):
            return Const(word == "true", BOOL)
        if self.skip("["):
            return self.load(word)
        if self.peek() == "<" and word == "reduce":
            return self.reduce()
        if self.skip("("):
            return self.call(word)
        return self.names.symbols.get(word, Var(word))

    def access(self, name: str) -> tuple[Buffer, tuple[Expr, ...], Expr | None]:
        """Buffer, indices and mask of `name[…]`, the bracket taken already."""
        buffer = self.names.buffers.get(name)
        if buffer is None:
            raise parse_error(self.text, f"buffer {name} is not declared")
        indices: list[Expr] = []
        mask = None
        while not self.skip("]"):
            if indices or mask is not None:
                self.need(",")
            ahead = [word for _, word in self.tokens[self.at : self.at + 2]]
            if ahead == ["mask", "="]:
                self.at += 2
                mask = self.expr()
            else:
                indices.append(self.expr())
        return buffer, tuple(indices), mask

    def load(self, name: str) -> Load:
        return Load(*self.access(name))

    def call(self, word: str) -> Expr:
        """`word(…)`, the bracket taken already."""
        match word:
            case "let":
                return self.let()
            case "cast" | "bitcast":
                x = self.expr()
                self.need(",")
                dtype = dtype_of(self.take()[1])
                self.need(")")
                return Cast(x, dtype) if word == "cast" else Bitcast(x, dtype)
            case "ramp" | "broadcast":
                base = self.expr()
                self.need(",")
                stride = None
                if word == "ramp":
                    stride = self.expr()
                    self.need(",")
                width = self.integer()
                self.need(")")
                return Broadcast(base, width) if stride is None else Ramp(base, stride, width)
        given = self.listed(")")
        match word, given:
            case "fma", (a, b, c):
                return Fma(a, b, c)
            case "dot", (a, b, c):
                return Dot(a, b, c)
            case "select", (a, b, c):
                return Select(a, b, c)
            case _, (a,) if word.startswith("lane_"):
                return LaneReduce(word.removeprefix("lane_"), a)
            case _, (a,) if word in UNARY_OPS:
                return Unary(word, a)
            case _, (a, b) if word in BINARY_OPS:
                return Binary(word, a, b)
        raise parse_error(self.text, f"no function {word} of {len(given)} operands")

    def let(self) -> Let:
        kind, word = self.take()
        if kind != "typed":
            raise parse_error(self.text, "let binds `name:type`")
        self.need("=")
        value = self.expr()
        self.need(",")
        body = self.expr()
        self.need(")")
        return Let(self.variable(word), value, body)

    def reduce(self) -> Reduce:
        """`reduce<monoid>(axis < extent, …; values; result)`, from the `<` on."""
        self.need("<")
        words = []
        while not self.skip(">"):
            words.append(self.take()[1])
        fold = parse_monoid("".join(words).replace(",", ", "))
        self.need("(")
        axes: list[Var] = []
        extents: list[Expr] = []
        while not self.skip(";"):
            if axes:
                self.need(",")
            axes.append(Var(self.take()[1]))
            self.need("<")
            extents.append(self.expr(1))
        values = [self.expr()]
        while self.skip(","):
            values.append(self.expr())
        result = self.expr() if self.skip(";") else fold.left[0]
        self.need(")")
        return Reduce(fold, tuple(axes), tuple(extents), tuple(values), result)
