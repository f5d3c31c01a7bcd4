"""Another name than "model" for what others see of an exported one: files, symbols, the program.

Sources are written under the name "model"; two models are linked into one program where each has a
name of its own, which every identifier that linkers and users see begins with. This module must
not know what a text says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from tc.codegen.c.text import identifier as function_name
from tc.errors import CompileError, describe
from tc.standalone.lines import WIDTH
from tc.standalone.names import identifier

MODEL: Final = "model"
_MOST = 32  # letters
# Comments, strings, characters, and the words that are left: identifiers.
_QUOTED = re.compile(r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""")
_TOKENS = re.compile(rf"/\*.*?\*/|{_QUOTED.pattern}|[A-Za-z_]\w*", re.DOTALL)
_SEEN = re.compile(r"model|(?:model|MODEL)_\w+|(kernel_\w+|tile(?:_\w+|\d+)?)")
_WORDS = re.compile(r"\b(?:model_(?=\w)|MODEL_(?=\w)|model(?=\.[hc]\b)|weights\.bin\b)")


def check_name(name: object) -> str:
    """A name for a model. Raises CompileError: C has another use for it, or it is none."""
    if (
        not isinstance(name, str)
        or len(name) > _MOST
        or not name == identifier(name) == function_name(name)
    ) and name != MODEL:
        raise _no_name(name, "no name in C that is free")
    return str(name)


def weights_file(name: str) -> str:
    """What the weights of a model of that name are called."""
    return "weights.bin" if name == MODEL else f"{name}_weights.bin"


def symbol(kernel: str, name: str) -> str:
    """The function of a kernel in a model of that name."""
    return kernel if name == MODEL else f"{name}_{kernel}"


def renamed(texts: Mapping[str, str], name: str, ours: Collection[str]) -> dict[str, str]:
    """C files by their names, for a model of another name.

    Args:
        name: as `check_name` gives it.
        ours: files whose comments and strings are about the model too; those of others may hold
            names of the user's.

    Raises:
        CompileError: the sources have other uses for the name.
    """
    if name == MODEL:
        return dict(texts)
    files = {file: re.sub(r"^model(?=_cli\.c|\.[hc]$)", name, file) for file in texts}
    used = {word for text in texts.values() for word in _identifiers(text)}
    if any(word == name or word.lower().startswith(f"{name.lower()}_") for word in used) or len(
        set(files.values())
    ) < len(files):
        raise _no_name(name, "the sources call something else so")
    return {files[file]: _text(text, name, file in ours) for file, text in texts.items()}


def shown(text: str, name: str) -> str:
    """Text about a model for one of that name."""

    def other(found: re.Match[str]) -> str:
        if found[0] == "weights.bin":
            return weights_file(name)
        return f"{name.upper()}_" if found[0] == "MODEL_" else found[0].replace(MODEL, name)

    return _WORDS.sub(other, text)


def _no_name(name: object, why: str) -> CompileError:
    way_out = f"use at most {_MOST} letters, digits and underscores, such as bert_base"
    return CompileError(describe(f"name={name!r}", why=why, way_out=way_out))


def _identifiers(text: str) -> Iterator[str]:
    return (token for token in _TOKENS.findall(text) if token[0].isalpha() or token[0] == "_")


def _text(text: str, name: str, about: bool) -> str:
    def other(found: re.Match[str]) -> str:
        token = found[0]
        if token[0] in "/\"'":
            return shown(token, name) if about else token
        seen = _SEEN.fullmatch(token)
        if seen is None:
            return token
        if seen[1]:
            return f"{name}_{token}"
        return name if token == MODEL else shown(token, name)

    lines = _TOKENS.sub(other, text).split("\n")
    return "\n".join(part for line in lines for part in _folded(line))


def _folded(line: str) -> Iterator[str]:
    """A line in parts that are not too long, cut at spaces, of which the last in code is best."""
    bare = line.lstrip()
    indent = line[: len(line) - len(bare)]
    comment = bare.startswith(("/*", "* "))
    inside = indent + " " * 8
    if comment:
        inside = f"{indent} * " if bare[0] == "/" else f"{indent}* "
    while len(line) > WIDTH and not bare.startswith("#"):
        spaces = [n for n in range(WIDTH, len(inside), -1) if line[n] == " "]
        cut = next((n for n in spaces if comment or not _open(line[:n])), 0)
        within = next((n for n in spaces if n < WIDTH - 1 and _open(line[:n]) == '"'), 0)
        if cut:
            yield line[:cut].rstrip()
            line = inside + line[cut:].lstrip()
        elif within:  # strings side by side are one
            yield f'{line[: within + 1]}"'
            line = f'{inside}"{line[within + 1 :]}'
        else:
            break
    yield line


def _open(begun: str) -> str:
    """The quote that is open behind the beginning of a line, or nothing."""
    return next((c for c in _QUOTED.sub("", begun) if c in "\"'"), "")
