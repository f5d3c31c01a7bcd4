"""Rows that stand for no operator of a model, which graph passes make: against their references."""

from __future__ import annotations

import numpy as np
import pytest

from tc.graph import sorting  # noqa: F401  (what makes them)
from tc.ops import by_name
from tests.ops.harness import build, expected, run, same_values
from tests.ops.test_ops import values_of

NAMES = (
    "sort_keys", "places_in_order", "in_order", "zeros_so_far", "places_by_bit", "group_of_rows",
    "grouped_matmul",
)  # fmt: skip
CASES = [pytest.param(name, s.args, id=f"{name}-{n}") for name in NAMES
         for n, s in enumerate(by_name(name).samples)]  # fmt: skip


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize(("name", "args"), CASES)
def test_value(name: str, args: tuple[object, ...], symbolic: bool) -> None:
    row = by_name(name)
    values = values_of(row, args)
    tensors, arrays, sizes = build(row, values, symbolic and name != "grouped_matmul")
    for t, found, wanted in zip(
        tensors, run(tensors, arrays, sizes), expected(row, values), strict=True
    ):
        if name == "sort_keys":  # keys say no more than the order
            found, wanted = (np.unique(x, return_inverse=True)[1] for x in (found, wanted))
        same_values(found, wanted, t.dtype, name)
