"""Kernels to a loaded program through the C compiler of this machine.

Each kernel is a C file of its own, so that equal kernels are compiled once, in whatever program
they are; what was compiled before comes from the cache. The objects are linked to one shared
library. This module must not write C but what joins the parts.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tc import __version__
from tc.codegen.abi import Call
from tc.codegen.c import compilers
from tc.codegen.c.compilers import Compiler, find_compiler, machine_flags
from tc.codegen.c.kernel import CKernel, render_kernel
from tc.codegen.c.program import entry_text
from tc.codegen.c.shared import SharedModule, packed
from tc.codegen.c.tiles import renamed
from tc.codegen.cache import ObjectCache
from tc.codegen.func import messages_of
from tc.ir.loop import Func
from tc.target import Target

_KERNEL_FLAGS: Final = ("-std=c99", "-O3", *compilers.MEANING)
_ENTRY_FLAGS: Final = ("-std=gnu11", "-O2")


@dataclass
class CModule(SharedModule):
    """A program compiled from C.

    Attributes:
        kernels: what was rendered for each kernel that was given.
        texts: the C files of the distinct kernels and of the entry.
        compiler: which it was compiled by.
    """

    kernels: tuple[CKernel, ...]
    texts: tuple[str, ...]
    compiler: Compiler

    @property
    def c_source(self) -> str:
        """The kernels as one C file."""
        return join_kernels(self.kernels)

    @property
    def asm(self) -> str:
        """The assembly that the C compiler makes of the kernels; compiled for this look."""
        flags = (*_KERNEL_FLAGS, *machine_flags(self.target))
        return "\n".join(compilers.assembly(self.compiler, t, flags) for t in self.texts[:-1])


def join_kernels(kernels: Sequence[CKernel]) -> str:
    """One C file of these kernels: headers, each helper and tile once, then the functions."""
    headers = sorted({h for k in kernels for h in k.headers})
    helpers = {n: t for k in kernels for n, t in k.helpers.items()}
    first = list(dict.fromkeys(line for k in kernels for line in k.preamble))
    parts = ["\n".join([*first, *(f"#include <{h}>" for h in headers)]), *helpers.values()]
    tiles: dict[str, str] = {}
    texts = [renamed(k.text, k.tiles, tiles)[0] for k in kernels]
    parts += [*tiles.values(), *dict.fromkeys(texts)]
    return "\n\n".join(p.rstrip("\n") for p in parts) + "\n"


def compile_module(
    kernels: Sequence[Func],
    calls: Sequence[Call],
    target: Target,
    cache: ObjectCache | None = None,
    cc: str | None = None,
) -> CModule:
    """Compile a program: its kernels, flat vector IR, and which to call with what.

    Args:
        cc: the words that call the C compiler; default: the first of cc, gcc, clang.

    Raises:
        CompileError: there is no C compiler.
    """
    compiler = find_compiler(cc)
    messages = messages_of(kernels)
    numbers = {m: n for n, m in enumerate(messages, 1)}
    rendered = tuple(render_kernel(k, target, numbers=numbers) for k in kernels)
    files: dict[str, str] = {}  # by symbol
    symbols = []
    for k in rendered:
        text, symbol = _exported(k)
        files[symbol] = text
        symbols.append(symbol)
    machine = machine_flags(target)
    jobs = [(t, (*_KERNEL_FLAGS, *machine)) for t in files.values()]
    jobs.append((entry_text(symbols, calls), (*_ENTRY_FLAGS, *machine)))
    library = _build(compiler, jobs, cache)
    texts = tuple(t for t, _ in jobs)
    return CModule(target, packed(library), messages, rendered, texts, compiler)


def _exported(k: CKernel) -> tuple[str, str]:
    """The C file of one kernel, whose function has a name that says all about it; that name."""
    body = join_kernels((k,))
    symbol = f"tc_k_{hashlib.sha256(body.encode()).hexdigest()[:24]}"
    head = next(line for line in k.text.splitlines() if line.startswith("static void "))
    name = head[len("static void ") :].partition("(")[0]
    # The public function has the parameters that the entry declares: addresses of any kind.
    return body.replace(f"static void {name}(", f"void {symbol}(", 1), symbol


def _build(
    compiler: Compiler, jobs: Sequence[tuple[str, tuple[str, ...]]], cache: ObjectCache | None
) -> bytes:
    """The shared library of C files with the flags of each."""
    keys = ["\n".join((__version__, *compiler.command, compiler.version, *f, t)) for t, f in jobs]
    whole = "\n".join(("link", *(hashlib.sha256(k.encode()).hexdigest() for k in keys)))
    known = None if cache is None else cache.get(whole)
    if known is not None:
        return known
    with (
        tempfile.TemporaryDirectory(prefix="tc-") as name,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        folder = Path(name)

        def one(job: tuple[str, tuple[str, ...]], key: str) -> bytes:
            found = None if cache is None else cache.get(key)
            if found is None:
                found = compilers.compile_object(compiler, *job, folder)
                if cache is not None:
                    cache.put(key, found)
            return found

        objects = list(pool.map(one, jobs, keys))
        library = compilers.link_shared(compiler, objects, folder)
    if cache is not None:
        cache.put(whole, library)
    return library
