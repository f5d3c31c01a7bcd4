"""LLVM for one target: text to object code or assembly, with a short list of passes.

The text comes unrolled, vectorised and with loop-invariant code in its place, so what is left for
LLVM is to put stack slots into registers, merge equal values, and choose instructions. Its loop
and SLP vectorisers and unrollers are not run. This module must not keep modules or load code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding as llvm

from tc.errors import InternalError, UnsupportedError, describe
from tc.target import Target

# Part of every cache key: change it when the passes below or the emitted runtime change.
PIPELINE = "sroa,new_gvn,instcombine,simplify_cfg;opt=2;no-machine-licm;entry opt=0;1"


def version() -> str:
    """The version of LLVM."""
    return ".".join(str(n) for n in llvm.llvm_version_info)


@functools.cache
def initialize() -> None:
    """Make LLVM's targets known; costs once."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()
    # LLVM would take the constants of an epilogue out of every loop, into the registers that hold
    # the accumulators, and spill those in the inner loop: a product with GELU behind it ran at a
    # third of its speed. What is worth hoisting, the emitter has placed already.
    llvm.set_option("tc", "-disable-machine-licm")


class Machine:
    """LLVM's view of a target; one thread at a time may use it."""

    def __init__(self, target: Target, opt: int = 2) -> None:
        """`opt`: with how much care instructions are chosen, 2 or, for the entry of a program, 0.

        An entry calls a hundred kernels in one long block: to give its hundreds of addresses their
        registers takes LLVM as long as many a kernel, and saves nanoseconds.
        """
        initialize()
        try:
            chosen = llvm.Target.from_triple(target.llvm_triple)
            self._tm = chosen.create_target_machine(
                cpu=target.llvm_cpu,
                features=target.llvm_features,
                opt=opt,
                reloc="pic",
                codemodel="small",
            )
        except RuntimeError as error:
            raise UnsupportedError(
                describe(f"target {target}", why=str(error).strip(), way_out="see LLVM's targets")
            ) from error
        self._passes = llvm.create_new_module_pass_manager()
        self._passes.add_sroa_pass()
        self._passes.add_new_gvn_pass()
        self._passes.add_instruction_combine_pass()
        self._passes.add_simplify_cfg_pass()
        layout = self._tm.target_data
        self._head = f'target datalayout = "{layout}"\ntarget triple = "{target.llvm_triple}"\n'

    def object_code(self, *texts: str) -> bytes:
        """The object file of modules given as text, joined to one."""
        return bytes(self._through(texts, self._tm.emit_object))

    def assembly(self, *texts: str, comments: bool = False) -> str:
        """The assembly of modules given as text; LLVM's comments tell what is a spill."""
        self._tm.set_asm_verbosity(comments)
        return str(self._through(texts, self._tm.emit_assembly))

    def _through(self, texts: Sequence[str], emit: Callable[[Any], Any]) -> Any:
        try:
            module, *others = (llvm.parse_assembly(self._head + text) for text in texts)
        except RuntimeError as error:
            raise InternalError(f"emitted text that LLVM rejects: {str(error).strip()}") from error
        for other in others:
            module.link_in(other)
        # Few calls: where another thread runs Python, each is a wait for the interpreter lock.
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        self._passes.run(module, llvm.create_pass_builder(self._tm, options))
        return emit(module)
