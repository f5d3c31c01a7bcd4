"""The instructions of x86-64 that matter to an inner loop, in AT&T's syntax."""

from __future__ import annotations

import re
from typing import Final

from tc.codegen.assembly.effect import Effect
from tc.codegen.assembly.loops import Instruction

_FMA: Final = re.compile(r"vfn?m(?:add|sub)\d{3}([ps])([sdh])")
_ELEMENTS: Final = {"s": 4, "d": 8, "h": 2}
_DOTS: Final = {"vdpbf16ps": 2, "vpdpbusd": 1, "vpdpwssd": 2}  # bytes of a factor
_VECTOR: Final = re.compile(r"%([xyz])mm")
_VECTOR_BYTES: Final = {"x": 16, "y": 32, "z": 64}
_SUFFIX: Final = {"b": 1, "w": 2, "l": 4, "q": 8}
_PLACE: Final = re.compile(r"[-\w.]*\((?:%|,)[^)]*\)(?:\{1to(\d+)\})?")
_STACK: Final = re.compile(r"\(%r[sb]p")
_NO_ACCESS: Final = ("lea", "prefetch", "nop")
_ONLY_READS: Final = re.compile(r"v?u?comis[sd]|cmp[bwlq]?|test[bwlq]?")
_WIDENING: Final = re.compile(r"vpmov[sz]x([bwd])([wdq])")
_SINGLE: Final = re.compile(r"v(?:broadcasts|movs|cvts|adds|subs|muls|divs|mins|maxs|sqrts)([sd])")
_MOVE: Final = re.compile(r"mov[sz]([bwl])[wlq]")


def effect(i: Instruction) -> Effect:
    """What `i` does."""
    products, kind = _products(i)
    place = _PLACE.search(i.operands)
    if place is None or i.name.startswith(_NO_ACCESS):
        return Effect(products, kind)
    count = _bytes(i, place)
    stores = i.operands.endswith(place[0]) and "," in i.operands[: place.start()]
    stores = stores and not _ONLY_READS.fullmatch(i.name)
    loads = not stores or not (i.name.startswith(("v", "mov", "set")))
    stack = _STACK.search(place[0]) is not None
    return Effect(products, kind, count if loads else 0, count if stores else 0, stack)


def _width(i: Instruction) -> int:
    """Bytes of its widest vector register, 0 for none."""
    return max((_VECTOR_BYTES[x] for x in _VECTOR.findall(i.operands)), default=0)


def _products(i: Instruction) -> tuple[int, str]:
    width = _width(i)
    if not width:
        return 0, ""
    kind = f"{i.name} {next(x for x, n in _VECTOR_BYTES.items() if n == width)}"
    if i.name in _DOTS:
        return width // _DOTS[i.name], kind
    found = _FMA.fullmatch(i.name)
    if found is None:
        return 0, ""
    return (1 if found[1] == "s" else width // _ELEMENTS[found[2]]), kind


def probes(kind: str) -> tuple[str, ...]:
    """An instruction of a kind, with "{n}" for the register of its sums."""
    name, x = kind.split()
    return (f"{name} %{x}mm14, %{x}mm15, %{x}mm{{n}}",)


def _bytes(i: Instruction, place: re.Match[str]) -> int:
    """The bytes that an instruction moves, by its name and the registers beside."""
    width = _width(i)
    if place[1]:
        return width // int(place[1])  # one element for all lanes
    if (found := _WIDENING.match(i.name)) is not None:
        order = "bwdq"
        return width >> (order.index(found[2]) - order.index(found[1]))
    if (found := _FMA.fullmatch(i.name)) is not None and found[1] == "s":
        return _ELEMENTS[found[2]]
    if (found := _SINGLE.match(i.name)) is not None:
        return _ELEMENTS[found[1]]
    if i.name in ("vmovd", "vpbroadcastd", "vpinsrd"):
        return 4
    if i.name in ("vmovq", "vpbroadcastq", "vpinsrq"):
        return 8
    if width:
        return width // 2 if i.name.startswith("vcvtph") else width
    found = _MOVE.fullmatch(i.name)
    return _SUFFIX[found[1]] if found is not None else _SUFFIX.get(i.name[-1], 8)
