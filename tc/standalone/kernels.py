"""The kernels of all programs as C functions: each once, named after its places in the model.

Kernels of repeated layers are one already; those that two programs have in common become one here.
This module must not know how a kernel is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tc.codegen.c.kernel import CKernel
from tc.codegen.c.text import comment as block_comment
from tc.codegen.c.tiles import renamed
from tc.device.artifact import Artifact, KernelCall, KernelInfo
from tc.frozen import frozen
from tc.ir.loop import Func
from tc.standalone.names import MOST, Names, comment
from tc.standalone.rendering import Job, flat, render, render_all
from tc.target import Target

_BODY = "\n{"
_FILE_LINES = 1500  # of one file of kernels, so that several are compiled at once


@frozen
class Function:
    """A kernel in C: the name of its function, its text, where its messages are among all.

    `tiles` are those of its tiles that no kernel before it has, `infos` are the kernels of programs
    that it is.
    """

    name: str
    kernel: CKernel
    check: int | None
    tiles: tuple[str, ...]
    infos: tuple[KernelInfo, ...]

    def flat(self, target: Target) -> Func:
        """What the text says."""
        return flat(self.infos[0], target)

    @property
    def prototypes(self) -> list[str]:
        """The heads of its functions, as declarations."""
        texts = [*self.tiles, self.kernel.text]
        return [f"void {t.partition('static void ')[2].partition(_BODY)[0]};" for t in texts]

    @property
    def text(self) -> str:
        """The whole functions, visible to other files."""
        *tiles, text = [
            t.replace("static void ", "void ", 1) for t in (*self.tiles, self.kernel.text)
        ]
        return "\n".join([*tiles, f"{block_comment(_heading(self.infos))}\n{text}"])


class Kernels:
    """The kernels that programs call."""

    def __init__(self, target: Target, artifacts: Sequence[Artifact] = ()) -> None:
        """Those that `artifacts` call are rendered now, others when they are first called."""
        self._target = target
        jobs = _jobs(artifacts)
        rendered = zip(jobs, render_all(jobs, target), strict=True)
        self._rendered = {(job.name, job.info.text): kernel for job, kernel in rendered}
        self._names = Names()
        self._by_text: dict[str, Function] = {}
        self._tiles: dict[str, str] = {}
        self.messages: list[tuple[str, ...]] = []

    def function(self, artifact: Artifact, number: int) -> Function:
        """The C function for a kernel of a program."""
        info = artifact.kernels[number]
        text = nameless(info)
        known = self._by_text.get(text)
        if known is None:
            known = self._make(info)
        elif info.origin not in [x.origin for x in known.infos]:
            known = replace(known, infos=(*known.infos, info))
        self._by_text[text] = known
        return known

    def _make(self, info: KernelInfo) -> Function:
        name = self._names(_name_of(info))
        kernel = self._rendered.pop((name, info.text), None) or render(
            Job(info, name), self._target
        )
        check = None
        if kernel.messages:
            check = len(self.messages)
            self.messages.append(kernel.messages)
        before = set(self._tiles)
        text, tiles = renamed(kernel.text, kernel.tiles, self._tiles)
        new = tuple(tiles[n] for n in tiles if n not in before)
        return Function(name, replace(kernel, text=text, tiles=tiles), check, new, (info,))

    @property
    def functions(self) -> list[Function]:
        """All of them, in the order of first use."""
        return list(self._by_text.values())

    def file(self) -> str:
        """The text of one file of all kernels."""
        return _file(self.functions)

    def files(self) -> Iterator[str]:
        """The text of each file of kernels, where there are several."""
        part: list[Function] = []
        lines = 0
        for function in self.functions:
            count = function.text.count("\n")
            if part and lines + count > _FILE_LINES:
                yield _file(part)
                part, lines = [], 0
            part.append(function)
            lines += count
        yield _file(part)

    def header(self) -> str:
        """The declarations of all."""
        lines = ["/* The kernels: one function for each, called by the steps of the model. */"]
        lines += ["#ifndef MODEL_KERNELS_H", "#define MODEL_KERNELS_H", "", "#include <stdbool.h>"]
        lines += ["#include <stdint.h>", ""]
        headers = sorted({h for f in self.functions for h in f.kernel.headers})
        lines += [f"#include <{h}>" for h in headers if h not in ("stdbool.h", "stdint.h")]
        for function in self.functions:
            lines += function.prototypes
        return "\n".join([*lines, "", "#endif", ""])


def _jobs(artifacts: Sequence[Artifact]) -> list[Job]:
    """The kernels that programs call, under the names that they get if asked for in this order."""
    names = Names()
    found: dict[str, Job] = {}
    for artifact in artifacts:
        called = dict.fromkeys(s.kernel for s in artifact.main if isinstance(s, KernelCall))
        for info in (artifact.kernels[number] for number in called):
            text = nameless(info)
            if text not in found:
                found[text] = Job(info, names(_name_of(info)))
    return list(found.values())


def _name_of(info: KernelInfo) -> str:
    return f"kernel_{place_of(info)}"


def _file(functions: list[Function]) -> str:
    headers = sorted({h for f in functions for h in f.kernel.headers})
    helpers: Mapping[str, str] = {
        name: text for f in functions for name, text in f.kernel.helpers.items()
    }
    lines = ["/* Kernels. Each thread of a team calls each of them, and does its part of the work:",
             " * `tid` is its number, `team` how many there are. */"]  # fmt: skip
    lines += dict.fromkeys(line for f in functions for line in f.kernel.preamble)
    lines += [f"#include <{h}>" for h in headers]
    lines += ["", '#include "kernels.h"', ""]
    texts = [f.text.rstrip() for f in functions]
    lines += [f"{text.rstrip()}\n" for text in [*_used(helpers, texts), *texts]]
    return "\n".join(lines)


def _used(helpers: Mapping[str, str], texts: Sequence[str]) -> list[str]:
    """The helpers that are called here: what calls others may be in another file."""
    words = {w for text in texts for w in re.findall(r"\w+", text)}
    found = []
    for name, text in reversed(list(helpers.items())):  # each stands after those that it calls
        if name in words:
            words.update(re.findall(r"\w+", text))
            found.append(text)
    return found[::-1]


def nameless(info: KernelInfo) -> str:
    """The loops without what is no part of them: the name, and what its sizes are called."""
    text = info.text.replace(f"def {info.name}(", "def (", 1)
    names = {s: f"$size{n}" for n, s in enumerate(info.symbols)}
    return re.sub(r"[A-Za-z_]\w*", lambda m: names.get(m[0], m[0]), text)


def place_of(info: KernelInfo) -> str:
    """What a kernel computes, and where: "encoder_layer_attention_self_linear".

    The places of repeated layers differ in numbers, which are left out where there are several.
    """
    operator = re.sub(r"^k\d+_", "", info.name)
    origins = [re.sub(r"^(model|transformer|bert)\.", "", o) for o in info.origin]
    plain = list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", "", o) for o in origins))
    if not plain:
        return operator
    place = origins[0] if len(origins) == 1 else plain[0]
    room = MOST - len("kernel__") - len(operator)
    if len(place) > room:  # of a long place the end says more, from where a word begins
        place = re.sub(r"^[^._]*[._]", "", place[-max(room, 1) :])
    return f"{place}_{operator}"


def _heading(infos: Sequence[KernelInfo]) -> str:
    info, *_ = infos
    origins = (o for x in infos for o in x.origin)
    places = list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".N", o) for o in origins))
    lines = [", ".join(map(comment, places))] if places else []
    lines += info.expression.splitlines()
    if info.schedule:
        lines.append(f"schedule: {info.schedule}")
    return "\n".join(lines) or re.sub(r"^k\d+_", "", info.name)
