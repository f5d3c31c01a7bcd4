"""One program in C: its tables, the functions of its sizes, and its steps as calls of kernels.

This module must not render a kernel, nor decide where a weight lies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby

from tc.device.artifact import KernelCall, Place, Storage, TensorInfo, turns
from tc.device.dims import Dim
from tc.frozen import frozen
from tc.ir.types import DType
from tc.standalone import lines
from tc.standalone.kernels import Kernels
from tc.standalone.names import Names, comment, string
from tc.standalone.sizes import Symbols, planned, product, size
from tc.standalone.spec import ModelSpec, ProgramSpec

Lines = list[str]


@frozen
class Temp:
    """A temporary: its storages, and the first and last step that uses it."""

    storages: tuple[Storage, ...]
    first: int
    last: int


class ProgramText:
    """Writes one program."""

    def __init__(
        self, model: ModelSpec, program: ProgramSpec, kernels: Kernels, weight: Callable[[int], str]
    ) -> None:
        """`weight`: from a storage's number to the C text of where its array lies."""
        self._model = model
        self._program = program
        self._artifact = program.artifact
        self._kernels = kernels
        self._weight = weight
        names = Names()
        self._variables = {
            s.name: names(program.labels.get(s.name, s.name)) for s in self._artifact.symbols
        }
        self._bounds = {s.name: (s.low, self._high(s.name)) for s in self._artifact.symbols}
        self._temps = _temps(program)

    @property
    def temps(self) -> int:
        """How many temporaries it has."""
        return len(self._temps)

    def text(self) -> Lines:
        """Everything."""
        name, artifact = self._program.name, self._artifact
        made = [f"/* --- {name} */", ""]
        made += self._tables()
        for info in (*artifact.inputs, *artifact.outputs):
            product(info.shape, info.dtype.bytes, self._symbols)  # which C counts in 64 bits
        positions = [p.size for p in self._program.positions]
        for what, dims in (
            ("input_sizes", [d for t in artifact.inputs for d in t.shape]),
            ("output_sizes", [d for t in artifact.outputs for d in t.shape]),
            ("position_sizes", positions),
        ):
            values = [self._size(d) for d in dims]
            made += self._function(f"static void {name}_{what}", "sizes", values)
        values = [self._temp_bytes(t) for t in self._temps.values()]
        made += self._function(f"static void {name}_temp_bytes", "bytes", values)
        made += self._scratch()
        made += self._steps()
        return [*made, *self._program_row()]

    # --- tables

    def _tables(self) -> Lines:
        name, artifact, ids = self._program.name, self._artifact, self._program.ids
        inputs = [
            self._tensor_row(n, t, ids.get(k, 0))
            for k, (n, t) in enumerate(zip(self._program.inputs, artifact.inputs, strict=True))
        ]
        outputs = [
            self._tensor_row(n, t, 0)
            for n, t in zip(self._program.outputs, artifact.outputs, strict=True)
        ]
        life = [f"{{{t.first}, {t.last}}}" for t in self._temps.values()]
        at = [f"{{{p.input}, {p.dim}, {p.maximum}}}" for p in self._program.positions]
        symbols = [self._symbol_row(s.name) for s in artifact.symbols]
        no_symbol, no_tensor = '{"", 0, 0, -1, -1, 0}', '{"", MODEL_F32, 0, 0}'
        made = lines.rows(f"static const symbol_row {name}_symbols[]", symbols, no_symbol)
        made += lines.rows(f"static const tensor_row {name}_inputs[]", inputs, no_tensor)
        made += lines.rows(f"static const tensor_row {name}_outputs[]", outputs, no_tensor)
        made += lines.rows(f"static const lifetime {name}_life[]", life, "{0, 0}")
        made += lines.rows(f"static const position_row {name}_positions[]", at, "{0, 0, 0}")
        return [*made, ""]

    def _tensor_row(self, name: str, info: TensorInfo, ids: int) -> str:
        return f"{{{string(name)}, {dtype(info.dtype)}, {len(info.shape)}, {ids}}}"

    def _symbol_row(self, symbol: str) -> str:
        label = self._program.labels.get(symbol, symbol)
        limit = self._model.limit_number(self._program.limits.get(label))
        low, high = self._bounds[symbol]
        where = next(
            (
                (n, axis)
                for n, info in enumerate(self._artifact.inputs)
                for axis, dim in enumerate(info.shape)
                if dim == symbol
            ),
            (-1, 0),
        )
        return f"{{{string(label)}, {low}, {high}, {limit}, {where[0]}, {where[1]}}}"

    def _high(self, symbol: str) -> int:
        info = next(s for s in self._artifact.symbols if s.name == symbol)
        limit = self._program.limits.get(self._program.labels.get(symbol, symbol))
        return min(info.high, self._model.bounds[limit]) if limit is not None else info.high

    def _program_row(self) -> Lines:
        name, artifact = self._program.name, self._artifact
        counts = (len(artifact.symbols), len(artifact.inputs), len(artifact.outputs), self.temps,
                  len(self._program.positions))  # fmt: skip
        tables = ("symbols", "inputs", "outputs", "life", "positions")
        functions = ("input_sizes", "output_sizes", "temp_bytes", "position_sizes", "scratch",
                     "steps")  # fmt: skip
        items = [string(name), *map(str, counts), *(f"{name}_{t}" for t in (*tables, *functions))]
        return [*lines.rows(f"static const program {name}", items, ""), ""]

    # --- sizes

    @property
    def _symbols(self) -> Symbols:
        low = {name: bounds[0] for name, bounds in self._bounds.items()}
        high = {name: bounds[1] for name, bounds in self._bounds.items()}
        return Symbols(self._variables, low, high)

    def _size(self, dim: Dim) -> str:
        return size(dim, self._symbols).text

    def _temp_bytes(self, temp: Temp) -> str:
        texts: dict[str, None] = {}
        for storage in temp.storages:
            bytes_ = product(storage.shape, storage.dtype.bytes, self._symbols)
            texts[bytes_.text if bytes_.grows else str(bytes_.high)] = None
        first, *rest = texts
        for text in rest:
            first = f"max_size({first}, {text})"
        return first

    def _function(self, head: str, array: str, values: Sequence[str]) -> Lines:
        """A function that fills an array with sizes."""
        made = [f"{head}(const int64_t *s, int64_t *{array})", "{"]
        made += self._declared(values, "s", ("s", array) if not values else ())
        for n, value in enumerate(values):
            made += lines.statement(f"{array}[{n}]", _bare(value))
        return [*made, "}", ""]

    def _declared(self, values: Sequence[str], source: str, unused: Sequence[str] = ()) -> Lines:
        """The symbols that values read, as variables."""
        text = _words(values)
        found = [
            f"    const int64_t {variable} = {source}[{n}];"
            for n, variable in enumerate(self._variables.values())
            if variable in text
        ]
        if not found and source == "s":
            unused = tuple(dict.fromkeys((*unused, "s")))
        return [*found, *(f"    (void){name};" for name in unused), ""]

    def _scratch(self) -> Lines:
        """The scratch memory of a thread: the most that a kernel wants."""
        found: dict[str, None] = {}
        for call in self._calls:
            info = self._artifact.kernels[call.kernel]
            if info.scratch != 0:
                found[self._scratch_of(call, info.scratch, info.symbols)] = None
        made = [f"static int64_t {self._program.name}_scratch(const int64_t *s)", "{"]
        made += self._declared(list(found), "s")
        made += ["    int64_t most = 0;"]
        for text in found:
            made += lines.statement("most", f"max_size(most, {text})")
        return [*made, "    return most;", "}", ""]

    def _scratch_of(self, call: KernelCall, scratch: Dim, names: Sequence[str]) -> str:
        """A kernel's scratch memory over the program's symbols."""
        sizes = {
            name: size(dim, self._symbols) for name, dim in zip(names, call.sizes, strict=True)
        }
        grows = all(s.grows for s in sizes.values())
        inner = Symbols(
            {name: s.text for name, s in sizes.items()},
            {name: s.low for name, s in sizes.items()},
            {name: s.high for name, s in sizes.items()},
        )
        return planned(scratch, inner) if grows else str(size(scratch, inner).high)

    # --- steps

    @property
    def _calls(self) -> list[KernelCall]:
        return [s for s in self._artifact.main if isinstance(s, KernelCall)]

    def _steps(self) -> Lines:
        body: Lines = []
        looped = any(call.loop for call in self._calls)
        for loop, run in groupby(enumerate(self._calls), lambda numbered: numbered[1].loop):
            if loop is None:
                for n, call in run:
                    body += self._step(call, " " * 4)
                    if n + 1 < len(self._calls):
                        body.append(f"    step_end(c, team, {'ended++' if looped else n});")
                continue
            times = self._size(loop.times)
            body.append(f"    for (int64_t turn = 0; turn < {times}; turn++) {{")
            for _, call in run:
                body += [*self._step(call, " " * 8), "        step_end(c, team, ended++);"]
            body.append("    }")
        head = f"static void {self._program.name}_steps"
        made = [f"{head}(const call *c, int64_t tid, int64_t team)", "{"]
        made += self._declared(body, "c->symbols")[:-1]
        made += ["    unsigned char *const scratch = c->scratch + tid * c->scratch_bytes;"]
        made += ["    int32_t *const errors = c->errors + tid * c->checks;"]
        if "unchecked" in _words(body):
            made += ["    int32_t *const unchecked = &errors[c->checks - 1];"]
        made += ["    int64_t ended = 0;", ""] if looped else [""]
        return [*made, *body, "}", ""]

    def _step(self, call: KernelCall, indent: str) -> Lines:
        function = self._kernels.function(self._artifact, call.kernel)
        error = "unchecked" if function.check is None else f"&errors[{function.check}]"
        buffers = [self._pointer(b) for b in call.buffers]
        index = None if call.loop is None else call.loop.index
        sizes = ["turn" if d == index else self._size(d) for d in call.symbols]
        arguments = [*buffers, *sizes, "tid", "team", "scratch", error]
        return lines.call(function.name, arguments, ";", indent)

    def _pointer(self, storage: int) -> str:
        found = self._artifact.storages[storage]
        match found.place:
            case Place.INPUT:
                return f"c->inputs[{found.number}]"
            case Place.OUTPUT:
                return f"c->outputs[{found.number}]"
            case Place.TEMP:
                return f"temp(c, {list(self._temps).index(found.number)})"
        return self._weight(storage)


def _temps(program: ProgramSpec) -> dict[int, Temp]:
    """The temporaries by number, in the order of first use."""
    storages = program.artifact.storages
    found: dict[int, Temp] = {}
    calls = [s for s in program.artifact.main if isinstance(s, KernelCall)]
    for call, (first, last) in zip(calls, turns(calls), strict=True):
        for b in call.buffers:
            storage = storages[b]
            if storage.place is not Place.TEMP:
                continue
            known = found.get(storage.number, Temp((), first, last))
            held = dict.fromkeys((*known.storages, storage))
            found[storage.number] = Temp(tuple(held), known.first, last)
    return found


def _words(texts: Sequence[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w+", text)}


def _bare(text: str) -> str:
    """An expression without parentheses around all of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for n, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return text[1:-1] if n + 1 == len(text) else text
    return text


def dtype(kind: DType) -> str:
    """The name of an element type in model.h."""
    return f"MODEL_{kind.value.upper()}"


def shape_text(program: ProgramSpec, info: TensorInfo) -> str:
    """A shape as users read it: "batch, length, 768"."""
    text = ", ".join(map(str, info.shape))
    return comment(re.sub(r"\w+", lambda m: program.labels.get(m[0], m[0]), text))
