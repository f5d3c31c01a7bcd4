"""Models through the C compiler of this machine: the same bits as through LLVM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import tc
from tc.frontend.options import Options

torch = pytest.importorskip("torch")


class Block(torch.nn.Module):
    """A gated product with a residual, a norm and a softmax: what models are made of."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.gate = torch.nn.Linear(24, 40), torch.nn.Linear(24, 40)
        self.down, self.norm = torch.nn.Linear(40, 24), torch.nn.LayerNorm(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        y = torch.nn.functional.gelu(self.up(y)) * torch.sigmoid(self.gate(y))
        return torch.softmax(x + self.down(y), -1)


def short() -> torch.nn.Module:
    """One product of short numbers: more of them are other kernels of the same kind."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.LayerNorm(24), torch.nn.Linear(24, 40), torch.nn.GELU())


@pytest.mark.parametrize(
    ("make", "precision", "shapes"),
    [
        (Block, "fp32", [(2, 5, 24), (1, 3, 24)]),  # one compilation serves both
        (short, "int8", [(2, 5, 24)]),  # baked: each range of sizes has such code of its own
    ],
)
def test_both_generators_give_the_same_bits(
    make: Callable[[], torch.nn.Module], precision: str, shapes: list[tuple[int, ...]]
) -> None:
    model = make().eval()
    options = {"precision": precision, "dynamic": len(shapes) > 1}
    made = [tc.compile(model, codegen=g, **options) for g in ("llvm", "c")]
    for shape in shapes:
        x = torch.randn(*shape)
        with torch.no_grad():
            found = [m(x) for m in made]
        assert torch.equal(*found)


def test_a_saved_model_of_c_is_loaded_without_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = Block().eval(), torch.randn(2, 5, 24)  # as above: compiled already
    made = tc.compile(model, codegen="c", example_inputs=(x,))
    made.save(tmp_path / "block.tc")
    monkeypatch.setenv("CC", "nonesuch")
    loaded = tc.load(tmp_path / "block.tc")
    with torch.no_grad():
        assert torch.equal(torch.as_tensor(loaded(x)), made(x))


def test_unknown_generators_and_missing_compilers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(tc.UnsupportedError, match="codegen='rust'.*'llvm' or 'c'"):
        Options.of(codegen="rust")
    monkeypatch.setenv("CC", "nonesuch")
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path))
    with pytest.raises(tc.CompileError, match="C compiler nonesuch"):
        tc.compile(Block().eval(), codegen="c", example_inputs=(torch.randn(3, 24),))
