"""Recurrent layers: as eager at every length and batch, by one program, without falling back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tc


def flat(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for part in result for t in flat(part)]


def check(made: Any, model: nn.Module, *args: Any) -> None:
    with torch.no_grad():
        ours, theirs, exact = made(*args), model(*args), model.double()(*_double(args))
    model.float()
    for a, b, c in zip(flat(ours), flat(theirs), flat(exact), strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a.double(), c, rtol=0, atol=2e-6)


def _double(args: Any) -> tuple[Any, ...]:
    return tuple(a.double() if isinstance(a, torch.Tensor) else _double(a) for a in args)


def states(kind: str, *shape: int) -> Any:
    h = torch.randn(shape)
    return (h, torch.randn(shape)) if kind == "LSTM" else h


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {}),
        ("GRU", {"bidirectional": True}),
        ("RNN", {"num_layers": 2}),
        ("RNN", {"nonlinearity": "relu", "bias": False, "bidirectional": True}),
    ],
)
def test_of_any_length(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = getattr(nn, kind)(3, 5, batch_first=True, **options)
    made = tc.compile(model, fallback="error")
    for batch, length in ((2, 6), (3, 1), (1, 17)):
        check(made, model, torch.randn(batch, length, 3))
    assert made.stats()["compilations"] == 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LSTM", {"num_layers": 2, "bidirectional": True, "bias": False, "dropout": 0.3}),
        ("GRU", {"num_layers": 2}),
    ],
)
def test_with_initial_states_and_steps_first(kind: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = getattr(nn, kind)(4, 8, **options).eval()
    made = tc.compile(model, threads=2, fallback="error")
    rows = options["num_layers"] * (2 if options.get("bidirectional") else 1)
    for length, batch in ((4, 2), (7, 3)):
        check(made, model, torch.randn(length, batch, 4), states(kind, rows, batch, 8))
    assert made.stats()["compilations"] == 1


@pytest.mark.usefixtures("plain")
def test_a_projection() -> None:
    torch.manual_seed(0)
    model = nn.LSTM(4, 6, proj_size=3)
    made = tc.compile(model, fallback="error")
    for length, batch in ((4, 2), (7, 3)):
        begin = torch.randn(1, batch, 3), torch.randn(1, batch, 6)
        check(made, model, torch.randn(length, batch, 4), begin)


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_cells(kind: str) -> None:
    torch.manual_seed(0)
    model = getattr(nn, f"{kind}Cell")(4, 5, bias=kind != "RNN")
    made = tc.compile(model, fallback="error")
    for batch in (2, 3):
        check(made, model, torch.randn(batch, 4), states(kind, batch, 5))


def test_one_thread_traces_while_another_does_not() -> None:
    """What a traced layer is told of its shapes is told to nobody else."""
    from torch._decomp import decompositions

    before = decompositions._rnn_helper
    tc.compile(nn.GRU(2, 2), example_inputs=(torch.randn(3, 2, 2),))
    assert decompositions._rnn_helper is before


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 4)
        self.layers = nn.LSTM(4, 5, batch_first=True, bidirectional=True)
        self.tags = nn.Linear(10, 3)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.tags(self.layers(self.words(input_ids))[0])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def tagger() -> tuple[Tagger, Any]:
    torch.manual_seed(0)
    model = Tagger().eval()
    ids = torch.randint(0, 11, (2, 6))
    return model, tc.compile(model, threads=2, example_inputs=(ids,), fallback="error")


def test_saved_and_loaded(tagger: tuple[Tagger, Any], tmp_path: Path) -> None:
    model, made = tagger
    made.save(tmp_path / "tagger.tc")
    loaded = tc.load(tmp_path / "tagger.tc")
    for shape in ((1, 1), (3, 9)):
        ids = torch.randint(0, 11, shape)
        with torch.no_grad():
            torch.testing.assert_close(loaded(ids), model(ids))


def test_explain_counts_every_turn(tagger: tuple[Tagger, Any]) -> None:
    _, made = tagger
    ids = torch.randint(0, 11, (2, 7))
    made(ids)
    rows = made.explain().rows
    assert {row.calls for row in rows if "slice_write" in row.kernel} == {7}
    product = next(row for row in rows if row.calls == 7 and row.factors)
    assert product.flops >= 7 * 2 * 2 * 5 * 20


def test_exported_as_c(tmp_path: Path) -> None:
    for tool in ("make", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    torch.manual_seed(0)
    model = nn.GRU(3, 5, batch_first=True)
    x = torch.randn(2, 7, 3)
    exported = tc.compile(model, example_inputs=(x,)).export_c(tmp_path, max_batch=3, max_length=9)
    exported.build(threads=True, flags="-O0")
    (got, *_) = exported.run({"input": x.numpy()}).values()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(got), model(x)[0])
