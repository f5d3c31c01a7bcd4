"""Names of a model in C: identifiers, strings and comments that no name can break out of.

Parameters, modules and inputs may be called anything: quotes, newlines, `*/`, keywords, a thousand
letters, other alphabets. This module must not know what a name stands for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MOST = 60  # letters of an identifier, with the number that tells equal ones apart
_MOST_COMMENT = 90
_MOST_TOLD = 240  # bytes for which the text of an error has room
# C99, what C++ adds for those who include the header there, and names of ours.
_WORDS: Final = """
auto break case char const continue default do double else enum extern float for goto if inline
int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while asm bool catch class delete explicit export false friend mutable
namespace new operator private protected public template this throw true try typename using
virtual and or not xor compl bitand bitor and_eq or_eq xor_eq not_eq main errno call program
model c tid team scratch error weight temp step_end turn ended unix linux i386 threads
"""
_RESERVED = frozenset(_WORDS.split())


def identifier(name: str, fallback: str = "x") -> str:
    """A C identifier for a name: letters, digits and single underscores, not reserved."""
    made = re.sub(r"[^A-Za-z0-9]+", "_", name)[: 4 * MOST]
    made = re.sub(r"_+", "_", made).strip("_")
    if len(made) > MOST:
        made = made[-MOST:].lstrip("_0123456789") or fallback  # the end says more
    if not made:
        made = fallback
    if made[0].isdigit() or made in _RESERVED or re.fullmatch(r"u?int(_|\d).*|.*_t", made):
        made = f"{fallback}_{made}"[:MOST].rstrip("_")
    return made


class Names:
    """Identifiers of one scope, each given once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def __call__(self, name: str, fallback: str = "x") -> str:
        """An identifier for `name` that no other has."""
        base = made = identifier(name, fallback)
        number = 2
        while made in self._taken:
            end = f"_{number}"
            made, number = base[: MOST - len(end)].rstrip("_") + end, number + 1
        self._taken.add(made)
        return made


def string(text: str) -> str:
    """A C string literal of the text's UTF-8; trigraphs have no meaning in it."""
    parts = []
    for byte in text.encode("utf-8", "replace"):
        char = chr(byte)
        if char in '"\\?':
            parts.append(f"\\{char}")
        elif " " <= char <= "~":
            parts.append(char)
        else:
            parts.append(f"\\{byte:03o}")  # three digits: the next character is not part of it
    return f'"{"".join(parts)}"'


def told(message: str) -> str:
    """A string literal of what an error says, on one line that is not cut where it is told."""
    line = " ".join(message.split()).encode("utf-8", "replace")
    return string(line[:_MOST_TOLD].decode("utf-8", "ignore"))


def comment(text: str) -> str:
    """Text for inside of a comment, on one line."""
    plain = "".join(c if " " <= c <= "~" and c not in "\\" else "?" for c in text)
    plain = plain.replace("*/", "* /").replace("/*", "/ *").replace("??", "?")
    return plain if len(plain) <= _MOST_COMMENT else f"{plain[: _MOST_COMMENT - 3]}..."
