"""The operator table has what core ATen has of a kind, and the families that are promised."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tc import te
from tc.ir.lower import lower
from tc.ir.passes.expand_math import expand_math
from tc.ir.visit import exprs_of
from tc.ops import by_name, operators
from tc.schedule.defaults.plan import fixed
from tc.schedule.defaults.shape import reductions

# At least these are compiled. Where torch.export keeps a name that
# others are made of, it is that name.
FAMILIES = (
    "sum mean amax amin prod any all argmax argmin var logsumexp cumsum softmax log_softmax",
    "layer_norm rms_norm group_norm batch_norm",
    "mm bmm addmm baddbmm linear matmul einsum scaled_dot_product_attention",
    "sort topk embedding index index_select gather index_put scatter slice_scatter index_copy",
    "view permute expand slice select cat stack split chunk repeat flip roll pad tril triu",
    "arange full eye conv1d conv2d conv3d convolution",
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d cross_entropy_loss",
    "where _to_copy",
)


def pointwise() -> Iterator[str]:
    """The names of core ATen's pointwise operators: arithmetic, comparison, logic, `where`."""
    for name in dir(torch.ops.aten):
        packet = getattr(torch.ops.aten, name)
        for overload in packet.overloads() if hasattr(packet, "overloads") else ():
            tags = getattr(packet, overload).tags
            # What writes to a tensor that is given is in no exported graph.
            if torch.Tag.core in tags and torch.Tag.pointwise in tags and overload != "out":
                yield f"aten.{name}.{overload}"


def test_every_pointwise_operator_of_core_aten_is_there() -> None:
    wanted = set(pointwise())
    assert len(wanted) > 80
    assert wanted - {name for row in operators() for name in row.aten} == set()


def test_every_family_is_there() -> None:
    packets = {name.split(".")[1] for row in operators() for name in row.aten}
    assert {name for line in FAMILIES for name in line.split()} - packets == set()


@pytest.mark.parametrize(("name", "most"), [("fmod", 120), ("remainder", 350)])
def test_an_operator_of_several_steps_stays_short(name: str, most: int) -> None:
    """Text that names a step twice has it twice: a group of a few such took a minute to compile."""
    a, b = te.placeholder((5,)), te.placeholder((5,))
    made = by_name(name).build(a, b)
    assert sum(1 for _ in exprs_of(expand_math(lower((made,))).body)) <= most


@pytest.mark.parametrize(("name", "more"), [("max_pool2d", (1, True)), ("avg_pool2d", (True,))])
def test_window_larger_than_its_input_has_no_more_places_than_that(
    name: str, more: tuple[object, ...]
) -> None:
    """A model may name a window of any size for all that there is: it took seconds to run."""
    made = by_name(name).build(te.placeholder((1, 2, 7, 5)), 1280, (), 0, *more)
    (fold,) = reductions(made)
    assert [fixed(n) for n in fold.extents] == [7, 5]
