"""A Python callable in machine code, for calls that are like one that was met before.

Between two calls of a large model the weights pass through every cache, and each line of the
interpreter's memory that a call touches comes from afar again. This function touches few: it
compares a call with `Template`s, allocates the results, and makes the one foreign call; what it
does not know it hands to a fallback. It speaks to CPython through its C API only. This module must
not know what is compared, nor why.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from tc.codegen.abi import Slot
from tc.codegen.cache import ObjectCache
from tc.codegen.direct import MOST_OBJECTS, Counter, Offsets, State, Word
from tc.codegen.llvm.jit import code_key, link
from tc.codegen.llvm.machine import Machine
from tc.target import Target

_API = {
    "PyTuple_Size": "i64 (ptr)",
    "PyTuple_GetItem": "ptr (ptr, i64)",
    "PyList_Size": "i64 (ptr)",
    "PyList_GetItem": "ptr (ptr, i64)",
    "PyList_SetSlice": "i32 (ptr, i64, i64, ptr)",
    "PyList_Append": "i32 (ptr, ptr)",
    "PyObject_Vectorcall": "ptr (ptr, ptr, i64, ptr)",
    "PyObject_Call": "ptr (ptr, ptr, ptr)",
    "PyDict_Copy": "ptr (ptr)",
    "PyDict_Next": "i32 (ptr, ptr, ptr, ptr)",
    "PyDict_SetItem": "i32 (ptr, ptr, ptr)",
    "PyODict_SetItem": "i32 (ptr, ptr, ptr)",
    "PyObject_GenericSetDict": "i32 (ptr, ptr, ptr)",
    "PyErr_Clear": "void ()",
    "PyEval_SaveThread": "ptr ()",
    "PyEval_RestoreThread": "void (ptr)",
    "Py_IncRef": "void (ptr)",
    "Py_DecRef": "void (ptr)",
}
_SOURCE = Path(__file__).with_name("direct.ll")
_NAME = "tc_direct"
_KEPT: list[object] = []  # what was loaded: code lives as long as the process


def direct_call(target: Target, offsets: Offsets, cache: ObjectCache) -> int:
    """The address of the function, of the C API's type `PyCFunctionWithKeywords`.

    Its first argument is a ctypes array that holds a `State`. Raises AttributeError where this
    Python lacks a function that it calls.
    """
    functions = {name: getattr(ctypes.pythonapi, name) for name in _API}
    addresses = {n: ctypes.cast(f, ctypes.c_void_p).value or 0 for n, f in functions.items()}
    text = _text(offsets)
    key = code_key(target, text)
    code = cache.get(key)
    if code is None:
        code = Machine(target).object_code(text)
        cache.put(key, code)
    loaded = link([code], _NAME, addresses)
    _KEPT.append(loaded)
    return int(loaded[_NAME])


def _text(offsets: Offsets) -> str:
    """The module without the shorthands that direct.ll explains."""
    declared = []
    for name, kind in _API.items():
        result, _, arguments = kind.partition(" ")
        declared.append(f"declare {result} @{name}{arguments}")
    places = {f"<{name}>": str(value) for name, value in _numbers(offsets).items()}
    text = re.sub(r"<[a-z]+>", lambda found: places[found[0]], _SOURCE.read_text())
    return "\n".join([*declared, *map(_expanded, text.splitlines())])


def _numbers(offsets: Offsets) -> dict[str, int]:
    return {
        "buffer": offsets.buffer,
        "handle": offsets.handle,
        "storage": offsets.storage,
        "offset": offsets.offset,
        "data": offsets.data,
        "tensor": 8 * State.TENSOR,
        "inference": 8 * State.INFERENCE,
        "autocast": 8 * State.AUTOCAST,
        "true": 8 * State.TRUE,
        "fallback": 8 * State.FALLBACK,
        "first": 8 * State.FIRST,
        "started": 8 * Counter.STARTED,
        "nanoseconds": 8 * Counter.NANOSECONDS,
        "class": 8 * Word.CLASS,
        "hints": 8 * Slot.HINTS,
        "most": MOST_OBJECTS,
    }


_WORD = re.compile(r"  (%\w+) = (word|wordp) (\w+)")
_AT = re.compile(r"  (%\w+) = at (ptr|i64) (%\w+), (\w+|%\w+)")


def _expanded(line: str) -> str:
    if found := _WORD.fullmatch(line):
        name, kind, word = found.groups()
        loaded = "ptr" if kind == "wordp" else "i64"
        place = 8 * Word[word]
        return (
            f"  {name}.p = getelementptr i8, ptr %t, i64 {place}\n"
            f"  {name} = load {loaded}, ptr {name}.p, align 8"
        )
    if found := _AT.fullmatch(line):
        name, kind, base, bytes_ = found.groups()
        return (
            f"  {name}.p = getelementptr i8, ptr {base}, i64 {bytes_}\n"
            f"  {name} = load {kind}, ptr {name}.p, align 8"
        )
    return line
