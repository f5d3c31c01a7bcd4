"""Tiles as functions: what becomes an argument, what cannot stand alone, and names that agree."""

from __future__ import annotations

import pytest

from tc.codegen.c.kernel import CKernel, _tile_text, render_kernel
from tc.codegen.c.module import join_kernels
from tc.codegen.c.tiles import renamed
from tc.ir.parser import parse_func
from tc.ir.passes import run_passes
from tc.target import Target

PRODUCT = """\
def {name}(A: f32[{depth} * M], B: f32[{depth} * 8 * N], C: out f32[M * 8 * N], \
M: sym[0, 64], N: sym[0, 64]):
    for n in range(N):
        for m in range(M):
            with acc = alloc(f32[8], register):
                for j in unroll(2):
                    for v in vector(4):
                        acc[j * 4 + v] = {first}
                for k in range({depth}):
                    for j in unroll(2):
                        for v in vector(4):
                            acc[j * 4 + v] = fma(A[m * {depth} + k], \
B[n * {depth} * 8 + k * 8 + j * 4 + v], acc[j * 4 + v])
                for j in unroll(2):
                    for v in vector(4):
                        C[m * 8 * N + n * 8 + j * 4 + v] = {last}
"""
SUM = "acc[j * 4 + v]"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tc.codegen.c.tiles.LEAST", 6)


def kernel(
    name: str = "product", depth: int = 16, first: str = "0.0:f32", last: str = SUM
) -> CKernel:
    text = PRODUCT.format(name=name, depth=depth, first=first, last=last)
    return render_kernel(run_passes(parse_func(text)), Target.parse("arm-neon"))


def test_where_operands_begin_is_an_argument() -> None:
    made = kernel()
    assert "tile_1x8(&A[m * 16], &B[at], &C[at" in made.text
    (text,) = made.tiles.values()
    assert "static void tile_1x8(const float *restrict a, const float *restrict b," in text
    assert "vld1q_f32(&b[k * 8 + 4])" in text and "vst1q_f32(&out[4], acc_1);" in text


def test_equal_tiles_of_several_kernels_are_one_function() -> None:
    text = join_kernels([kernel("first"), kernel("second")])
    assert text.count("static void tile_1x8(") == 1
    assert text.count("    tile_1x8(") == 2


def test_equal_tiles_are_rendered_once_whatever_they_are_parts_of() -> None:
    _tile_text.cache_clear()
    for room in ("", " + 64"):
        text = PRODUCT.format(name="product", depth=16, first="0.0:f32", last=SUM)
        text = text.replace("A: f32[16 * M]", f"A: f32[16 * M{room}]")
        render_kernel(run_passes(parse_func(text)), Target.parse("arm-neon"))
    assert (_tile_text.cache_info().hits, _tile_text.cache_info().misses) == (1, 1)


def test_other_tiles_of_the_same_shape_get_another_name() -> None:
    known: dict[str, str] = {}
    first, second = kernel(), kernel(depth=24)
    renamed(first.text, first.tiles, known)
    text, tiles = renamed(second.text, second.tiles, known)
    assert list(tiles) == ["tile_1x8_2"] and list(known) == ["tile_1x8", "tile_1x8_2"]
    assert "tile_1x8_2(&A[m * 24]" in text and "static void tile_1x8_2(" in tiles["tile_1x8_2"]
    again, _ = renamed(second.text, second.tiles, known)
    assert again == text and len(known) == 2


def test_what_a_tile_adds_to_is_read_and_written_through_one_argument() -> None:
    made = kernel(last=f"{SUM} + C[m * 8 * N + n * 8 + j * 4 + v]")
    (text,) = made.tiles.values()
    assert "float *out)" in text and "vld1q_f32(&out[4])" in text


def test_numbers_from_around_a_tile_are_arguments() -> None:
    made = kernel(last=f"{SUM} * cast(m + 1, f32)")
    (text,) = made.tiles.values()
    assert "float *out, int64_t n)" in " ".join(text.split()) and "(float)n" in text
    assert ", m + 1);" in made.text


def test_places_that_a_tile_reads_from_memory_are_read_there() -> None:
    made = kernel(first="A[cast(A[m], i64)]")
    (text,) = made.tiles.values()
    assert "tile_1x8(A, &A[m]" in made.text and "a[tc_i64_from_f32(b[0])]" in text


def test_what_is_read_elsewhere_than_it_is_written_leaves_a_tile_where_it_is() -> None:
    made = kernel(last=f"{SUM} + C[n * 8 + j * 4 + v]")
    assert not made.tiles


def test_a_length_from_around_a_tile_is_an_argument() -> None:
    text = PRODUCT.format(name="product", depth=16, first="0.0:f32", last=SUM)
    text = text.replace("for k in range(16)", "for k in range(min(m, 16))")
    made = render_kernel(run_passes(parse_func(text)), Target.parse("arm-neon"))
    (tile,) = made.tiles.values()
    assert "int64_t n)" in tile and "k < n;" in tile


WITHIN = """\
def within(A: f32[n], C: out f32[1], n: sym[0, 64]):
    with most = alloc(f32[1], register):
        most[0] = -inf:f32
        with acc = alloc(f32[8], register):
            for j in unroll(2):
                for v in vector(4):
                    acc[j * 4 + v] = -inf:f32
            for k in range(n // 8):
                for j in unroll(2):
                    for v in vector(4):
                        acc[j * 4 + v] = max(acc[j * 4 + v], A[k * 8 + j * 4 + v])
            for j in unroll(8):
                most[0] = max(most[0], acc[j])
        assert 0 < n, "nothing"
        C[0] = most[0]
"""


def test_a_tile_leaves_the_registers_of_others_where_they_are() -> None:
    made = render_kernel(run_passes(parse_func(WITHIN)), Target.parse("arm-neon"))
    assert not made.tiles and "most = -INFINITY;" in made.text
