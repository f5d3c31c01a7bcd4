"""Machine code of an artifact: made from its kernels, and loaded into this process.

LLVM is imported only when code is made or loaded. This module must not know schedules, nor run
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tc.device.artifact import Artifact, Code, Entry
from tc.errors import InternalError
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.target import Target

if TYPE_CHECKING:
    from tc.codegen.abi import Call
    from tc.codegen.c.kernel import CKernel
    from tc.codegen.c.module import CModule
    from tc.codegen.c.shared import SharedModule
    from tc.codegen.cache import ObjectCache
    from tc.codegen.llvm.emit import KernelText
    from tc.codegen.llvm.jit import Compiler, Module

Function = Callable[[int], object]


@frozen
class Made:
    """What was compiled: the code for an artifact, and what there is to look at.

    `cache_hits` counts the objects that were found in the cache folder, `misses` the others;
    `kernels` has what was emitted by number of the kernel (as it was given, if nothing calls it).
    """

    code: tuple[Code, ...]
    modules: tuple[Module | CModule, ...]
    kernels: tuple[Func | KernelText | CKernel, ...]
    cache_hits: int
    misses: int


class Coder:
    """Makes the code of one program; LLVM can begin with a kernel before all kernels are there.

    Leaving it ends what was begun.
    """

    def __init__(
        self,
        target: Target,
        cache_dir: Path | None,
        codegen: str = "llvm",
        cc: str | None = None,
    ) -> None:
        """As for `make_code`."""
        from tc.codegen.cache import ObjectCache

        self._target = target
        self._cc = cc
        self._cache = None if cache_dir is None else ObjectCache(cache_dir)
        self._codegen = codegen
        self._llvm: Compiler | None = None
        if codegen == "llvm":
            from tc.codegen.llvm.jit import Compiler

            self._llvm = Compiler(target, self._cache)

    def __enter__(self) -> Coder:
        return self

    def __exit__(self, *error: object) -> None:
        if self._llvm is not None:
            self._llvm.__exit__(*error)

    def begin(self, kernel: Func | KernelText) -> Func | KernelText:
        """What was emitted for a kernel, or the kernel itself where that has to wait."""
        return kernel if self._llvm is None else self._llvm.begin(kernel)

    def code(self, kernels: Sequence[Func | KernelText], found: Sequence[Entry]) -> Made:
        """Compile the entries of a program; see `make_code`."""
        from tc.codegen.abi import Call

        emitted: list[Func | KernelText | CKernel] = list(kernels)
        if self._codegen == "none":
            return Made((), (), tuple(emitted), 0, 0)
        modules: list[Module | CModule] = []
        for entry in found:
            used = sorted({call.kernel for call in entry.calls})
            place = {kernel: number for number, kernel in enumerate(used)}
            calls = [Call(place[c.kernel], c.buffers, c.symbols, c.loop) for c in entry.calls]
            module: Module | CModule
            if self._llvm is None:
                module = _through_c(
                    [kernels[k] for k in used], calls, self._target, self._cache, self._cc
                )
            else:
                module = self._llvm.module([kernels[k] for k in used], calls)
            modules.append(module)
            texts: Sequence[KernelText | CKernel] = module.kernels
            for number, text in zip(used, texts, strict=True):
                emitted[number] = text
        code = tuple(
            Code(entry.name, module.object_code, module.messages)
            for entry, module in zip(found, modules, strict=True)
        )
        hits, misses = (0, 0) if self._cache is None else (self._cache.hits, self._cache.misses)
        return Made(code, tuple(modules), tuple(emitted), hits, misses)


def make_code(
    kernels: Sequence[Func | KernelText],
    found: Sequence[Entry],
    target: Target,
    cache_dir: Path | None,
    codegen: str = "llvm",
    cc: str | None = None,
) -> Made:
    """Compile the entries of a program.

    Args:
        kernels: flat vector IR of every kernel, or what LLVM's emitter made of it, by number.
        found: what `artifact.entries` gave.
        cache_dir: folder of compiled objects; None: compile everything.
        codegen: "llvm", or "c": by the C compiler of this machine, from flat vector IR alone; or
            "none": make no code.
        cc: the words that call that compiler; None: the first one on the PATH.

    Raises:
        UnsupportedError: a target that LLVM does not know.
        CompileError: no C compiler.
    """
    with Coder(target, cache_dir, codegen, cc) as coder:
        return coder.code(kernels, found)


def _through_c(
    kernels: Sequence[Func | KernelText],
    calls: Sequence[Call],
    target: Target,
    cache: ObjectCache | None,
    cc: str | None,
) -> Module | CModule:
    from tc.codegen.c.module import compile_module

    funcs = [k for k in kernels if isinstance(k, Func)]
    if len(funcs) != len(kernels):
        raise InternalError("make_code: kernels that LLVM text was made of cannot become C")
    return compile_module(funcs, calls, target, cache, cc)


def load_functions(artifact: Artifact) -> dict[str, Function]:
    """The functions of an artifact's code by entry, callable as long as they exist.

    Raises:
        CompileError: damaged code, or code that this machine cannot run.
    """
    target = Target.parse(artifact.target)
    return {code.name: _function(_loaded(code, target)) for code in artifact.code}


def _loaded(code: Code, target: Target) -> Module | SharedModule:
    from tc.codegen.c.shared import MAGIC, load_shared

    if code.data.startswith(MAGIC):
        return load_shared(code.data, target, code.messages)
    from tc.codegen.llvm.jit import load_object

    return load_object(code.data, target, code.messages)


def _function(module: Module | SharedModule) -> Function:
    entry = module.entry
    # The entry is valid while its module lives, so it holds it: a wrapper would cost every call.
    entry.module = module  # type: ignore[attr-defined]  # a foreign function takes attributes
    entry.address = module.address  # type: ignore[attr-defined]
    return entry
