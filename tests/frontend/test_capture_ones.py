"""Sizes that tracing may make numbers: counts of pieces, lists in Python, ones that broadcast."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertPreTrainedModel

import tc

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")


class _Cuts(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        parts = x.split(2) if self.how == "split" else getattr(x, self.how)(3)
        return [part * 2 for part in parts]


@pytest.mark.parametrize("how", ["chunk", "split", "tensor_split"])
def test_as_many_pieces_as_eager_gives(how: str) -> None:
    model = _Cuts(how)
    compiled = tc.compile(model, fallback="error")
    with torch.no_grad():
        for rows, columns in ((6, 2), (4, 2), (4, 3), (1, 2)):
            x = torch.randn(rows, columns)
            ours, theirs = compiled(x), model(x)
            assert [part.shape for part in ours] == [part.shape for part in theirs]
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert compiled.stats()["compilations"] == 3  # one for each number of rows


class _Thirds(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, third = torch.cat((x, -x, x * 2)).chunk(3)
        return first + second * third


def test_pieces_of_a_multiple_of_their_number_have_any_size() -> None:
    model = _Thirds()
    compiled = tc.compile(model, fallback="error")
    for rows in (4, 1, 7):
        x = torch.randn(rows, 2)
        torch.testing.assert_close(compiled(x), model(x))
    assert compiled.stats()["compilations"] == 1


class _Listed(BertPreTrainedModel):
    """Counts its tokens in Python, so that each length is traced on its own."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        places = torch.tensor([float(n) for n in range(input_ids.shape[1])])
        return self.words(input_ids) * places[:, None]


def test_a_size_that_the_model_makes_a_number_of() -> None:
    model = _Listed(BertConfig(vocab_size=11, hidden_size=4)).eval()
    compiled = tc.compile(model, fallback="error")
    with torch.no_grad():
        for batch, length in ((2, 8), (1, 5), (3, 9)):
            ids = torch.randint(0, 11, (batch, length))
            assert torch.equal(compiled(ids), model(ids))


class _Shifted(nn.Module):
    """A table cut by the greater of two sizes, which leaves one row of it, as MPT does."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Buffer(torch.linspace(-2, 2, 2 * 64).reshape(2, 1, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        table = self.table[:, max(0, 1 - length) :, max(0, 64 - length) :]
        scores = (x @ x.transpose(-1, -2))[:, None] + table
        return scores.softmax(-1) @ x[:, None]


def test_a_dim_that_its_bounds_make_one_is_broadcast() -> None:
    model = _Shifted()
    compiled = tc.compile(model, example_inputs=(torch.randn(2, 7, 8),), fallback="error")
    with torch.no_grad():
        for batch, length in ((2, 7), (3, 20), (1, 64)):
            x = torch.randn(batch, length, 8)
            torch.testing.assert_close(compiled(x), model(x), atol=1e-5, rtol=1e-5)
    assert compiled.stats()["compilations"] == 1


class _Attends(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize(
    ("first", "programs"),
    [
        ((2, 3, 5, 8), [1, 1, 1, 2]),  # a single query is a number of queries like others
        ((2, 3, 1, 8), [1, 2, 2, 3]),  # or what the program is for
    ],
)
def test_widths_of_heads_are_numbers_and_so_is_a_single_query(first, programs) -> None:
    def given(shape: tuple[int, ...], keys: int) -> list[torch.Tensor]:
        kept = (shape[0], shape[1], keys, shape[3])
        return [torch.randn(size) for size in (shape, kept, kept)]

    compiled = tc.compile(_Attends(), example_inputs=given(first, 7), fallback="error")
    counted = []
    for shape, keys in ((first, 9), ((2, 3, 4, 8), 4), ((4, 2, 1, 8), 6), ((2, 3, 5, 12), 7)):
        inputs = given(shape, keys)
        torch.testing.assert_close(compiled(*inputs), _Attends()(*inputs))
        counted.append(compiled.stats()["compilations"])
    assert counted == programs


class _Shifted(nn.Module):
    """Moves a row by one, so that a length less one has to be free: lengths up to two are not."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        moved = ids.new_zeros(ids.shape)
        moved[:, 1:] = ids[:, :-1].clone()
        moved[:, 0] = 7
        return moved


def test_a_size_below_those_that_a_trace_is_for_has_its_own_program() -> None:
    model = _Shifted()
    compiled = tc.compile(model, fallback="error", threads=1)
    for shape in ((2, 7), (3, 4), (2, 2), (1, 1)):
        ids = torch.randint(0, 9, shape)
        assert torch.equal(compiled(ids), model(ids))
    assert compiled.stats()["compilations"] == 3  # for three or more, for two, for one
    narrow = tc.compile(nn.Conv1d(1, 1, 4), threads=1)
    narrow(torch.zeros(2, 1, 7))
    with pytest.raises(tc.TcError, match="the model itself refuses it"):
        narrow(torch.zeros(2, 1, 3))


class Blocks(torch.nn.Module):
    """Blocks of eight, of which short inputs have one."""

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        missing = 8 - input_ids.shape[1] % 8
        whole = torch.nn.functional.pad(input_ids.float(), (0, missing), value=7.0)
        return whole.view(len(whole), -1, 8) + 1


@pytest.mark.filterwarnings("ignore::tc.frontend.tensors.FallbackWarning")
def test_a_size_that_was_one_in_the_trace_alone_is_no_one() -> None:
    # By name it is known what the dims are, so that the trace has sizes of its own choice.
    cm = tc.compile(Blocks(), threads=1)
    for length in (9, 3, 16):
        ids = torch.arange(2 * length).view(2, length)
        assert torch.equal(cm(input_ids=ids), Blocks()(ids))
