"""What a function computes, as a digest: its bytecode and constants, whatever file they came from.

The code that runs is what counts: a source may have been edited after it was imported, a method
may have been replaced. This module must not run code.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Iterator
from types import CodeType
from typing import Final

_IMPORT: Final = dis.opmap["IMPORT_NAME"]


def digest(code: CodeType) -> str:
    """Of a code object and of those within it; line numbers and file names are no part of it."""
    return hashlib.sha256(repr(_content(code)).encode()).hexdigest()


def _content(code: CodeType) -> tuple[object, ...]:
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        tuple([_constant(value) for value in code.co_consts]),
    )


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _content(value)
    if isinstance(value, frozenset):
        return ("frozenset", sorted([repr(_constant(each)) for each in value]))
    if isinstance(value, tuple):
        return tuple([_constant(each) for each in value])
    return value


def parts(code: CodeType) -> Iterator[CodeType]:
    """A code object and those within it."""
    yield code
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield from parts(value)


def names_in(code: CodeType) -> set[str]:
    """Every name that it looks up: globals, attributes, imports, and text given to getattr."""
    found: set[str] = set()
    for part in parts(code):
        found.update(part.co_names)
        if "getattr" in part.co_names:
            found.update(v for v in part.co_consts if isinstance(v, str) and v.isidentifier())
    return found


def globals_in(code: CodeType) -> set[str]:
    """The names that it looks up as such, not as attributes of something."""
    return {
        str(step.argval)
        for part in parts(code)
        for step in dis.get_instructions(part)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def imports(code: CodeType) -> bool:
    """Whether it imports while it runs."""
    return any(_IMPORT in part.co_code[::2] for part in parts(code))
