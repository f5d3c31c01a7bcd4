"""Values, layouts, sizes and targets at which compiled programs go wrong first, beside eager."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (as everyone calls it)
from torch import nn

import tc

INF, NAN = math.inf, math.nan
SPECIAL = (NAN, INF, -INF, -0.0, 0.0, 1e-40, -1e-45, 3e38, -3e38, 1e-38, 80.0, -104.0, 0.5)
SIZES = (1, 2, 3, 7, 15, 16, 17, 31, 33, 37, 127)


@pytest.fixture(autouse=True)
def _infer() -> Iterator[None]:
    with torch.no_grad():
        yield


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, *args: torch.Tensor) -> Any:
        return self.fn(*args)


def compiled(fn: Callable[..., Any], **options: Any) -> Any:
    return tc.compile(Call(fn), threads=1, **options)


def special(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal values of which every third is special."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator).flatten()
    places = torch.randperm(values.numel(), generator=generator)[: values.numel() // 3 + 1]
    values[places] = torch.tensor(SPECIAL)[torch.arange(len(places)) % len(SPECIAL)]
    return values.view(*shape)


def same(got: Any, want: Any) -> None:
    """Equal to rounding, with NaN, infinities and the signs of zeros where eager has them."""
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)
    zero = (got == 0) & (want == 0)
    assert torch.equal(torch.signbit(got)[zero], torch.signbit(want)[zero])


def pointwise(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """One program for many functions; their neighbours must not disturb one another."""
    return (
        x.exp(), x.log(), x.tanh(), x.sigmoid(), x.erf(), x.relu(), F.silu(x), x.sqrt(), x.rsqrt(),
        x.abs(), -x, x.floor(), x.round(), x.trunc(), x.reciprocal(), x.log1p(), x.expm1(),
        x.clamp(-1, 1), x.clamp_min(0), x**2, x**3, x * 0.0, x + 0.0, x - x, x / 3, x * 1e-30,
        torch.maximum(x, x.flip(-1)), torch.minimum(x, x.flip(-1)), torch.where(x > 0, x, -1.0),
        F.gelu(x, approximate="tanh"),
    )  # fmt: skip


def test_pointwise() -> None:
    cm = compiled(pointwise)
    for shape in ((3, 37), (1, 16), (5, 1), (2, 129)):
        x = special(*shape)
        for got, want in zip(cm(x), pointwise(x), strict=True):
            same(got, want)


def test_gelu_of_what_is_large_is_itself() -> None:
    # Eager's vector code gives NaN at +inf and overflows at 3e38, which is not followed.
    x = torch.tensor([INF, -INF, NAN, -0.0, 3e38, 1e-40] * 4)
    got = compiled(F.gelu)(x)
    same(got, torch.tensor([INF, NAN, NAN, -0.0, 3e38, 5e-41] * 4))


ROWS: dict[str, Callable[[torch.Tensor], Any]] = {
    "softmax": lambda x: x.softmax(-1),
    "log_softmax": lambda x: x.log_softmax(-1),
    "reductions": lambda x: (x.sum(-1), x.amax(-1), x.amin(-1), x.mean(-1)),
    "places": lambda x: (x.argmax(-1), x.argmin(-1), x.isnan().any(-1), x.isinf().all(-1)),
    "logsumexp": lambda x: x.logsumexp(-1),
    "spread": lambda x: (x.std(-1, correction=0), x.var(-1, correction=0)),
    "layer_norm": lambda x: F.layer_norm(x, (x.shape[-1],)),
    "rms_norm": lambda x: F.rms_norm(x, (x.shape[-1],)),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    fn = ROWS[name]
    cm = compiled(fn)
    for size in SIZES:
        rows = torch.stack([
            torch.randn(size), torch.full((size,), -INF), torch.full((size,), INF),
            torch.full((size,), 1e-40), torch.full((size,), -0.0), torch.randn(size) * 1e30,
            special(size),
        ])  # fmt: skip
        if name == "layer_norm":
            # Rows of one value: the variance is rounding error alone, in eager as here.
            rows = rows[[0, 1, 2, 4, 6]] if size > 1 else rows[[1, 2, 4]]
        got, want = cm(rows), fn(rows)
        for g, w in zip(*((x,) if torch.is_tensor(x) else x for x in (got, want)), strict=True):
            torch.testing.assert_close(g, w, rtol=2e-5, atol=1e-6, equal_nan=True)


def test_products_spread_nan_and_infinity_no_further_than_eager() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(37, 19).eval()
    cm = tc.compile(layer, threads=1)
    for rows in SIZES:
        x = torch.randn(rows, 37)
        x[0, 3] = NAN
        x[-1, 5] = INF
        x[rows // 2] = 1e-40
        torch.testing.assert_close(cm(x), layer(x), rtol=1e-5, atol=1e-5, equal_nan=True)


def test_attention_with_rows_that_see_nothing() -> None:
    def attend(q: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    cm = compiled(attend)
    for size in (1, 2, 7, 16, 17, 33):
        q = torch.randn(2, 3, size, 8)
        mask = torch.zeros(2, 1, size, size)
        mask[..., size // 2 :] = -INF
        mask[..., 0] = 0
        torch.testing.assert_close(cm(q, mask), attend(q, mask), rtol=1e-5, atol=1e-6)
        least = mask.clamp_min(torch.finfo(torch.float32).min)
        torch.testing.assert_close(cm(q, least), attend(q, least), rtol=1e-5, atol=1e-6)
        q[0, 0, 0] = NAN
        torch.testing.assert_close(
            cm(q, mask), attend(q, mask), rtol=1e-5, atol=1e-6, equal_nan=True
        )


# --- layouts and sizes


def layouts(n: int, k: int) -> dict[str, torch.Tensor]:
    wide = torch.randn(2 * n + 1, 2 * k + 3)
    memory = torch.zeros(4 * n * k + 1, dtype=torch.uint8)
    unaligned = memory[1:].numpy().view(np.float32).reshape(n, k)
    unaligned[:] = np.random.default_rng(0).random((n, k), np.float32)
    return {
        "transposed": torch.randn(k, n).T,
        "strided": wide[1::2, 1 : 2 * k : 2],
        "expanded": torch.randn(1, k).expand(n, k),
        "expanded columns": torch.randn(n, 1).expand(n, k),
        "offset": torch.randn(n * k + 3)[3:].view(n, k),
        "flipped": torch.from_numpy(np.random.default_rng(1).random((n, k), np.float32)).flip(0),
        "unaligned": torch.from_numpy(unaligned),
    }


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.up = nn.LayerNorm(37), nn.Linear(37, 19)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.up(self.norm(x))).softmax(-1)


class Patches(nn.Module):
    """Attention between the patches of an image, whose number is a product of two."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 6, 4, stride=3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        rows = self.cut(image).flatten(2).transpose(1, 2)
        heads = rows.unflatten(2, (2, 3)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads)


def test_attention_over_a_number_of_rows_that_is_a_product() -> None:
    model = Patches().eval()
    made = tc.compile(model, threads=1, fallback="error")
    with torch.no_grad():
        for shape in ((2, 1, 10, 13), (2, 1, 16, 10), (2, 1, 31, 40)):
            image = torch.randn(shape)
            torch.testing.assert_close(made(image), model(image), rtol=0, atol=1e-6)
    assert made.stats()["compilations"] == 1


def test_layouts() -> None:
    model = Block().eval()
    cm = tc.compile(model, threads=1)
    for name, x in layouts(5, 37).items():
        before = x.clone()
        torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6, msg=name)
        assert torch.equal(x, before)
    assert cm.stats()["compilations"] == 1


def test_channels_last() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    cm = tc.compile(model, threads=1)
    x = torch.randn(2, 3, 9, 11)
    for layout in (torch.contiguous_format, torch.channels_last):
        given = x.to(memory_format=layout)
        torch.testing.assert_close(cm(given), model(given), rtol=1e-5, atol=1e-6)


def test_sizes() -> None:
    model = Block().eval()
    cm = tc.compile(model, threads=1)
    for rows in (*SIZES, 0):
        x = torch.randn(rows, 37)
        torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6)
    assert cm.stats()["compilations"] == 1


def test_nothing_first() -> None:
    model = Block().eval()
    cm = tc.compile(model, threads=1)
    assert cm(torch.randn(0, 37)).shape == (0, 19)
    x = torch.randn(5, 37)
    torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6)
    narrow = nn.Linear(4, 0).eval()
    assert tc.compile(narrow, threads=1)(torch.randn(3, 4)).shape == (3, 0)


# --- determinism and targets


def test_the_same_threads_give_the_same_bits() -> None:
    model, x = Block().eval(), torch.randn(33, 37)
    for threads in (1, 2):
        one, other = (tc.compile(model, threads=threads) for _ in range(2))
        first = one(x)
        for _ in range(5):
            assert torch.equal(one(x), first) and torch.equal(other(x), first)


def test_programs_that_run_at_once_give_what_each_gives_alone() -> None:
    models = Block().eval(), nn.Linear(29, 41).eval()
    given = torch.randn(33, 37), torch.randn(57, 29)
    made = [tc.compile(model, threads=2) for model in models]
    alone = [run(x) for run, x in zip(made, given, strict=True)]
    for model, x, found in zip(models, given, alone, strict=True):
        torch.testing.assert_close(found, model(x), rtol=1e-5, atol=1e-6)

    def same(n: int) -> bool:
        with torch.no_grad():
            return all(torch.equal(made[n % 2](given[n % 2]), alone[n % 2]) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, range(4)))


LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")


@pytest.mark.parametrize("target", ["generic", *LEVELS])
def test_targets_agree_with_eager(target: str) -> None:
    model = Block().eval()
    here = tc.Target.parse("host").level
    if target in LEVELS and (here not in LEVELS or LEVELS.index(here) < LEVELS.index(target)):
        pytest.skip(f"this machine is no {target}")
    cm = tc.compile(model, target, threads=1, example_inputs=(torch.randn(3, 37),))
    for rows in (1, 7, 16, 33):
        x = torch.randn(rows, 37)
        x[0, 0] = 1e-40
        torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6)
        x[-1, 1] = NAN
        torch.testing.assert_close(cm(x), model(x), rtol=1e-5, atol=1e-6, equal_nan=True)
