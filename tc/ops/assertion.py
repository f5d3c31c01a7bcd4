"""The operator that refuses data: its result is for nobody to read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tc import te
from tc.errors import UnsupportedError
from tc.ir.expr import Const, cast
from tc.ir.tensor import Tensor
from tc.ir.types import BOOL
from tc.ops.samples import Array, array, ints, sample
from tc.ops.table import Kind, operator

_UNTOLD = "Assertion is failed"  # eager's own words


def _truth(condition: Any, _message: str) -> Any:
    return (condition != 0).reshape(())


@operator(
    "assertion",
    aten=("aten._assert_async.msg",),
    kind=Kind.POINTWISE,
    reference=_truth,
    samples=(
        sample(Array((), "bool", 1, 2), "must be true"),
        sample(array(low=1), ""),
        sample(ints(1, 1, low=1), 'a "quoted" word'),
    ),
)
def build_assertion(condition: Tensor, message: str) -> Tensor:
    """Whether the one element is not zero; the message is reported where it is."""
    if any(size != Const(1) for size in condition.shape):
        raise UnsupportedError("assertion: of a tensor with more than one element")
    place = (Const(0),) * condition.rank
    truth = te.compute((), lambda: cast(condition[place], BOOL), te.fresh("assertion"))
    return replace(truth, message=message or _UNTOLD)
