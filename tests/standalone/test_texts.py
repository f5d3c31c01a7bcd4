"""Names, sizes and checksums of exported models, by themselves."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tc.codegen.c.text import identifier as function_name
from tc.device.dims import compile_dim
from tc.errors import CompileError
from tc.ir.types import DType
from tc.standalone import lines
from tc.standalone.model_c import fill
from tc.standalone.names import MOST, Names, comment, identifier, string, told
from tc.standalone.sizes import Symbols, product, size
from tc.standalone.spec import Memory
from tc.standalone.weights import Checksum, Layout, write


@given(st.text(max_size=200))
def test_no_name_breaks_out(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z]\w*", identifier(name), re.ASCII)
    assert len(identifier(name)) <= MOST
    inside = comment(name)
    assert "*/" not in inside and "\n" not in inside and inside.isascii()
    assert re.fullmatch(r'"(?:[^"\\\n]|\\["\\?]|\\[0-7]{3})*"', string(name))
    assert "??" not in string(name)


@pytest.mark.parametrize(
    "name", ["for", "int", "*/ int x; /*", '"', "a\nb", "", "9", "é", "int8_t"]
)
def test_names_that_c_has_another_use_for(name: str) -> None:
    made = identifier(name)
    assert made not in ("for", "int", "int8_t", "") and made.isidentifier() and made.isascii()


def test_equal_names_are_told_apart() -> None:
    names = Names()
    assert [names("a.b"), names("a_b"), names("a b")] == ["a_b", "a_b_2", "a_b_3"]


def test_long_names_stay_apart_where_code_shortens_names() -> None:
    names = Names()
    made = [names(f"kernel_{'encoder_' * 20}linear") for _ in range(12)]
    assert len(set(made)) == len({function_name(name) for name in made}) == 12
    assert [function_name(name) for name in made] == made
    assert max(map(len, made)) == MOST


def test_what_an_error_says_is_one_line_of_whole_letters() -> None:
    assert told('of a "long"\n  text') == string('of a "long" text')
    assert told("x" + "é" * 300) == string("x" + "é" * 119)


def test_no_name_is_filled_in() -> None:
    assert fill("/* @TITLE@ */\n@LIMITS@\nend", {"TITLE": "@LIMITS@", "LIMITS": ""}) == (
        "/* @LIMITS@ */\nend"
    )


SYMBOLS = Symbols({"s0": "a", "s1": "b"}, {"s0": 1, "s1": 1}, {"s0": 8, "s1": 100})


@pytest.mark.parametrize(
    ("dim", "text", "grows"),
    [
        (7, "7", True),
        ("s0", "a", True),
        ("s0 * 4 * s1", "(a * 4 * b)", True),
        ("(s1 + 15) // 16 * 16", "(((b + 15) / 16) * 16)", True),
        ("s0 - s1", "(a - b)", False),
        ("(s0 - 9) // 2", "div_floor((a - 9), 2)", True),
        ("s0 % 4", "(a % 4)", False),
        ("min(s0, s1)", "min_size(a, b)", True),
        ("100 // s0", "(100 / a)", False),
        ("select(s0 < 3, s0, s1)", "((a < 3) ? a : b)", False),
    ],
)
def test_sizes_in_c(dim: int | str, text: str, grows: bool) -> None:
    found = size(dim, SYMBOLS)
    assert (found.text, found.grows) == (text, grows)
    evaluate = compile_dim(dim, ("s0", "s1"))
    values = [evaluate((a, b)) for a in (1, 2, 5, 8) for b in (1, 3, 64, 100)]
    assert found.low <= min(values) and max(values) <= found.high


def test_sizes_beyond_memory_are_refused() -> None:
    wide = Symbols({"s": "s"}, {"s": 1}, {"s": 1 << 31})
    with pytest.raises(CompileError, match="smaller max_batch"):
        product(("s", "s", "s"), 4, wide)
    with pytest.raises(CompileError, match="smaller max_batch"):
        size("min(s * s * s, 9)", wide)
    with pytest.raises(CompileError, match="may divide by zero"):
        size("s // (s - 1)", wide)


def test_the_checksum_is_the_one_of_the_c_code() -> None:
    """As `runtime/weights.c` has it, word by word."""
    data = np.random.default_rng(0).integers(0, 256, 64 * 9 + 56, np.uint8).tobytes()
    found = Checksum()
    found.add(data[: 64 * 4])
    found.add(data[64 * 4 :])
    prime, basis, mask = 1099511628211, 14695981039346656037, 2**64 - 1
    lanes = [(basis + k) & mask for k in range(8)]
    for n in range(len(data) // 8):
        word = int.from_bytes(data[8 * n : 8 * n + 8], "little")
        lanes[n % 8] = (lanes[n % 8] * prime + word) & mask
    total = basis
    for lane in lanes:
        total = (total * prime + (lane ^ lane >> 32)) & mask
    assert found.value() == total


class Writes(io.BytesIO):
    """A file that remembers the length of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def write(self, data: Any) -> int:
        self.lengths.append(len(data))
        return super().write(data)


@pytest.mark.parametrize("rest", [0, 64, 100])
def test_the_file_is_written_in_whole_blocks(rest: int) -> None:
    block = 1 << 22
    sizes = (block // 2 - 64, 100, 2 * block, block // 2 - 128 + rest)
    arrays = [np.full(size, n + 1, np.uint8) for n, size in enumerate(sizes)]
    layout = Layout()
    places = [
        layout.array(f"a{n}", Memory(a.ctypes.data, a.nbytes, a), DType.U8, str).offset
        for n, a in enumerate(arrays)
    ]
    file = Writes()
    write(file, layout, 7)
    assert file.lengths[:3] == [block] * 3 and file.lengths[-1] == 64
    made = file.getvalue()
    assert len(made) == layout.bytes and made[:8] == b"tcweight"
    for place, array in zip(places, arrays, strict=True):
        assert made[place : place + array.nbytes] == array.tobytes()
    whole = Checksum()
    whole.add(made[64:])
    assert int.from_bytes(made[32:40], "little") == whole.value()


def test_long_calls_and_rows_are_broken() -> None:
    made = lines.call("f", [f"argument_{n}" for n in range(40)], ";", "    ")
    assert len(made) > 3 and max(map(len, made)) <= lines.WIDTH
    made = lines.rows("static const int x[]", map(str, range(100)), "0")
    assert made[-1] == "};" and max(map(len, made)) <= lines.WIDTH
    assert lines.rows("int x[]", [], "0") == ["int x[] = {0};"]
