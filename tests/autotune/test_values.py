"""How far an output is off, whatever stands in it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tc.autotune.values import TOLERANCE, error_of
from tc.ir.types import DType

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("found", "wanted", "off"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.0, -1.0], [0.0, 1.0], 2.0),
        ([NAN, 2.0], [NAN, 2.0], 0.0),
        ([INF, -INF, 1.0], [INF, -INF, 1.0], 0.0),
        ([INF, 3.0], [INF, 2.0], 0.5),
        ([NAN, NAN], [NAN, NAN], 0.0),
        ([NAN, 2.0], [1.0, 2.0], INF),
        ([1.0, 2.0], [NAN, 2.0], INF),
        ([INF, 2.0], [1.0, 2.0], INF),
        ([1.0, 2.0], [INF, 2.0], INF),
        ([-INF, 2.0], [INF, 2.0], INF),
        ([], [], 0.0),
    ],
)
def test_an_error_is_told_in_shares_of_the_greatest_value(
    found: list[float], wanted: list[float], off: float
) -> None:
    told = error_of(np.array(found), np.array(wanted), DType.F32)
    assert told == pytest.approx(off / TOLERANCE[DType.F32])


def test_integers_are_equal_or_wrong() -> None:
    assert error_of(np.array([1, 2]), np.array([1, 2]), DType.I64) == 0
    assert error_of(np.array([1, 2]), np.array([1, 3]), DType.I64) == math.inf
