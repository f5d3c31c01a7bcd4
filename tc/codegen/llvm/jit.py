"""Kernels to a loaded program: emit, compile or take from the cache, link, look up the entry.

Each kernel is an LLVM module of its own, so that equal kernels are compiled once, in whatever
program they are. LLVM works on a thread of its own while this thread makes the next kernel: it
releases the interpreter lock, but admits only one caller at a time.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from tc import __version__
from tc.codegen import openmp
from tc.codegen.abi import Call
from tc.codegen.cache import ObjectCache
from tc.codegen.llvm.hardware import hardware_of
from tc.codegen.llvm.machine import (
    PIPELINE,
    Machine,
    initialize,
    version,
)
from tc.codegen.llvm.program import SINGLE_THREAD, entry_text
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, InternalError, describe
from tc.ir.loop import Func
from tc.target import Target

if TYPE_CHECKING:
    from tc.codegen.llvm.emit import KernelText

Entry = Callable[[int], None]

_MAGIC = b"tc program 1\n"
_NUMBER = 8
_library_numbers = itertools.count()
_jit: list[Any] = []  # the process's one linker, made at first use


@dataclass
class Module:
    """A compiled program.

    Attributes:
        target: what it was compiled for.
        object_code: all object files as one value, which `load_object` reads back.
        messages: what the error word counts: word - 1 is the number of a message.
        texts: LLVM text of each distinct kernel and of the entry; empty where it was loaded.
        kernels: what was emitted for each kernel that was given; empty where it was loaded.
    """

    target: Target
    object_code: bytes
    messages: tuple[str, ...]
    texts: tuple[str, ...] = ()
    kernels: tuple[KernelText, ...] = field(default=(), repr=False)
    _tracker: Any = field(default=None, repr=False)
    _entry: Entry | None = field(default=None, repr=False)

    @property
    def llvm_ir(self) -> str:
        """The text given to LLVM.

        Raises:
            CompileError: the program was loaded from object code.
        """
        return "\n".join(self._given_texts())

    @property
    def asm(self) -> str:
        """The assembly of every kernel; compiled for this look, since it is not kept."""
        *kernels, entry = self._given_texts()
        machine = Machine(self.target)
        parts = [machine.assembly(t) for t in kernels]
        return "\n".join([*parts, Machine(self.target, opt=0).assembly(entry)])

    @property
    def entry(self) -> Entry:
        """The entry point, loaded at first use: takes the address of the argument array.

        A call releases the interpreter lock. It is valid as long as this object lives.

        Raises:
            CompileError: this machine cannot run the code.
        """
        if self._entry is None:
            check_runs_here(self.target)
            self._tracker = link(_unpack(self.object_code), "tc.entry")
            self._entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._tracker["tc.entry"])
        return self._entry

    @property
    def address(self) -> int:
        """Where the entry point is."""
        self.entry  # noqa: B018  # loads it
        return int(self._tracker["tc.entry"])

    def _given_texts(self) -> tuple[str, ...]:
        if not self.texts:
            raise CompileError(
                describe(
                    "LLVM text",
                    where="a program loaded from object code",
                    why="only machine code was saved",
                    way_out="compile the model again to look at it",
                )
            )
        return self.texts


def compile_module(
    kernels: Sequence[Func | KernelText],
    calls: Sequence[Call],
    target: Target,
    cache: ObjectCache | None = None,
) -> Module:
    """Compile one program; as `Compiler.module`."""
    with Compiler(target, cache) as compiler:
        return compiler.module(kernels, calls)


class Compiler:
    """Compiles the kernels of programs; what is equal is compiled once."""

    def __init__(self, target: Target, cache: ObjectCache | None) -> None:
        self.target = target
        self._cache = cache
        self._hardware = hardware_of(target)
        self._objects: dict[str, bytes | Future[bytes]] = {}  # by text
        self._numbers: dict[str, int] = {}  # of messages
        self._machines: dict[int, Machine] = {}
        self._llvm = ThreadPoolExecutor(1, thread_name_prefix="tc-llvm")

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *error: object) -> None:
        self._llvm.shutdown(wait=True, cancel_futures=error[0] is not None)

    def begin(self, kernel: Func | KernelText) -> KernelText:
        """What is emitted for a kernel; LLVM begins with it.

        Its messages get the next numbers, so the order of the kernels decides on their code.

        Raises:
            InternalError: a kernel that is not flat vector IR.
        """
        from tc.codegen.llvm.emit import emit_kernel  # which a program that is loaded needs not

        text = (
            emit_kernel(kernel, "tc.kernel", self._hardware) if isinstance(kernel, Func) else kernel
        )
        for message in text.messages:
            self._numbers.setdefault(message, len(self._numbers) + 1)
        self._begin_text(_named(text.module(self._numbers))[1])
        return text

    def module(self, kernels: Sequence[Func | KernelText], calls: Sequence[Call]) -> Module:
        """A program: its kernels, flat vector IR or emitted, and which to call with what.

        Raises:
            InternalError: a kernel that is not flat vector IR.
            UnsupportedError: a target that this LLVM does not know.
        """
        emitted: list[KernelText] = []
        symbols: list[str] = []
        texts: dict[str, None] = {}
        for k in kernels:
            emitted.append(self.begin(k))
            symbol, text = _named(emitted[-1].module(self._numbers))
            symbols.append(symbol)
            texts[text] = None
        entry = entry_text(symbols, calls, self.target.llvm_triple.split("-")[0])
        texts[entry] = None
        self._begin_text(entry, opt=0)
        objects = [self._object(text) for text in texts]
        messages = tuple(self._numbers) if any(k.messages for k in emitted) else ()
        return Module(self.target, _pack(objects), messages, tuple(texts), tuple(emitted))

    def _begin_text(self, text: str, opt: int = 2) -> None:
        if text not in self._objects:
            known = None if self._cache is None else self._cache.get(code_key(self.target, text))
            found = self._llvm.submit(self._compile, text, opt) if known is None else known
            self._objects[text] = found

    def _object(self, text: str) -> bytes:
        """The object file of a text that was begun; waits for it."""
        found = self._objects[text]
        if isinstance(found, bytes):
            return found
        data = self._objects[text] = found.result()
        # Not on LLVM's thread: each call of the system is a wait for the interpreter lock there.
        if self._cache is not None:
            self._cache.put(code_key(self.target, text), data)
        return data

    def _compile(self, text: str, opt: int) -> bytes:
        if opt not in self._machines:
            self._machines[opt] = Machine(self.target, opt)
        return self._machines[opt].object_code(text)


def _named(text: str) -> tuple[str, str]:
    """The name that a kernel "tc.kernel" gets by its content, and its module under that name."""
    symbol = f"tc.k.{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    return symbol, text.replace("@tc.kernel(", f"@{symbol}(", 1)


def code_key(target: Target, text: str) -> str:
    """The key of a module's object code in a cache."""
    seen = " ".join((target.llvm_triple, target.llvm_cpu, target.llvm_features))
    return "\n".join((__version__, version(), PIPELINE, seen, text))


def load_object(data: bytes, target: Target, messages: tuple[str, ...]) -> Module:
    """The program of which `data` is the object code; nothing is compiled.

    Raises:
        CompileError: `data` is not what `Module.object_code` gave.
    """
    _unpack(data)
    return Module(target, data, messages)


def _pack(objects: Sequence[bytes]) -> bytes:
    sizes = [len(o).to_bytes(_NUMBER, "little") for o in objects]
    return b"".join((_MAGIC, len(objects).to_bytes(_NUMBER, "little"), *sizes, *objects))


def _unpack(data: bytes) -> list[bytes]:
    at = len(_MAGIC) + _NUMBER
    count = int.from_bytes(data[len(_MAGIC) : at], "little")
    sound = data[: len(_MAGIC)] == _MAGIC and at + count * _NUMBER <= len(data)
    objects: list[bytes] = []
    if sound:
        start = at + count * _NUMBER
        for n in range(count):
            where = at + n * _NUMBER
            end = start + int.from_bytes(data[where : where + _NUMBER], "little")
            objects.append(data[start:end])
            start = end
        sound = start == len(data)
    if not sound:
        raise CompileError(
            describe("object code", why="damaged or cut short", way_out="compile the model again")
        )
    return objects


def link(objects: Sequence[bytes], symbol: str, beside: Mapping[str, int] | None = None) -> Any:
    """Load object files into this process; gives the address of `symbol` by its name.

    `beside` has the addresses of functions that they call, but for those of the runtime.
    """
    if not _jit:
        initialize()
        # This linker puts all of an object into one map. The other one looks for room for each
        # section, and where that is further off than 2 GiB, in a process of many maps, LLVM aborts.
        _jit.append(llvm.create_lljit_compiler(use_jit_link=True))
    builder = llvm.JITLibraryBuilder().add_current_process().export_symbol(symbol)
    for o in objects:
        builder.add_object_img(o)
    for name, address in (beside or {}).items():
        builder.import_symbol(name, address)
    runtime = openmp.runtime()
    if runtime is None:
        builder.add_ir(SINGLE_THREAD)
    else:
        for name, address in runtime.addresses:
            builder.import_symbol(name, address)
    try:
        return builder.link(_jit[0], f"tc.program.{next(_library_numbers)}")
    except RuntimeError as error:
        raise InternalError(f"cannot link compiled code: {str(error).strip()}") from error
