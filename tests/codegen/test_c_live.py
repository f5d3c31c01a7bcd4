"""What is left of the lines of a function: those that something needs."""

from __future__ import annotations

import pytest

from tc.codegen.c.live import chained, live


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (["const float t = a[0];", "out[0] = a[1];"], ["out[0] = a[1];"]),
        (["const float t = a[0];", "const float u = t;", "out[0] = 1;"], ["out[0] = 1;"]),
        (["float x[8];", "for (int l = 0; l < 8; l++) {", "  x[l] = a[l];", "}"], []),
        (["float x[2];", "x[0] = 1;", "if (b) {", "  x[1] = 2;", "}", "y[0] = 3;"], ["y[0] = 3;"]),
    ],
)
def test_what_nothing_reads_goes(lines: list[str], kept: list[str]) -> None:
    numbered = [(len(line) - len(line.lstrip()), line.strip()) for line in lines]
    assert [line for _, line in live(numbered)] == kept


@pytest.mark.parametrize(
    "lines",
    [
        ["out[0] = 1;"],
        ["float x[8];", "x[0] = 1;", "out[0] = x[0];"],
        ["float x[8];", "x[0] = 1;", "x[0] = x[0] + 1;", "f(x);"],
        ["float x[8];", "f(&x[0]);"],
        ["const float *restrict x = out;", "x[0] = 1;"],
        ["for (int l = 0; l < 8; l++) {", "  out[l] = 0;", "}"],
    ],
)
def test_what_is_read_or_may_be_stays(lines: list[str]) -> None:
    numbered = [(len(line) - len(line.lstrip()), line.strip()) for line in lines]
    assert live(numbered) == numbered


def test_equal_literals_are_assigned_together() -> None:
    lines = ["a = vdupq_n_f32(0.0f);", "b = vdupq_n_f32(0.0f);", "c = 1;", "d = 1;", "x[0] = 1;",
             "e = f(p);", "g = f(p);", "h = -INFINITY;", "  i = -INFINITY;"]  # fmt: skip
    numbered = [(len(line) - len(line.lstrip()), line.strip()) for line in lines]
    assert [line for _, line in chained(numbered)] == [
        "a = b = vdupq_n_f32(0.0f);", "c = d = 1;", "x[0] = 1;", "e = f(p);", "g = f(p);",
        "h = -INFINITY;", "i = -INFINITY;",
    ]  # fmt: skip
