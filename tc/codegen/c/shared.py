"""Shared libraries of compiled programs: how they are kept as data, and loaded.

This module must not compile, nor import what writes C: a program that is loaded needs neither.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tc.codegen import openmp
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError, UnsupportedError, describe
from tc.target import Target

Entry = Callable[[int], None]

MAGIC: Final = b"tc shared library 1\n"
_START: Final = len(MAGIC) + hashlib.sha256().digest_size


@dataclass
class SharedModule:
    """A program in a shared library.

    Attributes:
        target: what it was compiled for.
        object_code: the shared library, which `load_shared` reads back.
        messages: what the error word counts: word - 1 is the number of a message.
    """

    target: Target
    object_code: bytes
    messages: tuple[str, ...]
    _library: Any = field(default=None, repr=False, kw_only=True)
    _entry: Entry | None = field(default=None, repr=False, kw_only=True)

    @property
    def llvm_ir(self) -> str:
        """Raises UnsupportedError: LLVM had no part in this."""
        raise UnsupportedError(
            describe("llvm_ir", why="this was compiled from C", way_out="look at .c_source or .asm")
        )

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


def packed(library: bytes) -> bytes:
    """A shared library behind what says that it is whole."""
    return MAGIC + hashlib.sha256(library).digest() + library


def load_shared(data: bytes, target: Target, messages: tuple[str, ...]) -> SharedModule:
    """The program of which `data` is the shared library; nothing is compiled.

    Raises:
        CompileError: `data` is not what `SharedModule.object_code` is.
    """
    # The loader of the system trusts what it is given: a library cut short would end the process.
    if data != packed(data[_START:]):
        raise CompileError(
            describe("object code", why="damaged or cut short", way_out="compile the model again")
        )
    return SharedModule(target, data, messages)


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
