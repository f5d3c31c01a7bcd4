"""The IR as text that reads like Python; `tc.ir.parser` reads the same text back.

An expression or statement that is printed alone ends with the declarations that its names need.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tc.errors import InternalError
from tc.ir.expr import (
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
    Read,
    Reduce,
    Select,
    Sym,
    Unary,
    Var,
)
from tc.ir.loop import (
    Alloc,
    Assert,
    Buffer,
    For,
    Func,
    If,
    LoopKind,
    Prefetch,
    Seq,
    Stmt,
    Store,
    Update,
)
from tc.ir.tensor import Compute, Placeholder, Scan, Scatter, Tensor
from tc.ir.tensor_walk import topological
from tc.ir.text import text as node_text
from tc.ir.types import BOOL, I64, DType
from tc.ir.visit import own_exprs, sub_exprs, sub_stmts

# Binding strength as in Python, so that parentheses stand only where they are needed.
INFIX = {
    "or": ("|", 1), "xor": ("^", 2), "and": ("&", 3),
    "eq": ("==", 0), "ne": ("!=", 0), "lt": ("<", 0), "le": ("<=", 0),
    "shl": ("<<", 4), "shr": (">>", 4),
    "add": ("+", 5), "sub": ("-", 5),
    "mul": ("*", 6), "div": ("/", 6), "floordiv": ("//", 6), "mod": ("%", 6),
}  # fmt: skip
PREFIX = {"neg": "-", "not": "~"}
_PREFIX_STRENGTH = 7
LOOP_WORD = {
    LoopKind.SERIAL: "range",
    LoopKind.PARALLEL: "parallel",
    LoopKind.UNROLLED: "unroll",
    LoopKind.VECTOR: "vector",
    LoopKind.DOT: "dot",
}


def typed(dtype: DType, lanes: int) -> str:
    return str(dtype) if lanes == 1 else f"{dtype}x{lanes}"


def const_text(c: Const) -> str:
    if c.type is BOOL:
        return "true" if c.value else "false"
    if c.type is I64:
        return str(c.value)
    if c.type.is_float:
        value = float(c.value)
        text = repr(value) if math.isfinite(value) else str(value)
        return f"{text}:{c.type}"
    return f"{c.value}:{c.type}"


def expr_text(x: Expr, outer: int = -1) -> str:
    """`x` without declarations; `outer` is the binding strength of what surrounds it."""
    match x:
        case Const(value=value):
            text = const_text(x)
            negative = x.type is not BOOL and (value < 0 or text.startswith("-"))
            return f"({text})" if negative and outer >= 0 else text
        case Var(name, dtype, width):
            return name if dtype is I64 and width == 1 else f"{name}:{typed(dtype, width)}"
        case Sym(name, _, _):
            return name
        case Binary(op, a, b) if op in INFIX:
            word, strength = INFIX[op]
            # Comparisons do not chain, and every operator here groups to the left.
            left = expr_text(a, strength + (1 if strength == 0 else 0))
            text = f"{left} {word} {expr_text(b, strength + 1)}"
            return f"({text})" if strength < outer else text
        case Unary(op, a) if op in PREFIX:
            text = PREFIX[op] + expr_text(a, _PREFIX_STRENGTH + 1)
            return f"({text})" if outer > _PREFIX_STRENGTH else text
    return _call_text(x)


def _call_text(x: Expr) -> str:
    match x:
        case Binary(op, a, b):
            return f"{op}({expr_text(a)}, {expr_text(b)})"
        case Unary(op, a):
            return f"{op}({expr_text(a)})"
        case Fma(a, b, c):
            return f"fma({expr_text(a)}, {expr_text(b)}, {expr_text(c)})"
        case Dot(a, b, c):
            return f"dot({expr_text(a)}, {expr_text(b)}, {expr_text(c)})"
        case Select(c, a, b):
            return f"select({expr_text(c)}, {expr_text(a)}, {expr_text(b)})"
        case Cast(a, dtype):
            return f"cast({expr_text(a)}, {dtype})"
        case Bitcast(a, dtype):
            return f"bitcast({expr_text(a)}, {dtype})"
        case Let(var, value, body):
            return f"let({var_decl(var)} = {expr_text(value)}, {expr_text(body)})"
        case Ramp(base, stride, width):
            return f"ramp({expr_text(base)}, {expr_text(stride)}, {width})"
        case Broadcast(a, width):
            return f"broadcast({expr_text(a)}, {width})"
        case LaneReduce(op, a):
            return f"lane_{op}({expr_text(a)})"
        case Load(buffer, indices, mask):
            return access_text(buffer.name, indices, mask)
        case Read(tensor, indices):
            return access_text(tensor.name, indices, None)
        case Reduce(monoid, axes, extents, values, result):
            over = ", ".join(
                f"{expr_text(v)} < {expr_text(e, 1)}" for v, e in zip(axes, extents, strict=True)
            )
            lifted = ", ".join(expr_text(v) for v in values)
            tail = "" if result == monoid.left[0] else f"; {expr_text(result)}"
            return f"reduce<{monoid}>({over}; {lifted}{tail})"
    raise InternalError(f"printer: {type(x).__name__} is not a node of tc.ir.expr")


def var_decl(v: Var) -> str:
    return f"{v.name}:{typed(v.type, v.width)}"


def access_text(name: str, indices: tuple[Expr, ...], mask: Expr | None) -> str:
    inside = [expr_text(i) for i in indices]
    if mask is not None:
        inside.append(f"mask={expr_text(mask)}")
    return f"{name}[{', '.join(inside)}]"


def buffer_text(b: Buffer, out: bool = False) -> str:
    dims = ", ".join(expr_text(d) for d in b.shape)
    align = f" align {b.align}" if b.align != 1 else ""
    return f"{'out ' if out else ''}{b.dtype}[{dims}]{align}"


def sym_text(s: Sym) -> str:
    return f"{s.name}: sym[{s.lo}, {s.hi}]"


def stmt_lines(s: Stmt) -> Iterator[str]:
    """The lines of `s`, unindented and without declarations."""
    match s:
        case For(var, extent, kind, body):
            yield f"for {expr_text(var)} in {LOOP_WORD[kind]}({expr_text(extent)}):"
            yield from _indented(body)
        case Seq(body):
            if not body:
                yield "pass"
            for b in body:
                yield from stmt_lines(b)
        case If(cond, then, other):
            yield f"if {expr_text(cond)}:"
            yield from _indented(then)
            if other is not None:
                yield "else:"
                yield from _indented(other)
        case Alloc(buffer, body):
            yield f"with {buffer.name} = alloc({buffer_text(buffer)}, {buffer.scope.value}):"
            yield from _indented(body)
        case Store(buffer, indices, value, mask):
            yield f"{access_text(buffer.name, indices, mask)} = {expr_text(value)}"
        case Update(monoid, buffers, indices, values):
            left = ", ".join(access_text(b.name, indices, None) for b in buffers)
            right = ", ".join(expr_text(v) for v in values)
            yield f"{left} <{monoid}>= {right}"
        case Assert(cond, message):
            yield f'assert {expr_text(cond)}, "{_escaped(message)}"'
        case Prefetch(buffer, indices, near):
            how = "prefetch near" if near else "prefetch"
            yield f"{how} {access_text(buffer.name, indices, None)}"
        case _:
            raise InternalError(f"printer: {type(s).__name__} is not a node of tc.ir.loop")


def _escaped(message: str) -> str:
    return message.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def computation_lines(s: Stmt) -> Iterator[str]:
    """What loops that were not scheduled compute: their stores and sums, without the loops."""
    match s:
        case For(_, _, _, body) | Alloc(_, body):
            yield from computation_lines(body)
        case Seq(body):
            for b in body:
                yield from computation_lines(b)
        case If(cond, then, other):
            yield from (f"if {expr_text(cond)}: {line}" for line in computation_lines(then))
            if other is not None:
                yield from (f"else: {line}" for line in computation_lines(other))
        case Store() | Update():
            yield from stmt_lines(s)


def _indented(s: Stmt) -> Iterator[str]:
    return ("    " + line for line in stmt_lines(s))


@node_text.register(Func)
def print_func(f: Func) -> str:
    """The whole kernel, parameters with their types and symbols with their bounds."""
    params = [f"{p.name}: {buffer_text(p, p.name in f.outputs)}" for p in f.params]
    params += [sym_text(s) for s in f.symbols]
    head = f"def {f.name}({', '.join(params)}):"
    if len(head) > 100:
        head = f"def {f.name}(\n    " + ",\n    ".join(params) + ",\n):"
    return "\n".join([head, *_indented(f.body)])


def _declarations(xs: Iterator[Expr], known: set[str], extra: list[Buffer]) -> str:
    found: dict[str, str] = {}

    def note(x: Expr) -> None:
        match x:
            case Sym(name=name):
                found.setdefault(name, sym_text(x))
            case Load(buffer=b) if b.name not in known:
                note_buffer(b)
            case Read(tensor=t):
                dims = ", ".join(expr_text(d) for d in t.shape)
                found.setdefault(t.name, f"{t.name}: {t.dtype}[{dims}]")
                note_all(t.shape)

    def note_all(ys: tuple[Expr, ...]) -> None:
        for y in ys:
            for z in sub_exprs(y):
                note(z)

    def note_buffer(b: Buffer) -> None:
        scope = "" if b.scope.value == "param" else f" {b.scope.value}"
        found.setdefault(b.name, f"{b.name}: {buffer_text(b)}{scope}")
        note_all(b.shape)

    for x in xs:
        note(x)
    for b in extra:
        note_buffer(b)
    return ", ".join(found[n] for n in sorted(found))


@node_text.register(Expr)
def print_expr(x: Expr) -> str:
    """`x`, and ` where …` with the type of each buffer and the bounds of each symbol."""
    decls = _declarations(sub_exprs(x), set(), [])
    return expr_text(x) + (f" where {decls}" if decls else "")


@node_text.register(Stmt)
def print_stmt(s: Stmt) -> str:
    """`s`, and a last line `where …` as for expressions."""
    own = {b.buffer.name for b in sub_stmts(s) if isinstance(b, Alloc)}
    touched: list[Buffer] = []
    for inner in sub_stmts(s):
        match inner:
            case Store(buffer=b) | Prefetch(buffer=b) if b.name not in own:
                touched.append(b)
            case Update(buffers=bs):
                touched += [b for b in bs if b.name not in own]
    exprs = (y for inner in sub_stmts(s) for x in own_exprs(inner) for y in sub_exprs(x))
    decls = _declarations(exprs, own, touched)
    return "\n".join(stmt_lines(s)) + (f"\nwhere {decls}" if decls else "")


@node_text.register(Tensor)
def print_tensor(t: Tensor) -> str:
    """A tensor and everything that it is computed from, one line each, inputs first."""
    return "\n".join(_tensor_line(x) for x in topological((t,)))


def _tensor_line(t: Tensor) -> str:
    dims = ", ".join(expr_text(d) for d in t.shape)
    head = f"{t.name}: {t.dtype}[{dims}]"
    match t:
        case Placeholder():
            return head
        case Compute(axes=axes, body=body):
            told = f', "{_escaped(t.message)}"' if t.message else ""
            return f"{head} = ({', '.join(map(expr_text, axes))}) -> {expr_text(body)}{told}"
        case Scan(axes=axes, dim=dim, monoid=monoid, value=value):
            names = ", ".join(map(expr_text, axes))
            return f"{head} = scan<{monoid}, {dim}> ({names}) -> {expr_text(value)}"
        case Scatter(base=base, axes=axes, extents=extents, indices=indices, value=value):
            over = ", ".join(
                f"{expr_text(v)} < {expr_text(e, 1)}" for v, e in zip(axes, extents, strict=True)
            )
            fold = "" if t.monoid is None else f"<{t.monoid}>"
            mask = "" if t.mask is None else f" if {expr_text(t.mask)}"
            at = ", ".join(map(expr_text, indices))
            return f"{head} = {base.name} with ({over}) [{at}] {fold}= {expr_text(value)}{mask}"
    raise InternalError(f"printer: {type(t).__name__} is not a node of tc.ir.tensor")
