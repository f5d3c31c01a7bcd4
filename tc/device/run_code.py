"""Machine code of an artifact: made from its kernels, and loaded into this process.

LLVM is imported only when code is made or loaded. This module must not know schedules, nor run
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tc.device.artifact import Artifact, Code, Entry
from tc.errors import InternalError
from tc.ir.loop import Func
from tc.target import Target

if TYPE_CHECKING:
    from tc.codegen.abi import Call
    from tc.codegen.c.kernel import CKernel
    from tc.codegen.c.module import CModule
    from tc.codegen.cache import ObjectCache
    from tc.codegen.llvm.emit import KernelText
    from tc.codegen.llvm.jit import Module

Function = Callable[[int], object]


@dataclass(frozen=True, slots=True)
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
        codegen: "llvm", or "c": by the C compiler of this machine, from flat vector IR alone.
        cc: the words that call that compiler; None: the first one on the PATH.

    Raises:
        UnsupportedError: a target that LLVM does not know.
        CompileError: no C compiler.
    """
    from tc.codegen.abi import Call
    from tc.codegen.cache import ObjectCache

    cache = None if cache_dir is None else ObjectCache(cache_dir)
    emitted: list[Func | KernelText | CKernel] = list(kernels)
    modules: list[Module | CModule] = []
    for entry in found:
        used = sorted({call.kernel for call in entry.calls})
        place = {kernel: number for number, kernel in enumerate(used)}
        calls = [Call(place[c.kernel], c.buffers, c.symbols, c.loop) for c in entry.calls]
        if codegen == "c":
            module = _through_c([kernels[k] for k in used], calls, target, cache, cc)
        else:
            module = _through_llvm([emitted[k] for k in used], calls, target, cache)
        modules.append(module)
        texts: Sequence[KernelText | CKernel] = module.kernels
        for number, text in zip(used, texts, strict=True):
            emitted[number] = text
    code = tuple(
        Code(entry.name, module.object_code, module.messages)
        for entry, module in zip(found, modules, strict=True)
    )
    hits, misses = (0, 0) if cache is None else (cache.hits, cache.misses)
    return Made(code, tuple(modules), tuple(emitted), hits, misses)


def _through_llvm(
    kernels: Sequence[Func | KernelText | CKernel],
    calls: Sequence[Call],
    target: Target,
    cache: ObjectCache | None,
) -> Module | CModule:
    from tc.codegen.llvm.emit import KernelText
    from tc.codegen.llvm.jit import compile_module

    given = [k for k in kernels if isinstance(k, Func | KernelText)]
    return compile_module(given, calls, target, cache)


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


def _loaded(code: Code, target: Target) -> Module | CModule:
    from tc.codegen.c.module import MAGIC, load_shared

    if code.data.startswith(MAGIC):
        return load_shared(code.data, target, code.messages)
    from tc.codegen.llvm.jit import load_object

    return load_object(code.data, target, code.messages)


def _function(module: Module | CModule) -> Function:
    entry = module.entry
    # The entry is valid while its module lives, so it holds it: a wrapper would cost every call.
    entry.module = module  # type: ignore[attr-defined]  # a foreign function takes attributes
    entry.address = module.address  # type: ignore[attr-defined]
    return entry
