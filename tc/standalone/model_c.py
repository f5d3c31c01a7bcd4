"""model.c and model.h: the model as tables, weights' places and calls, and the interface to it.

Both follow from one description, so they cannot differ. This module must not write files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources

from tc import __version__
from tc.codegen.c.text import float_literal
from tc.device.artifact import KernelCall, Place
from tc.frozen import frozen
from tc.ir.types import DType
from tc.standalone import lines
from tc.standalone.bake import definition, threshold
from tc.standalone.kernels import Kernels
from tc.standalone.names import Names, comment, identifier, string, told
from tc.standalone.spec import BATCH, Memory, ModelSpec, ProgramSpec, Rules
from tc.standalone.tables import ProgramText, dtype, shape_text
from tc.standalone.weights import Layout, fingerprint
from tc.target import Target

_COMMENT = """\
/* The model: where its weights lie, its programs as tables, and their steps as calls of kernels.
 *
 * runtime.c runs what stands here; kernels.h declares the kernels.
 */
"""


@dataclass(slots=True)
class Written:
    """A model as C."""

    model_c: str
    header: str
    kernels: Kernels


@dataclass(slots=True)
class _Weights:
    """Names of the arrays in the weights, and which storage of a program is which."""

    layout: Layout
    names: Names = field(default_factory=Names)

    def place(self, program: ProgramSpec) -> dict[int, str]:
        """Enter what a program reads; the C text of where each storage's array lies."""
        artifact = program.artifact
        found = {}
        known: dict[tuple[Place, int], str] = {}
        sources = _sources(program)
        for step in artifact.main:
            for b in step.buffers if isinstance(step, KernelCall) else ():
                storage = artifact.storages[b]
                key = (storage.place, storage.number)
                if storage.place not in (Place.PARAM, Place.PREPARED):
                    continue
                if key not in known:
                    known[key] = self._array(program.constants[b], sources[key], storage.dtype)
                found[b] = known[key]
        return found

    def _array(self, memory: Memory, name: str, dtype: DType) -> str:
        array = self.layout.array(name, memory, dtype, lambda name: self.names(f"w_{name}"))
        return f"(const void *){array.name}" if array.offset < 0 else f"weight(c, {array.name})"


def _sources(program: ProgramSpec) -> dict[tuple[Place, int], str]:
    """The name of every parameter, and of what is prepared that of the first one it is made of."""
    artifact = program.artifact
    found = {(Place.PARAM, n): info.name for n, info in enumerate(artifact.params)}
    for step in artifact.prepare:
        if isinstance(step, KernelCall):
            places = [
                (artifact.storages[b].place, artifact.storages[b].number) for b in step.buffers
            ]
            named = [found[p] for p in places if p in found]
            for place in places:
                made = f"{named[0].removesuffix('.packed')}.packed" if named else "prepared"
                found.setdefault(place, made)
    return {
        (s.place, s.number): found.get((s.place, s.number), "prepared") for s in artifact.storages
    }


@frozen
class Placed:
    """Where a model's weights lie.

    `mark` is the number of this layout, `texts` has the C text of each storage's place, by program.
    """

    layout: Layout
    mark: int
    texts: tuple[dict[int, str], ...]


def place_weights(model: ModelSpec, bake: object = "none") -> Placed:
    """The layout of a model's weights; `bake`: see `bake.threshold`."""
    weights = _Weights(Layout(threshold(bake, model)))
    texts = tuple(weights.place(program) for program in model.programs)
    arrays = weights.layout.arrays
    mark = fingerprint([model.name, *((a.name, a.offset, a.memory.bytes) for a in arrays)])
    return Placed(weights.layout, mark, texts)


def write_model(model: ModelSpec, placed: Placed) -> Written:
    """The texts of a model whose weights lie as `place_weights` has placed them.

    Raises:
        CompileError: sizes that are too large at the bounds.
    """
    artifacts = [program.artifact for program in model.programs]
    kernels = Kernels(Target.parse(model.target), artifacts)
    layout, mark = placed.layout, placed.mark
    body: list[str] = []
    temps = 0
    for program, arrays in zip(model.programs, placed.texts, strict=True):
        text = ProgramText(model, program, kernels, arrays.__getitem__)
        body += text.text()
        temps += text.temps
    made = [_COMMENT.rstrip(), "", '#include "runtime.h"', "", '#include "kernels.h"', ""]
    made += ["#include <math.h>", ""] if layout.baked else []
    if layout.arrays:
        made += ["/* Where each array begins in the weights, in bytes. */"]
        made += [f"static const size_t {a.name} = {a.offset};" for a in layout.arrays]
    for a in layout.baked:
        made += definition(a.name, a.memory, a.dtype)
    made += ["", *body, *_limits(model), *_generation(model), *_messages(kernels)]
    made += [*_description(model, kernels, temps), *_about(model, layout, mark)]
    return Written("\n".join(made), _header(model), kernels)


def _limits(model: ModelSpec) -> list[str]:
    fields = list(_fields(model).values())
    values = ", ".join([*map(str, model.bounds.values()), "1", "0"])
    made = ["/* --- limits */", "", "model_limits model_default_limits(void)", "{"]
    made += [f"    const model_limits limits = {{{values}}};", "    return limits;", "}", ""]
    head = "void model_limit_values(const model_limits *limits, int64_t *values)"
    made += [head, "{", *(f"    values[{n}] = limits->{f};" for n, f in enumerate(fields))]
    unused = [] if fields else ["    (void)limits;", "    (void)values;"]
    made += [*unused, "}", "", head.replace("limit_values(const ", "set_limits(").replace(
        "int64_t", "const int64_t"), "{"]  # fmt: skip
    made += [f"    limits->{f} = values[{n}];" for n, f in enumerate(fields)]
    made += [*unused, "}", ""]
    encoder = model.generation.encoder_limit if model.generation else None
    made += [f"const int32_t model_batch_limit = {model.limit_number(BATCH)};"]
    return [*made, f"const int32_t model_encoder_limit = {model.limit_number(encoder)};", ""]


def _fields(model: ModelSpec) -> dict[str, str]:
    names = Names()
    return {limit: names(limit) for limit in model.bounds}


def _generation(model: ModelSpec) -> list[str]:
    found = model.generation
    if found is None:
        return []
    made = ["/* --- generation */", ""]
    for program, roles in found.roles.items():
        made += lines.rows(f"static const role {program}_roles[]", [r.value for r in roles], "0")
    names = [f"{p}_roles" if p else "0" for p in (found.encoder, found.prompt, found.step)]
    numbers = [model.number(p) for p in (found.encoder, found.prompt, found.step)]
    items = [*map(str, numbers), *names, str(model.limit_number(found.limit)), str(found.start)]
    made += lines.rows("static const generation generates", items, "")
    made += [f"const int64_t model_vocabulary = {found.vocabulary};"]
    return [*made, *_rules(found.rules), ""]


def _rules(rules: Rules) -> list[str]:
    made, names = [], []
    for name in ("ends", "never", "not_first", "first", "last"):
        ids = getattr(rules, name)
        if ids:
            made += lines.rows(f"static const int64_t {name}_ids[]", map(str, ids), "")
        names.append(f"{{{f'{name}_ids' if ids else '0'}, {len(ids)}}}")
    penalty = float_literal(rules.penalty, double=False).text
    numbers = map(str, (rules.unrepeated, rules.least, rules.least_new))
    return made + lines.rows("const choice_rules model_rules", [penalty, *numbers, *names], "")


def _messages(kernels: Kernels) -> list[str]:
    made = ["/* --- what kernels can say of values */", ""]
    for n, messages in enumerate(kernels.messages):
        made += lines.rows(f"static const char *const messages_{n}[]", map(told, messages), "")
    rows = [f"messages_{n}" for n in range(len(kernels.messages))]
    return [*made, *lines.rows("static const char *const *const messages[]", rows, "0"), ""]


def _description(model: ModelSpec, kernels: Kernels, temps: int) -> list[str]:
    names = [p.name for p in model.programs]
    symbols = max(len(p.artifact.symbols) for p in model.programs)
    made = ["/* --- all of it */", ""]
    made += lines.rows("static const program *const programs[]", [f"&{n}" for n in names], "")
    items = [f"&{names[0]}", "programs", len(names), symbols, temps, len(kernels.messages) + 1,
             "messages", "&generates" if model.generation else "0"]  # fmt: skip
    made += lines.rows("const description model_description", map(str, items), "")
    return [*made, ""]


def _about(model: ModelSpec, layout: Layout, mark: int) -> list[str]:
    program = model.programs[0]
    made = []
    for what, names, infos in (("inputs", program.inputs, program.artifact.inputs),
                               ("outputs", program.outputs, program.artifact.outputs)):  # fmt: skip
        rows = [
            f"{{{string(n)}, {dtype(t.dtype)}, {len(t.shape)}, {string(shape_text(program, t))}}}"
            for n, t in zip(names, infos, strict=True)
        ]
        made += lines.rows(
            f"const model_tensor_info model_{what}[]", rows, '{"", MODEL_F32, 0, ""}'
        )
    rows = [string(limit) for limit in model.bounds]
    made += lines.rows("static const char *const limit_names[]", rows, '""')
    items = [string(model.name), string(model.target), string(__version__), f"UINT64_C({mark})"]
    items += [str(layout.bytes), str(len(model.bounds)), "limit_names"]
    return [*made, *lines.rows("const model_info model_about", items, ""), ""]


def runtime_text(name: str) -> str:
    """A file of the part that does not depend on the model."""
    return (resources.files("tc.standalone") / "runtime" / name).read_text(encoding="utf-8")


def _header(model: ModelSpec) -> str:
    program = model.programs[0]
    limits = [
        f"    int64_t {name}; /* at most {model.bounds[limit]} */"
        for limit, name in _fields(model).items()
    ]
    values = {
        "TITLE": comment(model.name),
        "TARGET": comment(model.target),
        "GENERATES": str(int(model.generation is not None)),
        "RANK": str(_most_dims(model)),
        "LIMITS": "\n".join(limits),
        "INPUTS": _numbers("INPUT", program.inputs),
        "OUTPUTS": _numbers("OUTPUT", program.outputs),
        "GENERATION": runtime_text("generation.h") if model.generation else "",
    }
    return fill(runtime_text("model.h"), values)


def _most_dims(model: ModelSpec) -> int:
    """The dims that there is room for in the description of a tensor."""
    artifacts = [program.artifact for program in model.programs]
    return max((8, *(len(t.shape) for a in artifacts for t in (*a.inputs, *a.outputs))))


def _numbers(kind: str, names: tuple[str, ...]) -> str:
    unique = Names()
    found = [f"MODEL_{kind}_{unique(identifier(n).upper())}" for n in names]
    return "\n".join(f"    {n}," for n in found)


def fill(text: str, values: dict[str, str]) -> str:
    """A text of `runtime/` with what its @NAMES@ stand for; lines that become empty go."""

    def filled(found: re.Match[str]) -> str:
        value = values[found[1]]
        return value + found[2] if value else ""

    return re.sub(r"@([A-Z]+)@(\n?)", filled, text)
