"""Kernels to a loaded program through the C compiler of this machine.

Each kernel is a C file of its own, so that equal kernels are compiled once, in whatever program
they are; what was compiled before comes from the cache. The objects are linked to one shared
library. This module must not write C but what joins the parts.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tc import __version__
from tc.codegen import openmp
from tc.codegen.abi import Call
from tc.codegen.c import compilers
from tc.codegen.c.compilers import Compiler, find_compiler, machine_flags
from tc.codegen.c.kernel import CKernel, render_kernel
from tc.codegen.c.program import entry_text
from tc.codegen.c.tiles import renamed
from tc.codegen.cache import ObjectCache
from tc.codegen.func import messages_of
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, UnsupportedError, describe
from tc.ir.loop import Func
from tc.target import Target

Entry = Callable[[int], None]

MAGIC: Final = b"tc shared library 1\n"
_START: Final = len(MAGIC) + hashlib.sha256().digest_size
_KERNEL_FLAGS: Final = ("-std=c99", "-O3", *compilers.MEANING)
_ENTRY_FLAGS: Final = ("-std=gnu11", "-O2")


@dataclass
class CModule:
    """A program compiled from C.

    Attributes:
        target: what it was compiled for.
        object_code: the shared library, which `load_shared` reads back.
        messages: what the error word counts: word - 1 is the number of a message.
        kernels: what was rendered for each kernel that was given; empty where it was loaded.
        texts: the C files of the distinct kernels and of the entry.
    """

    target: Target
    object_code: bytes
    messages: tuple[str, ...]
    kernels: tuple[CKernel, ...] = ()
    texts: tuple[str, ...] = ()
    _library: Any = field(default=None, repr=False)
    _entry: Entry | None = field(default=None, repr=False)

    @property
    def llvm_ir(self) -> str:
        """Raises UnsupportedError: LLVM had no part in this."""
        raise UnsupportedError(
            describe("llvm_ir", why="this was compiled from C", way_out="look at .c_source or .asm")
        )

    @property
    def c_source(self) -> str:
        """The kernels as one C file."""
        return join_kernels(self.kernels)

    @property
    def asm(self) -> str:
        """The assembly that the C compiler makes of the kernels; compiled for this look."""
        flags = (*_KERNEL_FLAGS, *machine_flags(self.target))
        return "\n".join(compilers.assembly(find_compiler(), t, flags) for t in self.texts[:-1])

    @property
    def entry(self) -> Entry:
        """The entry point, loaded at first use: takes the address of the argument array.

        A call releases the interpreter lock. It is valid as long as this object lives.

        Raises:
            CompileError: this machine cannot run the code.
        """
        if self._entry is None:
            self._entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.address)
        return self._entry

    @property
    def address(self) -> int:
        """Where the entry point is, loaded at first use.

        Raises:
            CompileError: this machine cannot run the code.
        """
        if self._library is None:
            check_runs_here(self.target)
            self._library = _load(self.object_code[_START:])
        return ctypes.cast(self._library.tc_entry, ctypes.c_void_p).value or 0


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
    texts: dict[str, str] = {}  # the C file of each symbol
    symbols = []
    for k, func in zip(rendered, kernels, strict=True):
        text, symbol = _exported(k, func.name)
        texts[symbol] = text
        symbols.append(symbol)
    machine = machine_flags(target)
    jobs = [(t, (*_KERNEL_FLAGS, *machine)) for t in texts.values()]
    jobs.append((entry_text(symbols, calls), (*_ENTRY_FLAGS, *machine)))
    library = _build(compiler, jobs, cache)
    return CModule(target, _packed(library), messages, rendered, tuple(t for t, _ in jobs))


def _exported(k: CKernel, name: str) -> tuple[str, str]:
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


def _packed(library: bytes) -> bytes:
    """A shared library behind what says that it is whole."""
    return MAGIC + hashlib.sha256(library).digest() + library


def load_shared(data: bytes, target: Target, messages: tuple[str, ...]) -> CModule:
    """The program of which `data` is the shared library; nothing is compiled.

    Raises:
        CompileError: `data` is not what `CModule.object_code` gave.
    """
    # The loader of the system trusts what it is given: a library cut short would end the process.
    if data != _packed(data[_START:]):
        raise CompileError(
            describe("object code", why="damaged or cut short", way_out="compile the model again")
        )
    return CModule(target, data, messages)


def _load(data: bytes) -> Any:
    """A shared library, loaded into this process."""
    # The loader knows libraries by their path, so each gets one that no other ever has.
    handle, path = tempfile.mkstemp(prefix="tc-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        library = ctypes.CDLL(path)
    except OSError as error:
        raise CompileError(
            describe("object code", why=str(error), way_out="compile the model again")
        ) from error
    finally:
        Path(path).unlink(missing_ok=True)
    runtime = openmp.runtime()
    if runtime is not None:
        addresses = dict(runtime.addresses)
        library.tc_use_threads(*[ctypes.c_void_p(addresses[s]) for s in openmp.SYMBOLS])
    return library
