"""Layers of torch.nn at several sizes, by compiled programs alone: what was once wrong or eager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import tc


def check(
    model: nn.Module, calls: Sequence[Sequence[Any]], programs: int = 1, within: float = 1e-5
) -> None:
    """Every call gives what eager does; so many programs were made for all of them."""
    made = tc.compile(model.eval(), threads=1, fallback="error")
    for args in calls:
        with torch.no_grad():
            ours, theirs = made(*args), model(*args)
        torch.testing.assert_close(ours, theirs, rtol=within, atol=within)
    assert made.stats()["compilations"] == programs


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("scale", [2, 1.7])
def test_a_size_that_is_rounded_from_another(scale: float) -> None:
    """PyTorch asks for the number in one dim, and traces on with it."""
    model = nn.Upsample(scale_factor=scale, mode="area")
    check(model, [(torch.randn(2, 3, n),) for n in (7, 8)], programs=2)


class ByRemainder(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[1] % 2 == 0 else x + 1


def test_a_branch_by_a_remainder() -> None:
    check(ByRemainder(), [(torch.randn(2, n),) for n in (4, 5)], programs=2)


class RowsTogether(nn.Module):
    """Whether the sizes can be split so is asked of all of them, the width too."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.width = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.view(-1, self.width) if self.width else x.view(-1, x.shape[-1]).reshape(-1, 8)
        return torch.topk(self.layer(rows), 3)[0].view(*x.shape[:2], 3)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("width", [8, 0])
def test_rows_taken_together(width: int) -> None:
    calls = [(torch.randn(b, n, 8),) for b, n in ((2, 7), (1, 5), (3, 1))]
    check(RowsTogether(width), calls)


def test_products_over_nothing() -> None:
    """Clusters of the adaptive softmax have an eighth of the features, then a 64th: here none."""
    torch.manual_seed(0)
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 12, [4, 8])

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer.log_prob(x)  # type: ignore[no-any-return]

    check(Logits(), [(torch.randn(n, 8),) for n in (2, 3)])


class Like(nn.Module):
    def __init__(self, mode: str, corners: bool | None = None) -> None:
        super().__init__()
        self.mode, self.corners = mode, corners

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        size = y.shape[2:]
        found = nn.functional.interpolate(x, size=size, mode=self.mode, align_corners=self.corners)
        return found + y


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("mode", "corners"),
    [("nearest", None), ("nearest-exact", None), ("bilinear", False), ("bilinear", True),
     ("bicubic", False)],
)  # fmt: skip
def test_interpolation_between_free_sizes(mode: str, corners: bool | None) -> None:
    sizes = [((4, 5), (8, 13)), ((7, 9), (3, 17)), ((5, 6), (5, 6))]
    calls = [(torch.randn(n, 2, *a), torch.randn(n, 2, *b)) for n, (a, b) in enumerate(sizes, 2)]
    check(Like(mode, corners), calls)


@pytest.mark.parametrize("factor", [9.0, 0.35])
def test_the_nearest_of_a_factor(factor: float) -> None:
    """A factor beyond those whose places are exact, and one that makes the image smaller."""
    check(nn.Upsample(scale_factor=factor), [(torch.randn(2, 1, 17),), (torch.randn(3, 1, 17),)])


@pytest.mark.parametrize(
    "model",
    [nn.AdaptiveAvgPool2d((3, None)), nn.AdaptiveMaxPool1d(5, return_indices=True)],
    ids=["avg", "max"],
)
def test_adaptive_pools_of_free_sizes(model: nn.Module) -> None:
    rank = 2 if isinstance(model, nn.AdaptiveAvgPool2d) else 1
    check(model, [(torch.randn(n, 3, *(m, 6 * n)[:rank]),) for n, m in ((2, 7), (3, 3), (5, 17))])


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (nn.CosineSimilarity(), [[(3, 6)] * 2, [(4, 7)] * 2]),
        (nn.TripletMarginLoss(swap=True, p=1.0), [[(3, 6)] * 3, [(4, 7)] * 3]),
        (nn.CosineEmbeddingLoss(0.1), [[(3, 6), (3, 6), (3,)], [(4, 7), (4, 7), (4,)]]),
        (nn.Fold((6, 7), 3, padding=1, stride=2), [[(2, 18, 12)], [(3, 18, 12)]]),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_operators_that_are_several_others(
    model: nn.Module, shapes: list[list[tuple[int, ...]]]
) -> None:
    torch.manual_seed(0)
    check(model, [[torch.randn(s).sign() if len(s) == 1 else torch.randn(s) for s in call]
                  for call in shapes])  # fmt: skip


@pytest.mark.usefixtures("plain")
def test_a_mask_that_might_be_causal() -> None:
    """PyTorch looks at its values to see whether it is."""
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerDecoder(layer, 1)
    masks = [nn.Transformer.generate_square_subsequent_mask(n) for n in (5, 4)]
    masks[1] = masks[1].T.contiguous()  # one that is not
    check(
        model,
        [(torch.randn(n, len(m), 8), torch.randn(n, 3, 8), m) for n, m in enumerate(masks, 2)],
    )


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("check_mask", [True, False])
def test_an_encoder_gives_zeros_at_padding_that_it_left_out(check_mask: bool) -> None:
    """Eager does where it computes on nested tensors: all padding at the end, no other mask."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, nn.LayerNorm(8), mask_check=check_mask)
    nn.init.normal_(model.norm.bias)
    lengths = torch.tensor([5, 2, 3])[:, None]
    padding = torch.arange(5) >= lengths
    masks = [padding, padding[:2, :4], padding.flip(1), torch.zeros_like(padding)]
    check(model, [(torch.randn(*p.shape, 8), None, p) for p in masks])


@pytest.mark.usefixtures("plain")
def test_an_encoder_takes_padding_as_floats() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    padding = torch.zeros(2, 5).masked_fill(torch.arange(5) >= torch.tensor([[5], [2]]), -torch.inf)
    check(model, [(torch.randn(2, 5, 8), None, padding)])


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("nested", [True, False])
def test_an_encoder_that_leaves_out_no_padding(nested: bool) -> None:
    """Where it was told not to, or is given another mask besides."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested)
    padding = torch.arange(5) >= torch.tensor([[5], [2]])
    mask = torch.eye(5, dtype=torch.bool).flip(1) if nested else None
    check(model, [(torch.randn(2, 5, 8), mask, padding)])


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("first", [(3, 5), (1, 5)])
def test_a_question_about_one_for_a_layout_makes_no_program(first: tuple[int, int]) -> None:
    """Attention asks whether its projections lie one after the other, which they do for a one."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    check(model, [(torch.randn(*size, 8),) for size in (first, (2, 1), (1, 3), (1, 1), (4, 7))])


class _Distances(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, y, self.p)


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_distances_of_all_rows(p: float) -> None:
    torch.manual_seed(0)
    check(_Distances(p), [(torch.randn(n, 3), torch.randn(m, 3)) for n, m in ((5, 4), (2, 30))])


def test_a_bilinear_layer() -> None:
    torch.manual_seed(0)
    check(nn.Bilinear(3, 4, 5), [(torch.randn(n, 3), torch.randn(n, 4)) for n in (6, 2)])


class Standardised(nn.Module):
    """By statistics of the batch itself: of each channel, then of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, track_running_stats=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(x))
        var, mean = torch.var_mean(x, -1, keepdim=True)
        return (x - mean) * torch.rsqrt(var + 1e-3)


def test_statistics_of_the_batch() -> None:
    torch.manual_seed(0)
    model = Standardised()
    nn.init.normal_(model.norm.weight)
    shapes = ((3, 6, 5), (8, 6, 17), (2, 6, 7), (33, 6, 130))
    check(model, [(torch.randn(shape),) for shape in shapes], within=2e-5)


class Converts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inner = self.inner.to(x.dtype)
        result: torch.Tensor = self.inner.to(x.device)(x)
        return result


def test_a_module_that_is_converted_to_what_it_is() -> None:
    check(Converts(), [(torch.randn(2, 3),), (torch.randn(5, 3),)])
