"""What the operators refuse, one test for each message: the thing, the reason, the way out."""

from __future__ import annotations

from typing import Any

import pytest

from tc import te
from tc.errors import CompileError, InternalError, UnsupportedError
from tc.ops import by_aten, by_name
from tc.ops.dims import Dim
from tc.ops.table import Operator, register


def tensor(*shape: Dim, dtype: str = "f32") -> te.Placeholder:
    return te.placeholder(shape, dtype)


S = te.sym("S")
CASES: list[tuple[str, tuple[Any, ...], str]] = [
    ("add", (tensor(3), tensor(4), 1), "add: sizes 3 and 4 do not broadcast"),
    ("softmax", (tensor(3, 4), 2, None), "softmax: dim 2 of a tensor with 2 dims"),
    ("sum_dim", (tensor(3, 4), (0, -2), False, None), "name one dim twice"),
    ("reshape", (tensor(3, 4), (5, 2)), "12 elements do not fit the shape (5, 2)"),
    ("reshape", (tensor(3, 4), (-1, -1)), "more than one -1"),
    ("reshape", (tensor(0, 4), (-1, 0)), "ambiguous beside a size of 0"),
    ("expand", (tensor(3, 4), (2, 4), False), "dim 0 of size 3 to 2; only 1 stretches"),
    ("expand", (tensor(3, 4), (4,), False), "give every dim"),
    ("expand", (tensor(4), (-1, 4), False), "size -1 for the new dim 0"),
    ("permute", (tensor(3, 4), (0, 0)), "is no order of 2 dims"),
    ("slice", (tensor(3), 0, 0, 3, 0), "step 0; give one above 0"),
    ("select", (tensor(3), 0, 3), "index 3 of a dim of 3"),
    ("split", (tensor(S), 2, 0), "must be a number, is S"),
    ("cat", ((tensor(3), tensor(3, 4)), 0), "all need the same"),
    ("matmul", (tensor(3, 4), tensor(5, 6)), "sums over 4 and 5 elements"),
    ("matmul", (tensor(), tensor(5)), "a scalar has no matrix product"),
    ("linear", (tensor(3, 4), tensor(5, 6), None), "linear: sums over 4 and 6"),
    ("einsum", ("ij", (tensor(3), tensor(3)), None), "1 terms for 2 operands"),
    ("einsum", ("ij->i", (tensor(3),), None), "for a tensor with 1 dims"),
    ("layer_norm", (tensor(3, 4), (5,), None, None, 1e-5, False), "over 5 elements"),
    ("group_norm", (tensor(2, 4), 3, None, None, 1e-5, False), "4 channels in 3 groups"),
    ("arange_step", (0, 5, 0, None), "step 0; give another"),
    ("arange_step", (0.5, S, 1, None), "give whole numbers"),
    ("constant_pad_nd", (tensor(3), (1,), 0.0), "give two for each dim"),
    ("conv1d", (tensor(1, 4, 9), tensor(6, 3, 3), None, 1, 0, 1, 1), "sums over 4 and 3"),
    ("conv1d", (tensor(1, 4, 9), tensor(5, 2, 3), None, 1, 0, 1, 2), "5 channels in 2 groups"),
    ("cross_entropy_loss", (tensor(3, 4), tensor(3, 4, dtype="i64"), None, 1, -100, 0.0),
     "2 dims of targets for 2 of input"),
    ("attention", (tensor(1, 3, 5, 8), *[tensor(1, 2, 5, 8)] * 2, None, 0.0, False, None, True),
     "3 query heads over 2 key heads"),
]  # fmt: skip

UNSUPPORTED: list[tuple[str, tuple[Any, ...], str]] = [
    ("bitwise_and", (tensor(3), tensor(3)), "bitwise_and: takes integers or bools, not f32"),
    ("div_mode", (tensor(3), tensor(3), "up"), "rounding_mode 'up'"),
    ("pow", (tensor(3, dtype="i64"), tensor(3, dtype="i64")), "cast to float"),
    ("pow", (2, tensor(3, dtype="i64")), "cast to float"),
    ("softmax", (tensor(3, dtype="i64"), 0, None), "softmax: of i64; cast it to a float type"),
    ("mean", (tensor(3, dtype="i64"), None), "give a float dtype"),
    ("var_all", (tensor(3, dtype="i64"), True), "cast to a float type"),
    ("dropout", (tensor(3), 0.1, True), "call model.eval()"),
    ("batch_norm", (tensor(3, 4), *[None] * 4, False, 0.1, 1e-5, False), "call model.eval()"),
    ("index", (tensor(3), (tensor(3, dtype="bool"),)), "a mask as index"),
    ("pad", (tensor(3), (1, 1), "mirror", None), "mode 'mirror'"),
    ("scatter_fold", (tensor(3), 0, tensor(3, dtype="i64"), 1.0, "max"), "reduce='max'"),
]


@pytest.mark.parametrize(("name", "args", "message"), CASES)
def test_mistakes(name: str, args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(CompileError) as caught:
        by_name(name).build(*args)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "args", "message"), UNSUPPORTED)
def test_unsupported(name: str, args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        by_name(name).build(*args)
    assert message in str(caught.value)


def test_no_such_operator() -> None:
    with pytest.raises(UnsupportedError, match="not in the operator table"):
        by_name("nothing")
    assert by_aten("aten.mode.default") is None


def test_a_name_is_entered_once() -> None:
    row = by_name("add")
    with pytest.raises(InternalError, match="'add' is entered twice"):
        register(Operator("add", (), row.kind, row.build, row.reference, row.samples))
