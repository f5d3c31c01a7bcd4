"""What operators do at the edges of their types and shapes: compiled programs beside eager."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as everyone calls it)
from torch import nn

import tc

# What a row refuses runs eagerly, which is right too.
pytestmark = pytest.mark.filterwarnings("ignore:.*runs eagerly")

NAN, INF = math.nan, math.inf


class Each(nn.Module):
    """Functions of the same tensors as one program."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *args: torch.Tensor) -> list[Any]:
        return [fn(*args) for fn in self.functions]


def check(functions: Sequence[Callable[..., Any]], *args: torch.Tensor, rtol: float = 0) -> None:
    model = Each(*functions)
    with torch.no_grad():
        made = tc.compile(model, threads=1, dynamic=False)
        got, want = made(*args), model(*args)
    assert made.stats()["compilations"]
    torch.testing.assert_close(got, want, rtol=rtol, atol=0, equal_nan=True)


def in_types(fn: Callable[..., Any], *dtypes: torch.dtype) -> Callable[..., Any]:
    return lambda *args: [fn(*(x.to(dtype) for x in args)) for dtype in dtypes]


VALUES: Final = (NAN, INF, -INF, -0.0, 0.0, 1.0, -1.0, 2.5, -2.5, 0.7, 0.3, 1e30)
INTEGERS: Final = (torch.int64, torch.int32, torch.int8, torch.uint8)


def pairs(*values: float) -> list[torch.Tensor]:
    """Each value with each, and tenths, which are no whole multiples of a tenth."""
    given = torch.tensor(values, dtype=torch.float64)
    tenths = torch.arange(1, 60) / torch.tensor(10.0, dtype=torch.float64)
    sides = torch.meshgrid(given, given, indexing="ij")
    return [torch.cat([side.flatten(), more]) for side, more in
            zip(sides, (tenths, torch.full_like(tenths, 0.1)), strict=True)]  # fmt: skip


def test_quotients_and_others_of_floats() -> None:
    def truncated(a: torch.Tensor, b: torch.Tensor) -> Any:
        return torch.div(a, b, rounding_mode="trunc"), torch.div(a, 0.3, rounding_mode="trunc")

    def rests(a: torch.Tensor, b: torch.Tensor) -> Any:
        return torch.fmod(a, b), torch.remainder(a, b), torch.fmod(a, 7.0), a % -0.3

    def others(a: torch.Tensor, b: torch.Tensor) -> Any:
        return torch.heaviside(a, b), torch.hypot(a, b), F.softshrink(a), a // 0.1

    check(
        (
            in_types(torch.floor_divide, torch.float32, torch.float64),
            in_types(truncated, torch.float32, torch.bfloat16),
            in_types(others, torch.float32),
            in_types(rests, torch.float32, torch.bfloat16),
        ),
        *pairs(*VALUES),
        rtol=1e-6,
    )


def test_numbers_beside_half_precision() -> None:
    """They are rounded to the type of the tensor first, unless they are factors or divisors."""

    def functions(x: torch.Tensor, n: torch.Tensor) -> Any:
        third = 1 / 3
        tests = x == 0.3, x <= 0.3, x > third, x == torch.tensor(0.3)
        sums = x + 0.3, third - x, x + torch.tensor(0.3), x + n
        quotients = x * 0.3, x / 0.3, x // 0.3, x % 0.3, torch.fmod(x, third)
        return tests, sums, quotients, F.hardshrink(x, 0.3)

    whole = torch.tensor([257, 1, 2, 3, 4, 5, 2049])
    x = torch.tensor([0.3, -0.3, 1.0, 1 / 3, 7.0, -2.5, 0.9])
    for dtype in (torch.bfloat16, torch.float16):
        check([functions], x.to(dtype), whole)


def test_integers_and_bools() -> None:
    values, by = torch.tensor([1, 2, 100, 127, -1, -7]), torch.tensor([0, 3, 7, 8, 31, 32, 64, 70])
    sides = [side.flatten() for side in torch.meshgrid(values, by, indexing="ij")]
    check(
        (
            in_types(torch.bitwise_left_shift, *INTEGERS),
            in_types(torch.bitwise_right_shift, *INTEGERS),
            lambda x, by: (x**65, x**3, (x > 0).square()),
            lambda x, by: (torch.all(x, ()), torch.any(x, (0,)), torch.all(x)),
            lambda x, by: (x.byte().any(), x.byte().all(-1), torch.any(x.byte(), ())),
        ),
        *sides,
    )


def test_places_and_shapes() -> None:
    place = torch.tensor([0])
    check(
        (
            lambda x, whole, one: F.avg_pool2d(whole, 2, 1, 1),
            lambda x, whole, one: F.adaptive_avg_pool2d(x, (0, 2)),
            lambda x, whole, one: F.pad(x[0], (-1, 2), "circular"),
            lambda x, whole, one: x.index_fill(3, torch.tensor([-1, 0]), 2.5),
            lambda x, whole, one: (one.index_select(0, place), one.scatter(0, place[0], one * 2)),
            lambda x, whole, one: (one.index_fill(0, place, 1.5), one.unfold(0, 1, 1)),
            lambda x, whole, one: F.prelu(one, torch.tensor([0.25])),
            lambda x, whole, one: x[0, 0].unfold(-1, 2, 2),
        ),
        torch.randn(1, 2, 4, 6),
        torch.arange(-16, 16).view(1, 2, 4, 4),
        torch.tensor(-2.5),
    )
