"""A loop that tells whether words of memory still hold what they held.

A program's caller may change things that the program depends on at any time, and asking Python
about each at every call costs more than a small model's inference: most of it is waiting for
memory, one word after the other. This loop waits for many words at once. This module must not know
what the words mean.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import llvmlite.binding as llvm

from tc.target import Target

_IR = """
define i64 @tc_first_changed(ptr %words, i64 %n) {
entry:
  %none = icmp eq i64 %n, 0
  br i1 %none, label %same, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %more ]
  %at = getelementptr { ptr, i64 }, ptr %words, i64 %i
  %place = load ptr, ptr %at
  %wanted = getelementptr i8, ptr %at, i64 8
  %old = load i64, ptr %wanted
  %new = load i64, ptr %place, align 4
  %equal = icmp eq i64 %old, %new
  br i1 %equal, label %more, label %changed
more:
  %next = add i64 %i, 1
  %end = icmp eq i64 %next, %n
  br i1 %end, label %same, label %loop
changed:
  ret i64 %i
same:
  ret i64 %n
}
"""


def first_changed(target: Target) -> Callable[[int, int], int]:
    """A compiled function (address, n) -> number of the first pair that does not hold, or n.

    At the address lie n pairs (address of eight readable bytes, what they held). A pair's bytes
    are read only if all pairs before it hold, so one pair may watch the pointer through which
    another was found.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(_IR)
    module.triple = target.llvm_triple
    machine = llvm.Target.from_triple(target.llvm_triple).create_target_machine(opt=2, jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)  # takes the machine over
    engine.finalize_object()
    address = engine.get_function_address("tc_first_changed")
    function = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(address)
    function.engine = engine  # type: ignore[attr-defined]  # the code lives as long as it
    return function


def pairs(words: Sequence[tuple[int, int]]) -> ctypes.Array[ctypes.c_uint64]:
    """The memory that `first_changed` reads: pairs (address, what its eight bytes hold)."""
    flat = [number for pair in words for number in pair]
    return (ctypes.c_uint64 * len(flat))(*flat)
