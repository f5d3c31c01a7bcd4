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
from tc.ir.loop import Func
from tc.target import Target

if TYPE_CHECKING:
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
    modules: tuple[Module, ...]
    kernels: tuple[Func | KernelText, ...]
    cache_hits: int
    misses: int


def make_code(
    kernels: Sequence[Func | KernelText],
    found: Sequence[Entry],
    target: Target,
    cache_dir: Path | None,
) -> Made:
    """Compile the entries of a program.

    Args:
        kernels: flat vector IR of every kernel, or what was emitted for it, by number.
        found: what `artifact.entries` gave.
        cache_dir: folder of compiled objects; None: compile everything.

    Raises:
        UnsupportedError: a target that LLVM does not know.
    """
    from tc.codegen.llvm.cache import ObjectCache
    from tc.codegen.llvm.jit import compile_module
    from tc.codegen.llvm.program import Call

    cache = None if cache_dir is None else ObjectCache(cache_dir)
    emitted = list(kernels)
    modules: list[Module] = []
    for entry in found:
        used = sorted({call.kernel for call in entry.calls})
        place = {kernel: number for number, kernel in enumerate(used)}
        calls = [Call(place[c.kernel], c.buffers, c.symbols) for c in entry.calls]
        module = compile_module([emitted[k] for k in used], calls, target, cache)
        modules.append(module)
        for number, text in zip(used, module.kernels, strict=True):
            emitted[number] = text
    code = tuple(
        Code(entry.name, module.object_code, module.messages)
        for entry, module in zip(found, modules, strict=True)
    )
    hits, misses = (0, 0) if cache is None else (cache.hits, cache.misses)
    return Made(code, tuple(modules), tuple(emitted), hits, misses)


def load_functions(artifact: Artifact) -> dict[str, Function]:
    """The functions of an artifact's code by entry, callable as long as they exist.

    Raises:
        CompileError: damaged code, or code that this machine cannot run.
    """
    from tc.codegen.llvm.jit import load_object

    target = Target.parse(artifact.target)
    return {
        code.name: _function(load_object(code.data, target, code.messages))
        for code in artifact.code
    }


def _function(module: Module) -> Function:
    entry = module.entry
    # The entry is valid while its module lives, so it holds it: a wrapper would cost every call.
    entry.module = module  # type: ignore[attr-defined]  # a foreign function takes attributes
    return entry
