"""Which questions about sizes a model's Python has asked while it was traced.

A trace goes one way at `if x.shape[0] == x.shape[1]`, so its graph holds for that answer alone; and
so it is with `range(x.shape[0] // 2)`, which asks for a number: a graph holds while it is that. Who
has asked tells what hangs on the answer. PyTorch's own operators ask for errors that eager would
raise, for layouts and for broadcasting, and what they do is in the graph. The shared parts of
transformers (masks, attention, caches) ask which of several equal ways is the quickest. All other
code, layers of torch.nn and models of transformers among it, goes on to another result. This module
must not trace.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Final

import sympy
import torch
from torch.fx.experimental.sym_node import SymNode
from torch.utils._sympy.printers import PythonPrinter

from tc.errors import UnsupportedError, describe
from tc.frontend.signature import Branch
from tc.frontend.signature_branch import holds

_ONE_AT_A_TIME: Final = threading.RLock()
# Packages whose questions decide no result, and those parts of them whose do.
_OTHERS: Final = ("torch", "tc", "transformers")
_MODELS: Final = ("torch.nn", "transformers.models")
_LIBRARY: Final = "transformers"


class Branches:
    """The questions of the last trace of one capture."""

    def __init__(self) -> None:
        self._dims: dict[str, tuple[int, int]] = {}
        self._asked: list[tuple[Any, bool]] = []  # what held, whether a library's model asked

    def begin(self, tensors: Sequence[torch.Tensor]) -> None:
        """Forget what was asked before: a trace starts, of these inputs."""
        self._asked.clear()
        self._dims.clear()
        for number, tensor in enumerate(tensors):
            sizes: tuple[Any, ...] = tuple(tensor.shape)
            for axis, size in enumerate(sizes):
                if isinstance(size, torch.SymInt):
                    self._dims.setdefault(str(size.node.expr), (number, axis))

    def add(self, expression: Any, answer: bool, frame: FrameType) -> None:
        """`frame` has asked whether `expression`, and got this answer."""
        asker = frame.f_globals.get("__name__", "")
        if self._known(expression) and _decides(asker):
            held = expression if answer else ~expression
            self._asked.append((held, _of(asker, (_LIBRARY,))))

    def settle(self, expression: Any, number: float) -> None:
        """The graph holds while `expression` is this number, whoever wanted one."""
        if self._known(expression):
            self._asked.append((sympy.Eq(expression, number), False))

    def _known(self, expression: Any) -> bool:
        """Whether it is made of sizes of the inputs, and not of numbers alone."""
        symbols = getattr(expression, "free_symbols", ())
        return bool(symbols) and {str(symbol) for symbol in symbols} <= self._dims.keys()

    def found(self, names: Sequence[str], labelled: bool) -> tuple[Branch, ...]:
        """What must hold of the sizes of a call for the last trace to be for it.

        Args:
            names: of the inputs.
            labelled: what the dims mean is known: a size of one then is like others to the models
                of a library, which serve prompts and single steps alike.

        Raises:
            UnsupportedError: a question that is no condition on sizes alone.
        """
        found: dict[str, Branch] = {}
        for held, library in self._asked:
            if not (library and labelled and _beyond_one(held)):
                text = PythonPrinter().doprint(held)
                if not _told(held):
                    raise UnsupportedError(
                        describe(
                            f"branch on {text}",
                            where="model's forward",
                            why="no comparison of sizes that a program can be chosen by",
                            way_out="ask for sums, products, quotients and roundings of sizes",
                        )
                    )
                symbols = sorted(str(symbol) for symbol in held.free_symbols)
                dims = tuple((s, names[self._dims[s][0]], self._dims[s][1]) for s in symbols)
                found[text] = Branch(text, dims)
        return tuple(found.values())

    def untold(self) -> set[str]:
        """The symbols of questions that a signature cannot hold: they must be numbers."""
        return {
            str(symbol)
            for held, _ in self._asked
            if not _told(held)
            for symbol in held.free_symbols
        }


def _decides(asker: str) -> bool:
    return _of(asker, _MODELS) or not _of(asker, _OTHERS)


def _of(module: str, packages: Sequence[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def _beyond_one(held: Any) -> bool:
    """Whether it holds for every size but one and none."""
    symbols = held.free_symbols  # positive, as every size of a trace
    return len(symbols) == 1 and all(held.subs(s, s + 1) == True for s in symbols)  # noqa: E712


def _told(held: Any) -> bool:
    try:
        holds(PythonPrinter().doprint(held), {str(symbol): 2 for symbol in held.free_symbols})
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def recorded(branches: Branches) -> Iterator[None]:
    """Tell `branches` what this thread's Python asks about sizes."""
    kind: Any = torch.SymBool
    with _ONE_AT_A_TIME:
        thread, answer = threading.get_ident(), kind.__bool__
        of_a_size = torch.SymInt.__bool__.__code__

        def asked(question: torch.SymBool) -> bool:
            expression = question.node.expr  # an answer makes equal sizes one
            found: bool = answer(question)
            frame: FrameType | None = sys._getframe(1)
            if frame is not None and frame.f_code is of_a_size:
                frame = frame.f_back
            if threading.get_ident() == thread and frame is not None:
                branches.add(expression, found, frame)
            return found

        kind.__bool__ = asked
        try:
            with _numbers_told(branches, thread):
                yield
        finally:
            kind.__bool__ = answer


@contextlib.contextmanager
def _numbers_told(branches: Branches, thread: int) -> Iterator[None]:
    """Tell `branches` what is made a number of, as the question whether it is this number.

    A size itself is that number in the graph from then on, and in the signature.
    """
    kind: Any = SymNode
    usual = {name: getattr(kind, name) for name in ("guard_int", "guard_float")}

    def told(number: Any) -> Any:
        def made(node: Any, file: str, line: int) -> Any:
            found = number(node, file, line)
            if threading.get_ident() == thread:
                branches.settle(node.expr, found)
            return found

        return made

    for name, number in usual.items():
        setattr(kind, name, told(number))
    try:
        yield
    finally:
        for name, number in usual.items():
            setattr(kind, name, number)
