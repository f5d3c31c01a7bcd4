"""What every scheduled kernel must be, whatever step made it: looked at after each step.

The dependences are the business of the primitives; here is only how loops and buffers may be
nested, so that the passes and the code generators can take what comes out.
"""

from __future__ import annotations

from tc.errors import ScheduleError
from tc.ir.expr import Const
from tc.ir.loop import Alloc, Buffer, For, Func, If, LoopKind, Scope, Seq, Stmt
from tc.ir.visit import free_vars, sub_stmts, uses
from tc.schedule.rewrite import header, refuse


def check_structure(step: str, func: Func) -> None:
    """ScheduleError if the loops of `func` cannot be nested as they are."""
    # Buffers are written with brackets, so that a loop may be called like one.
    taken = {s.name for s in func.symbols} | {f"{p.name}[]" for p in func.params}
    _walk(step, func.body, taken, None, True)


def _walk(step: str, s: Stmt, taken: set[str], around: For | None, outermost: bool) -> None:
    match s:
        case For(body=body):
            _loop(step, s, taken, around, outermost)
            alone = s.kind is LoopKind.PARALLEL and isinstance(body, For)
            _walk(step, body, taken | {s.var.name}, s, alone)
        case Seq(body):
            for b in body:
                _walk(step, b, taken, around, False)
        case If(_, then, other):
            _walk(step, then, taken, around, False)
            if other is not None:
                _walk(step, other, taken, around, False)
        case Alloc(buffer, body):
            _alloc(step, buffer, taken)
            _walk(step, body, taken | {f"{buffer.name}[]"}, around, outermost)


def _loop(step: str, s: For, taken: set[str], around: For | None, outermost: bool) -> None:
    if s.var.name in taken:
        raise ScheduleError(
            f"{step}: {header(s)}: the name {s.var.name!r} is taken by what is around it; "
            "give another name, or leave the loop that has it alone"
        )
    if s.kind is LoopKind.PARALLEL and not outermost:
        place = "one of several statements" if around is None else f"inside {header(around)}"
        raise refuse(
            step, header(s), f"it is {place}",
            "only an outermost loop, and the whole body of one, can be divided between threads; "
            "reorder or merge first",
        )  # fmt: skip
    if s.kind is LoopKind.PARALLEL and around is not None and free_vars(s.extent):
        raise refuse(
            step, header(s), f"its length changes with {around.var.name}",
            "split with tail=guard or tail=equal, so that parallel loops are a rectangle",
        )  # fmt: skip
    if s.kind is LoopKind.VECTOR:
        if not isinstance(s.extent, Const):
            raise refuse(
                step,
                header(s),
                "lanes need a constant number",
                "vectorize it with a number of lanes",
            )
        for x in sub_stmts(s.body):
            _inside_lanes(step, s, x)


def _inside_lanes(step: str, lanes: For, x: Stmt) -> None:
    if not isinstance(x, For):
        return
    if x.kind in (LoopKind.VECTOR, LoopKind.PARALLEL):
        raise refuse(
            step, header(x), f"it is inside the lanes of {header(lanes)}",
            "vectorize one loop of a nest only",
        )  # fmt: skip
    if uses(x.extent, lanes.var):
        raise refuse(
            step, header(x), f"its extent differs between the lanes of {header(lanes)}",
            "vectorize another loop",
        )  # fmt: skip


def _alloc(step: str, b: Buffer, taken: set[str]) -> None:
    if f"{b.name}[]" in taken:
        raise ScheduleError(f"{step}: buffer {b.name}: the name is taken by what is around it")
    if b.scope is Scope.REGISTER and not all(isinstance(d, Const) for d in b.shape):
        raise refuse(
            step,
            b.name,
            "registers need a constant shape",
            "use the scope scratch, or bake the dims",
        )
