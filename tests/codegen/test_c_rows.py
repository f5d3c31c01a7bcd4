"""Each row of the tables of vector instructions against its meaning, NEON emulated."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tc.codegen.c.compilers import MEANING, machine_flags
from tc.codegen.c.helpers import HELPERS, closure
from tc.codegen.c.instructions import ELEMENTS, Instruction, Isa
from tc.codegen.c.isa import isa_of
from tc.codegen.llvm.kernel import NUMPY
from tc.codegen.runs_here import check_runs_here
from tc.errors import CompileError
from tc.ir.interpret import run
from tc.ir.interpret.numeric import dot
from tc.ir.parser import parse_func
from tc.ir.types import BF16, F32, I32, DType
from tc.target import Target
from tests.codegen.c_programs import STRICT

Array = np.ndarray[Any, np.dtype[Any]]

TARGETS = (
    "generic", "arm-neon", "arm-neon+bf16+dotprod+i8mm", "x86-64-v2", "x86-64-v3",
    "x86-64-v4+avx512bf16+avx512vnni",
)  # fmt: skip
TRIALS = 12
SHIFT = 5
APART = 3
ROOM = 512  # bytes for each operand
TYPES = {t.value: t for t in DType}
parsed = cache(parse_func)  # each text is run on many operands


def element(operand: str) -> DType:
    """The element type of an operand."""
    name = operand.rstrip("*")
    if name in ELEMENTS:
        return ELEMENTS[name][0]
    return TYPES[name.removesuffix("1") if name.endswith("1") and name not in TYPES else name]


def is_scalar(operand: str) -> bool:
    return operand not in ELEMENTS and not operand.endswith("*")


def lanes(row: Instruction, isa: Isa) -> int:
    """How many lanes the row is about: those of its result, or of what it stores."""
    kinds = [row.result, *row.operands[::-1]]
    return next(isa.count(k) for k in kinds if k in ELEMENTS)


def size(row: Instruction, operand: str, count: int, isa: Isa) -> int:
    """How many elements an operand has, of a row about so many lanes."""
    if row.op == "load_apart" and operand.endswith("*"):
        return APART * count
    return 1 if is_scalar(operand) else isa.count(operand) if operand in ELEMENTS else count


def c_function(row: Instruction, number: int, isa: Isa) -> str:
    lines, names = [], {}
    for name, operand in zip("abc", row.operands, strict=False):
        if operand.endswith("*"):
            kind = element(operand).value
            const = "" if row.op == "store" else "const "
            names[name] = f"({const}{_c(kind)} *){name}"
        elif is_scalar(operand):
            lines.append(f"{_c(element(operand).value)} {name}_;")
            names[name] = f"{name}_"
        elif operand == "m32":
            lines.append(f"const {isa.types['m32']} {name}_ = mask({name});")
            names[name] = f"{name}_"
            continue
        else:
            lines.append(f"{isa.types[operand]} {name}_;")
            names[name] = f"{name}_"
        if not operand.endswith("*"):
            lines.append(f"memcpy(&{name}_, {name}, sizeof {name}_);")
    if row.op in ("shl", "shr"):
        names["b"] = str(SHIFT)  # an instruction with the number in it
    text = row.c.format(**names)
    if not row.result:
        lines.append(f"{text};")
    elif row.result == "m32":
        lines.append(f"unmask(out, {text});")
    else:
        kind = isa.types.get(row.result) or _c(element(row.result).value)
        lines += [f"const {kind} r = {text};", "memcpy(out, &r, sizeof r);"]
    unused = [f"(void){n};" for n in ("out", "a", "b", "c")]
    body = "\n    ".join([*unused, *lines])
    return f"static void row_{number}(void *out, void *a, void *b, void *c)\n{{\n    {body}\n}}\n"


def _c(kind: str) -> str:
    return {
        "f32": "float", "f64": "double", "bf16": "uint16_t", "f16": "uint16_t", "bool": "uint8_t",
        "u8": "uint8_t", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    }[kind]  # fmt: skip


def program(isa: Isa) -> str:
    helpers = {**HELPERS, **isa.helpers}
    mask = isa.row("mask", "i32", result="m32")
    load = isa.row("load", "i32*", result="i32")
    choose = isa.row("select", "m32", "i32", "i32", result="i32")
    ones = isa.row("broadcast", "i321", result="i32")
    store = isa.row("store", "i32*", "i32")
    assert mask and load and choose and ones and store
    used = [h for h in isa.types.values() if h in helpers]
    used += [h for r in isa.table for h in r.helpers]
    headers = [*([isa.header] if isa.header else []), *(f"{h}.h" for h in HEADERS)]
    parts = [f"#include <{h}>" for h in headers]
    parts += [h.text for h in closure(used, helpers).values()]
    loaded = mask.c.format(a=load.c.format(a="(const int32_t *)p"))
    chosen = choose.c.format(a="m", b=ones.c.format(a="1"), c=ones.c.format(a="0"))
    parts += [
        f"static {isa.types['m32']} mask(const void *p) {{ return {loaded}; }}",
        f"static void unmask(void *p, {isa.types['m32']} m)\n"
        f"{{ {store.c.format(a='(int32_t *)p', b=chosen)}; }}",
        *(c_function(r, n, isa) for n, r in enumerate(isa.table)),
        f"static unsigned char blocks[4][{ROOM}];",
        "int main(void)\n{\n    int32_t row;",
        "    while (fread(&row, sizeof row, 1, stdin) == 1) {",
        f"        if (fread(blocks[1], {ROOM}, 3, stdin) != 3) return 1;",
        "        switch (row) {",
        *(
            f"        case {n}: row_{n}(blocks[0], blocks[1], blocks[2], blocks[3]); break;"
            for n in range(len(isa.table))
        ),
        "        default: return 2;\n        }",
        f"        fwrite(blocks, {ROOM}, 2, stdout);\n    }}\n    return 0;\n}}\n",
    ]
    return "\n".join(parts)


HEADERS = ("math", "stdbool", "stdint", "stdio", "string")


def numbers(rng: np.random.Generator, dtype: DType, count: int, row: Instruction) -> Array:
    """Operands: odd floats but where the meaning leaves open what they give."""
    if dtype is BF16 or str(dtype) == "f16":
        plain = (rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)).astype(np.float32)
        if dtype is BF16:
            return (plain.view(np.uint32) >> 16).astype(np.uint16)
        return plain.astype(np.float16)
    if dtype.is_float:
        x = (rng.standard_normal(count) * 10.0 ** rng.integers(-6, 7, count)).astype(NUMPY[dtype])
        if row.op not in ("cast", "reduce_add", "narrow_f16") and not row.op.startswith(
            ("re", "dot")
        ):
            x[rng.random(count) < 0.2] = np.nan
            x[rng.random(count) < 0.1] = np.inf
            x[rng.random(count) < 0.1] = -np.inf
            x[rng.random(count) < 0.1] = -0.0
            x[rng.random(count) < 0.1] = -0.3
            x[rng.random(count) < 0.1] = 1e-41
        return x
    if str(dtype) == "bool":
        return rng.random(count) < 0.5
    if row.op in ("shl", "shr") and count == 1:
        return np.array([SHIFT], np.int32)
    if row.op == "load_apart":
        return np.array([APART])
    info = np.iinfo(NUMPY[dtype])
    if str(dtype) == "i64":
        return rng.integers(-3, 20, count)
    small = row.op.startswith("dot7") and str(dtype) == "u8"
    low, high = (0, 128) if small else (info.min, info.max + 1)
    x = rng.integers(low, high, count).astype(NUMPY[dtype])
    x[rng.random(count) < 0.2] = 0
    if row.op.startswith("widen"):
        return (
            numbers(rng, BF16 if "bf16" in row.op else TYPES["f16"], count, row)
            .view(np.uint16)
            .astype(np.int32)
        )
    return x


def meaning(row: Instruction, operands: list[Array], count: int) -> Array:
    """What the row is said to compute."""
    if row.meaning.startswith("dot"):
        a, b, c = operands
        lane = re.match(r"dot_lane(\d)", row.meaning)
        if lane:  # the elements of one lane, in every lane
            a = np.tile(a.reshape(count, -1)[int(lane[1])], count)
        if a.dtype == np.uint16:
            a, b = ((x.astype(np.uint32) << 16).view(np.float32) for x in (a, b))
            return np.asarray(dot(a, b, c, F32))
        return np.asarray(dot(a, b, c, I32))
    if row.meaning.startswith("lanes_"):
        step: Callable[[Array, Array], Array] = {
            "lanes_add": np.add, "lanes_max": np.maximum, "lanes_min": np.minimum,
        }[row.meaning.partition("(")[0]]  # fmt: skip
        x = operands[0]
        while len(x) > 1:
            x = step(x[: len(x) // 2], x[len(x) // 2 :])
        return x
    if row.op == "bitcast":
        return operands[0].view(NUMPY[element(row.result)])
    if row.op == "any":
        return np.array([operands[0].any()])
    params = []
    for name, operand, data in zip("abc", row.operands, operands, strict=False):
        params.append(f"{name}: {element(operand)}[{len(data)}]")
    result = element(row.result or row.operands[0])
    func = parsed(
        f"def row({', '.join(params)}, out: out {result}[{count}]):\n"
        f"    for l in range({count}):\n        out[l] = {row.meaning}\n"
    )
    arrays = dict(zip("abc", operands, strict=False))
    out = np.zeros(count, NUMPY[result])
    run(func, {**arrays, "out": out}, {})
    return out


@pytest.mark.parametrize("text", TARGETS)
def test_every_row_computes_its_meaning(text: str, tmp_path: Path) -> None:
    target = Target.parse(text)
    isa = isa_of(target)
    assert isa is not None
    source, out = tmp_path / "rows.c", tmp_path / "rows"
    source.write_text(program(isa))
    foreign = target.arch == "aarch64" and not Path("/lib/ld-linux-aarch64.so.1").exists()
    compiler = ["aarch64-linux-gnu-gcc", "-static"] if foreign else ["gcc"]
    command = ["qemu-aarch64", str(out)] if foreign else [str(out)]
    for tool in (compiler[0], command[0]) if foreign else compiler[:1]:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    words = [
        *compiler,
        *STRICT,
        *MEANING,
        *machine_flags(target),
        "-O2" if isa.name == "plain" else "-O1",  # what compilers make of lanes one by one
        str(source),
        "-o",
        str(out),
    ]
    done = subprocess.run([*words, "-lm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    if not foreign:
        try:
            check_runs_here(target)
        except CompileError as error:
            pytest.skip(error.message)
    rng = np.random.default_rng(5)
    trials = []
    for number, row in enumerate(isa.table):
        count = lanes(row, isa)
        for _ in range(TRIALS):
            operands = [
                numbers(rng, element(o), size(row, o, count, isa), row) for o in row.operands
            ]
            trials.append((number, row, count, operands))
    given = b"".join(
        np.int32(number).tobytes() + b"".join(block(o, d) for o, d in padded(row, operands))
        for number, row, _, operands in trials
    )
    found = subprocess.run(
        command, input=given, capture_output=True, timeout=100, check=True
    ).stdout
    for n, (_, row, count, operands) in enumerate(trials):
        compare(row, count, operands, found[2 * n * ROOM : 2 * (n + 1) * ROOM])


def padded(row: Instruction, operands: list[Array]) -> list[tuple[str, Array]]:
    empty = np.zeros(0, np.uint8)
    return [*zip(row.operands, operands, strict=True), *[("u8*", empty)] * (3 - len(operands))]


def block(operand: str, data: Array) -> bytes:
    """An operand as the program takes it: a mask is an i32 for each lane."""
    return (data.astype(np.int32) if operand == "m32" else data).tobytes().ljust(ROOM, b"\0")


def compare(row: Instruction, count: int, operands: list[Array], found: bytes) -> None:
    wanted = meaning(row, operands, count)
    if row.op == "store":
        kind = operands[0].dtype
        got = np.frombuffer(found[ROOM:], kind)[:count]
        if "m32" in row.operands:
            wanted = np.where(operands[2], wanted, operands[0])
    elif row.result == "m32":
        got = np.frombuffer(found, np.int32)[:count] != 0
    else:
        got = np.frombuffer(found, wanted.dtype)[: len(wanted)]
    if row.feature in ("bf16", "avx512bf16"):  # rounds once for each pair, in a way of its own
        size = float(np.abs(wanted).max())
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * size, err_msg=f"{row}")
    else:
        np.testing.assert_array_equal(got, wanted, err_msg=f"{row}")
        if wanted.dtype.kind == "f" and row.op not in ("max", "min"):
            zeros = wanted == 0
            signs = (np.signbit(x[zeros]) for x in (got, wanted))
            np.testing.assert_array_equal(*signs, err_msg=f"{row}")
