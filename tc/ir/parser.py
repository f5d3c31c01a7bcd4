"""Text to IR: reads what tc.ir.printer prints, so that `parse(str(x)) == x`.

Statements are read line by line, expressions by tc.ir.parse_expr. Names and syntax are checked;
whether types agree is the business of tc.ir.verify.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tc.ir.expr import Expr, Sym, Var
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    Prefetch,
    Scope,
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.parse_expr import Names, Tokens, dtype_of, parse_error, parse_monoid
from tc.ir.printer import LOOP_WORD

_KINDS: Final = {word: kind for kind, word in LOOP_WORD.items()}
_UPDATE: Final = re.compile(r"(.+?) (<\w+\[[^\]]*\]>)= (.+)")
_STATEMENT: Final = re.compile(r"(for|if|with|assert)\b|pass$")
_INDENT: Final = "    "
_ESCAPES: Final = {"n": "\n"}


def parse(text: str) -> Expr | Stmt | Func:
    """The node that prints as `text`: a kernel, a statement or an expression.

    Raises:
        CompileError: the text is not what the printer prints; names the line and the token.
    """
    lines = text.strip("\n").split("\n")
    if lines[0].startswith("def "):
        return parse_func(text)
    if len(lines) > 1 or _STATEMENT.match(lines[0]) or _assigns(lines[0]):
        return parse_stmt(text)
    return parse_expr(text)


def parse_expr(text: str) -> Expr:
    """The expression that prints as `text`, with its `where` declarations."""
    body, _, declared = text.strip().partition(" where ")
    return Tokens(body, _declared(declared)).whole()


def parse_stmt(text: str) -> Stmt:
    """The statement that prints as `text`, with its last line `where …`."""
    lines = text.strip("\n").split("\n")
    names = Names()
    if lines[-1].startswith("where "):
        names = _declared(lines.pop().removeprefix("where "))
    return _Lines(lines, names).block("")


def parse_func(text: str) -> Func:
    """The kernel that prints as `text`."""
    head, _, body = text.strip("\n").partition("):\n")
    if not body or not head.startswith("def "):
        raise parse_error(text, "a kernel is `def name(parameters):` and an indented body")
    name, _, given = head.removeprefix("def ").partition("(")
    given = " ".join(given.split()).removesuffix(",")
    names = _declared(given)
    return Func(
        name,
        tuple(names.buffers.values()),
        tuple(names.symbols.values()),
        tuple(names.outputs),
        _Lines(body.split("\n"), names).block(_INDENT),
    )


def _assigns(line: str) -> bool:
    """Whether a line has an `=` outside of all brackets."""
    depth = 0
    for at, char in enumerate(line):
        depth += (char in "([") - (char in ")]")
        if char == "=" and depth == 0 and line[at - 1 : at + 2] in (" = ", ">= "):
            return True
    return False


def _declared(text: str) -> Names:
    """`name: [out ]type[dims][ align n][ scope]` and `name: sym[lo, hi]`, with commas between."""
    names = Names()
    parts = [p for p in re.split(r", (?=[A-Za-z_]\w*: )", text.strip()) if p]
    for part in parts:
        match = re.fullmatch(r"(\w+): sym\[(-?\d+), (-?\d+)\]", part)
        if match:
            names.symbols[match[1]] = Sym(match[1], int(match[2]), int(match[3]))
    for part in parts:
        name, _, kind = part.partition(": ")
        if name not in names.symbols:
            if kind.startswith("out "):
                names.outputs.append(name)
            names.buffers[name] = _buffer(name, kind.removeprefix("out "), names)
    return names


def _buffer(name: str, text: str, names: Names, scope: str = "param") -> Buffer:
    match = re.fullmatch(r"(\w+)\[(.*)\](?: align (\d+))?(?: (\w+))?", text)
    if match is None:
        raise parse_error(f"{name}: {text}", "a buffer is `name: type[dims]`")
    tokens = Tokens(match[2] + "]", names)
    shape = tokens.listed("]")
    tokens.end()
    where = match[4] or scope
    if where not in {s.value for s in Scope}:
        raise parse_error(text, f"no such scope: {where}")
    return Buffer(name, shape, dtype_of(match[1]), Scope(where), int(match[3] or 1))


class _Lines:
    """Statements, from indented lines."""

    def __init__(self, lines: Sequence[str], names: Names) -> None:
        self.lines = [line for line in lines if line.strip()]
        self.names = names
        self.at = 0

    def block(self, indent: str) -> Stmt:
        """All lines at this indentation; one statement stays itself."""
        found: list[Stmt] = []
        empty = False
        while self.at < len(self.lines) and self.lines[self.at].startswith(indent):
            line = self.lines[self.at][len(indent) :]
            if line.startswith(" "):
                raise parse_error(line, "unexpected indentation")
            self.at += 1
            if line == "pass":
                empty = True
            else:
                found.append(self.statement(line, indent))
        if not found and not empty:
            raise parse_error(self.lines[self.at - 1] if self.at else "", "expected a block")
        if indent == "" and self.at < len(self.lines):
            raise parse_error(self.lines[self.at], "unexpected indentation")
        return found[0] if len(found) == 1 else Seq(tuple(found))

    def tokens(self, text: str) -> Tokens:
        return Tokens(text, self.names)

    def statement(self, line: str, indent: str) -> Stmt:
        inner = indent + _INDENT
        if match := re.fullmatch(r"for (.+?) in (\w+)\((.*)\):", line):
            var, kind, extent = match.groups()
            if kind not in _KINDS:
                raise parse_error(line, f"no such kind of loop; known are {', '.join(_KINDS)}")
            loop_var = self.tokens(var).whole()
            if not isinstance(loop_var, Var):
                raise parse_error(line, f"{var} is no variable")
            return For(loop_var, self.tokens(extent).whole(), _KINDS[kind], self.block(inner))
        if match := re.fullmatch(r"if (.*):", line):
            cond, then = self.tokens(match[1]).whole(), self.block(inner)
            if self.at < len(self.lines) and self.lines[self.at] == f"{indent}else:":
                self.at += 1
                return If(cond, then, self.block(inner))
            return If(cond, then)
        if match := re.fullmatch(r"with (\w+) = alloc\((.*), (\w+)\):", line):
            return self.alloc(match[1], match[2], match[3], inner)
        if line.startswith("assert "):
            return self.check(line)
        if line.startswith("prefetch "):
            return self.prefetch(line.removeprefix("prefetch "))
        if match := _UPDATE.fullmatch(line):
            return self.update(*match.groups())
        return self.store(line)

    def alloc(self, name: str, text: str, scope: str, inner: str) -> Stmt:
        buffer = _buffer(name, text, self.names, scope)
        before = self.names
        buffers = {**before.buffers, name: buffer}
        self.names = Names(buffers, before.symbols, before.outputs)
        body = self.block(inner)
        self.names = before
        return Alloc(buffer, body)

    def check(self, line: str) -> Assert:
        tokens = self.tokens(line.removeprefix("assert "))
        cond = tokens.expr()
        tokens.need(",")
        kind, quoted = tokens.take()
        tokens.end()
        if kind != "text":
            raise parse_error(line, "an assert ends with its message in quotes")
        message = re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), quoted[1:-1])
        return Assert(cond, message)

    def prefetch(self, place: str) -> Prefetch:
        near = place.startswith("near ")
        tokens = self.tokens(place.removeprefix("near "))
        name = tokens.take()[1]
        tokens.need("[")
        buffer, indices, _ = tokens.access(name)
        tokens.end()
        return Prefetch(buffer, indices, near)

    def update(self, left: str, fold: str, right: str) -> Update:
        buffers: list[Buffer] = []
        indices: tuple[Expr, ...] = ()
        places = self.tokens(left)
        while True:
            name = places.take()[1]
            places.need("[")
            buffer, indices, _ = places.access(name)
            buffers.append(buffer)
            if not places.skip(","):
                break
        places.end()
        given = self.tokens(right + ")")
        values = given.listed(")")
        given.end()
        return Update(parse_monoid(fold[1:-1]), tuple(buffers), indices, values)

    def store(self, line: str) -> Store:
        tokens = self.tokens(line)
        kind, name = tokens.take()
        if kind != "name" or not tokens.skip("["):
            raise parse_error(line, "no such statement")
        buffer, indices, mask = tokens.access(name)
        tokens.need("=")
        return Store(buffer, indices, tokens.whole(), mask)
