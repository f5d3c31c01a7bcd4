"""What a model asserts of its data while it is traced.

A trace cannot tell whether `assert lengths.max().item() <= size` holds, nor whether what follows
`if (x < 0).any():` is run, but where that does nothing but raise an error, the model goes one way
alone: torch.export gives up there, or notes for `torch._check` a claim in its own symbols. Here the
trace goes on as if all were well, and the claim is put into the graph as an assertion on a tensor
made of it, with the model's own line as its message; `capture_conditions` makes it one on the data.
This module must not look at graphs.
"""

from __future__ import annotations

import contextlib
import dis
import linecache
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch.fx.experimental.sym_node import SymNode
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from tc.frontend.capture_experts import answer_for_some

_REFUSED: Final = "the model's check fails: "
_CAPTURE: Final = "tc.frontend.capture"  # which calls the model
_LONGEST: Final = 200  # characters of a line
_ONE_AT_A_TIME: Final = threading.RLock()
# Modules with the functions between a model's line and the claim that it makes.
_BETWEEN: Final = (
    "torch",
    "torch.fx.experimental.symbolic_shapes",
    "torch.fx.experimental.sym_node",
    "transformers.utils.import_utils",
)


@contextlib.contextmanager
def asserting() -> Iterator[None]:
    """Let this thread's traces hold what the model asserts of its data."""
    kind: Any = SymNode
    with _ONE_AT_A_TIME:
        thread, guard, expect = threading.get_ident(), kind.guard_bool, kind.expect_true
        telling = False

        def tell(node: Any, line: str) -> None:
            nonlocal telling
            telling = True
            try:
                claim = torch.sym_ite(torch.SymBool(node), 1, 0)  # type: ignore[no-untyped-call]
                torch._assert_async(torch.scalar_tensor(claim, dtype=torch.long), _REFUSED + line)
            finally:
                telling = False

        def guarded(node: Any, file: str, line: int) -> Any:
            if threading.get_ident() == thread and _of_data(node):
                found = _asserted(sys._getframe(1))
                if found is not None:
                    wanted, told = found
                    claim = node if wanted else node.sym_not()
                    tell(claim, told)
                    expect(claim, file, line)
                    return wanted
                asker = _asker(sys._getframe(1))
                answer = None if asker is None else answer_for_some(node.expr, asker.f_code)
                if answer is not None and asker is not None and _goes_on(asker, not answer):
                    return answer
            return guard(node, file, line)

        def expected(node: Any, file: str, line: int) -> Any:
            if threading.get_ident() == thread and not telling and _of_data(node):
                frame = _checking(sys._getframe(1))
                if frame is not None:
                    tell(node, _text(frame.f_code, *_lines(frame)))
            return expect(node, file, line)

        kind.guard_bool, kind.expect_true = guarded, expected
        try:
            yield
        finally:
            kind.guard_bool, kind.expect_true = guard, expect


def _of_data(node: Any) -> bool:
    return bool(free_unbacked_symbols(node.expr))


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _traces(frame: FrameType) -> bool:
    """Whether the frame belongs to what traces, torch's or ours."""
    return _module(frame).partition(".")[0] in ("torch", "tc")


def _asker(frame: FrameType | None) -> FrameType | None:
    """The first frame that belongs to nothing that traces."""
    while frame is not None and _traces(frame):
        frame = frame.f_back
    return frame


def _checking(frame: FrameType | None) -> FrameType | None:
    """The frame of a model's code that calls `torch._check` or one like it; torch's own do too."""
    while frame is not None and _module(frame) in _BETWEEN:
        frame = frame.f_back
    return None if frame is None or _traces(frame) else frame


def _lines(frame: FrameType) -> tuple[int, int]:
    """The first and the last line of what the frame is at."""
    first, last, *_ = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    return first or frame.f_lineno, last or frame.f_lineno


def _text(code: CodeType, first: int, last: int) -> str:
    lines = [linecache.getline(code.co_filename, number) for number in range(first, last + 1)]
    text = " ".join(" ".join(lines).split())
    return text[:_LONGEST] or f"{code.co_qualname}, line {first}"


# --- what raises an error


def _asserted(frame: FrameType | None) -> tuple[bool, str] | None:
    """The answer without which an error is raised where it is asked for, and the line that raises.

    None where both answers lead on, or something may catch the error.
    """
    found = None
    while frame is not None:
        found = found or _wanted(frame)
        if not _traces(frame):
            break
        frame = frame.f_back
    if found is None or frame is None:
        return None
    outside: FrameType | None = frame
    while outside is not None and _module(outside) != _CAPTURE:
        if not _traces(outside) and _catches(outside):
            return None
        outside = outside.f_back
    wanted, code, lines = found
    if code is not frame.f_code:  # a function of torch's is told by who calls it
        lines = _lines(frame)
    return wanted, _text(frame.f_code, *lines)


def _sides(frame: FrameType) -> tuple[list[dis.Instruction], dict[bool, int]]:
    """The instructions of a frame that asks, and where it goes on with each answer, if it jumps."""
    instructions = list(dis.get_instructions(frame.f_code))
    place = next(n for n, each in enumerate(instructions) if each.offset >= frame.f_lasti)
    if instructions[place].opname == "TO_BOOL":
        place += 1
    jump = instructions[place]
    if not jump.opname.endswith(("IF_TRUE", "IF_FALSE")):
        return instructions, {}
    jumps = jump.opname.endswith("IF_TRUE")
    target = next(n for n, each in enumerate(instructions) if each.offset == jump.argval)
    return instructions, {not jumps: place + 1, jumps: target}


def _goes_on(frame: FrameType, answer: bool) -> bool:
    """Whether a loop goes on with its next turn where the answer is this one."""
    instructions, sides = _sides(frame)
    name = instructions[sides[answer]].opname if sides else ""
    return name == "FOR_ITER" or name.startswith("JUMP_BACKWARD")


def _wanted(frame: FrameType) -> tuple[bool, CodeType, tuple[int, int]] | None:
    """The answer with which the jump that asks does not lead to an error; the lines of that."""
    instructions, sides = _sides(frame)
    for answer, start in sides.items():
        if (lines := _raises(instructions[start:])) is not None:
            return not answer, frame.f_code, lines
    return None


def _raises(instructions: Sequence[dis.Instruction]) -> tuple[int, int] | None:
    """The lines of code that goes straight to an error and changes nothing; None for others."""
    lines: list[int] = []
    for each in instructions:
        place = each.positions
        lines += [n for n in (place.lineno, place.end_lineno) if n] if place is not None else []
        if each.opname == "RAISE_VARARGS":
            return min(lines, default=0), max(lines, default=0)
        stores = each.opname.startswith("STORE") and each.opname != "STORE_FAST"
        if stores or any(word in each.opname for word in ("JUMP", "RETURN", "YIELD", "FOR_ITER")):
            return None
    return None


def _catches(frame: FrameType) -> bool:
    """Whether the frame is within a `try`; what a `with` does at an error is to clean up."""
    code: Any = dis.Bytecode(frame.f_code)  # its types lack the exceptions
    place = frame.f_lasti
    following = {a.offset: b.opname for a, b in pairwise(code)}
    while (
        handler := next(
            (e.target for e in code.exception_entries if e.start <= place < e.end), None
        )
    ) is not None:
        if following[handler] not in ("WITH_EXCEPT_START", "POP_EXCEPT"):
            return True
        place = handler
    return False
