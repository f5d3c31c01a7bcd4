"""The instructions of AArch64 that matter to an inner loop: multiply-adds, loads and stores."""

from __future__ import annotations

import re
from typing import Final

from tc.codegen.assembly.effect import Effect
from tc.codegen.assembly.loops import Instruction

# Products for each lane of the result, and the arrangement of the factors where it is another one.
_SUMS: Final = {
    "fmla": (1, ""),
    "fmls": (1, ""),
    "mla": (1, ""),
    "bfdot": (2, "8h"),
    "bfmmla": (4, "8h"),
    "sdot": (4, "16b"),
    "udot": (4, "16b"),
    "usdot": (4, "16b"),
    "sudot": (4, "16b"),
    "smmla": (8, "16b"),
    "ummla": (8, "16b"),
    "usmmla": (8, "16b"),
}
# What an element of a register is among the factors of a dot product.
_ELEMENTS: Final = {"sdot": "4b", "udot": "4b", "usdot": "4b", "sudot": "4b", "bfdot": "2h"}
_SCALAR_SUMS: Final = ("fmadd", "fmsub", "fnmadd", "fnmsub")
_WIDTHS: Final = {"q": 16, "d": 8, "s": 4, "h": 2, "b": 1, "x": 8, "w": 4}
_SUFFIXES: Final = {"b": 1, "h": 2, "sb": 1, "sh": 2, "sw": 4}
_ARRANGED: Final = re.compile(r"v\d+\.(\d*)([bhsd])")
_MEMORY: Final = re.compile(r"(ld|st)(p|np|u?r|[1-4]r?)(sw|sb|sh|b|h)?")
_STACK: Final = re.compile(r"\[(sp|x29)\b")


def effect(i: Instruction) -> Effect:
    """What `i` does."""
    arranged = _ARRANGED.match(i.operands)
    if i.name in _SUMS and arranged is not None and arranged[1]:
        return _sum(i.name, int(arranged[1]), arranged[2])
    if i.name in _SCALAR_SUMS:
        return Effect(1, f"fmadd {i.operands[0]}")
    found = _MEMORY.fullmatch(i.name)
    if found is None or "[" not in i.operands:
        return Effect()
    count = _bytes(found, i.operands)
    loaded, stored = (count, 0) if found[1] == "ld" else (0, count)
    return Effect(loaded=loaded, stored=stored, on_stack=_STACK.search(i.operands) is not None)


def _sum(name: str, lanes: int, kind: str) -> Effect:
    return Effect(_SUMS[name][0] * lanes, f"{name} {lanes}{kind}")


def probes(kind: str) -> tuple[str, ...]:
    """Instructions of a kind, with "{n}" for the register of its sums: one for each form.

    A factor may be an element of a register, which some models take for another instruction.
    """
    name, arranged = kind.split()
    if name == "fmadd":
        return (f"fmadd {arranged}{{n}}, {arranged}30, {arranged}31, {arranged}{{n}}",)
    factors = _SUMS[name][1] or arranged
    start = f"{name} v{{n}}.{arranged}, v30.{factors}, v31"
    plain, element = f"{start}.{factors}", f"{start}.{_ELEMENTS.get(name, arranged[-1])}[0]"
    if name == "sudot":
        return (element,)
    return (plain, element) if name in (*_ELEMENTS, "fmla", "fmls") else (plain,)


def _bytes(found: re.Match[str], operands: str) -> int:
    """The bytes that a load or store moves; `found` are the parts of its name."""
    registers = operands.partition("[")[0]
    if found[2][0].isdigit():
        vectors = _ARRANGED.findall(registers)
        if found[2].endswith("r") or not vectors[0][0]:  # one element of each register
            return sum(_WIDTHS[kind] for _, kind in vectors)
        return sum(int(lanes) * _WIDTHS[kind] for lanes, kind in vectors)
    each = _SUFFIXES[found[3]] if found[3] else _WIDTHS.get(registers[0], 8)
    return each * (2 if found[2] in ("p", "np") else 1)
