"""Operators that are compiled as what they consist of, and those of order and of grids.

Each model takes several calls of free sizes through one program, in which nothing runs eagerly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import tc

INF, NAN = float("inf"), float("nan")
TABLE = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, *given: torch.Tensor) -> Any:
        return self.fn(*given)


def assert_compiled(fn: Callable[..., Any], *calls: tuple[torch.Tensor, ...]) -> Any:
    """The compiled model, which gives what eager gives for each call."""
    model = Model(fn)
    compiled = tc.compile(model, fallback="error", threads=1)
    for call in calls:
        found, wanted = compiled(*call), model(*call)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert compiled.stats()["compilations"] == 1
    return compiled


def ids(*shape: int, high: int = 10) -> torch.Tensor:
    return torch.randint(0, high, shape)


def test_classes_as_vectors() -> None:
    compiled = assert_compiled(
        lambda y: functional.one_hot(y, 5), *[(ids(*shape, high=5),) for shape in ((3, 2), (7, 9))]
    )
    with pytest.raises(tc.TcError, match="out of range"):
        compiled(torch.tensor([[1, 5]]))


def _products(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    one, other = torch.linalg.cross(a, b), torch.cross(a, b, dim=1)
    return one, other, torch.linalg.cross(a.T, b.T, dim=0)


def test_vectors_across() -> None:
    assert_compiled(_products, *[(torch.randn(n, 3), torch.randn(n, 3)) for n in (2, 7, 17)])


def test_products_of_blocks() -> None:
    a, b = torch.randn(3, 5), torch.randn(7)
    assert_compiled(lambda a, b: (torch.kron(a, b), torch.kron(b, a)), (a, b))


def _turned(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    turns = [torch.rot90(x, k, (0, 1)) for k in (1, 2, -1, 4)]
    return (torch.rot90(x, 3, (2, 1)), torch.trace(x[0]), torch.trace(x[0].long()), *turns)


def test_quarter_turns_and_the_diagonal() -> None:
    assert_compiled(_turned, (torch.randn(3, 4, 5),), (torch.randn(2, 7, 3),))


def _unpooled(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    values, places = functional.max_pool2d(x, 2, return_indices=True)
    exact = functional.max_unpool2d(values, places, 2, output_size=x.shape[-2:])
    return exact, functional.max_unpool2d(values[:, :1], places[:, :1], 2, output_size=x.shape[-2:])


def test_what_was_pooled_goes_back() -> None:
    assert_compiled(_unpooled, (torch.randn(2, 3, 5, 7),), (torch.randn(3, 2, 9, 6),))


def _bags(
    rows: torch.Tensor, flat: torch.Tensor, offsets: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    bag = functional.embedding_bag
    return (
        bag(rows, TABLE),
        bag(rows, TABLE, mode="sum", per_sample_weights=share),
        bag(flat, TABLE, offsets, mode="mean", padding_idx=2),
        bag(flat, TABLE, offsets, mode="sum", include_last_offset=True),
    )


def test_a_random_slope_is_its_middle() -> None:
    assert_compiled(lambda x: functional.rrelu(x, 0.1, 0.4), (torch.randn(3, 5),))


def test_bags_of_rows() -> None:
    assert_compiled(
        _bags,
        (ids(3, 5), ids(15), torch.tensor([0, 4, 4, 9, 15]), torch.randn(3, 5)),  # one is empty
        (ids(4, 7), torch.tensor([2, 2, 9]), torch.tensor([0, 2]), torch.randn(4, 7)),
    )


def _greatest(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    first, *_ = x.topk(2, 0)
    return first, *x.topk(3), x.topk(3, largest=False)[0]


def test_the_greatest_few() -> None:
    special = torch.tensor([[1, NAN, INF, -INF, 2, NAN], [3, 3.5, 4, INF, -INF, 0]])
    assert_compiled(_greatest, (torch.randn(4, 5),), (torch.randn(3, 17),), (torch.randn(2, 3),))
    assert_compiled(lambda x: (x.topk(4)[0], x.topk(4, largest=False)[0]), (special,))
    assert_compiled(lambda x: x.topk(2)[0], (ids(4, 5),), (ids(3, 17),))


def test_elements_in_turn_where_a_mask_says() -> None:
    def call(rows: int, taken: list[int]) -> tuple[torch.Tensor, ...]:
        mask = torch.zeros(rows, dtype=torch.bool)
        mask[taken] = True
        return torch.randn(2, rows, 3), mask[:, None], torch.randn(2 * len(taken), 3)

    calls = [call(5, [1, 2, 4]), call(7, [0, 6])]
    compiled = assert_compiled(torch.masked_scatter, *calls)
    x, mask, source = call(5, [0, 3])
    compiled(x, mask, torch.cat([source, source]))  # more than are taken
    with pytest.raises(tc.TcError, match="out of range"):
        compiled(x, mask, source[:3])
    nothing = (torch.randn(2, 4), torch.zeros(2, 4, dtype=torch.bool), torch.zeros(0))
    assert_compiled(torch.masked_scatter, nothing)


def _placed(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    row = torch.tensor([-1.0, 0.0, 0.0, 1.0])
    rows = torch.stack([row, row * 2 + 0.5])
    return (
        torch.bucketize(x, row),
        torch.bucketize(x, row, right=True, out_int32=True),
        torch.searchsorted(rows, x, side="right"),
    )


def test_places_in_order() -> None:
    special = torch.tensor([[1, NAN, INF, -INF, 0], [-0.0, -1, 3, 0.5, 2.5]])
    assert_compiled(_placed, (torch.randn(2, 5),), (torch.randn(2, 17),), (special,))


def _warped(x: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, ...]:
    sample, shape = functional.grid_sample, list(x.shape)
    grid = functional.affine_grid(theta, shape, align_corners=False)
    exact = functional.affine_grid(theta, shape, align_corners=True)
    return (
        grid,
        sample(x, grid, align_corners=False),
        sample(x, exact, "nearest", "border", align_corners=True),
        sample(x, grid * 1.5, "bilinear", "reflection", align_corners=False),
    )


def test_images_are_read_where_a_map_says() -> None:
    torch.manual_seed(0)  # places far outside are reflected, which multiplies their rounding
    calls = [(torch.randn(n, 3, h, w), torch.randn(n, 2, 3)) for n, h, w in ((2, 6, 8), (3, 7, 17))]
    compiled = assert_compiled(_warped, *calls)
    far = torch.full((2, 2, 3), 1e30)
    far[0, 0, 0] = NAN
    compiled(torch.randn(2, 3, 5, 7), far)  # nothing outside of the image is touched


@pytest.mark.parametrize("dim", [0, 2])
def test_weights_by_their_norm(dim: int) -> None:
    sizes = [(3, 4, 5), (6, 2, 9)]
    calls = [(torch.randn(s), torch.randn([n if d == dim else 1 for d, n in enumerate(s)]))
             for s in sizes]  # fmt: skip
    compiled = assert_compiled(lambda v, g: torch._weight_norm(v, g, dim), *calls)
    # Norms over the first dims, in the rows of what they scale, would be taken anew for each row.
    assert len(compiled.explain().rows) == 2
