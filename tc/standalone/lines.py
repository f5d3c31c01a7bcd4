"""C text in lines of at most 100 columns. This module must not know what it writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WIDTH = 100


def call(head: str, arguments: Sequence[str], tail: str, indent: str = "") -> list[str]:
    """`head(arguments)tail`, with the arguments below each other's beginning where it is long."""
    one = f"{indent}{head}({', '.join(arguments)}){tail}"
    if len(one) <= WIDTH:
        return [one]
    inside = indent + " " * 4
    made = [f"{indent}{head}("]
    line = inside
    for n, argument in enumerate(arguments):
        text = argument + (")" + tail if n + 1 == len(arguments) else ",")
        if line != inside and len(line) + 1 + len(text) > WIDTH:
            made.append(line)
            line = inside
        line += ("" if line == inside else " ") + text
    return [*made, line]


def rows(head: str, items: Iterable[str], empty: str) -> list[str]:
    """An array `head[] = {items};`, as many items to a line as fit; `empty` stands for none."""
    listed = list(items) or [empty]
    one = f"{head} = {{{', '.join(listed)}}};"
    if len(one) <= WIDTH:
        return [one]
    made = [f"{head} = {{"]
    line = ""
    for item in listed:
        if line and len(line) + 2 + len(item) > WIDTH:
            made.append(line)
            line = ""
        line += f"    {item}," if not line else f" {item},"
    return [*made, line, "};"]


def statement(head: str, value: str, indent: str = "    ") -> list[str]:
    """`head = value;`, broken at operators where it is long."""
    one = f"{indent}{head} = {value};"
    if len(one) <= WIDTH:
        return [one]
    made, line = [], f"{indent}{head} ="
    for word in f"{value};".split(" "):
        if len(line) + 1 + len(word) > WIDTH:
            made.append(line)
            line = indent + "   "
        line += f" {word}"
    return [*made, line]
