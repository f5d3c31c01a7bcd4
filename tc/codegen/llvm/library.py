"""Kernels under names of one's choice, without an entry: what C calls, or people look at.

This module must not load anything.
"""

from __future__ import annotations

from collections.abc import Mapping

from tc.codegen.llvm.emit import emit_kernel
from tc.codegen.llvm.hardware import hardware_of
from tc.codegen.llvm.machine import Machine
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.target import Target


@frozen
class Library:
    """Functions with the parameters of `tc.codegen.llvm.emit`; `texts` has the module of each.

    Each counts its own messages, from 1.
    """

    target: Target
    texts: tuple[str, ...]

    @property
    def llvm_ir(self) -> str:
        """The text given to LLVM."""
        return "\n".join(self.texts)

    def assembly(self, comments: bool = False) -> str:
        """What LLVM makes of it; its comments tell what is a spill."""
        return Machine(self.target).assembly(*self.texts, comments=comments)

    def object_code(self) -> bytes:
        """One object file of all functions."""
        return Machine(self.target).object_code(*self.texts)


def library(kernels: Mapping[str, Func], target: Target) -> Library:
    """The kernels, flat vector IR, as functions of these names.

    Raises:
        UnsupportedError: a target that this LLVM does not know, once it is to make code.
    """
    texts = []
    for name, func in kernels.items():
        text = emit_kernel(func, name, hardware_of(target))
        texts.append(text.module({m: n for n, m in enumerate(text.messages, 1)}))
    return Library(target, tuple(texts))
