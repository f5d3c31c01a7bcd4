"""Encoder models through the whole of tc: every shape and argument set against eager and float64.

Each model is compiled once for all tests of this file. Errors are measured against float64; what
counts is the larger of 1e-5 of the output's scale and twice eager's own error.
"""

from __future__ import annotations

import copy
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, pipeline

import tc
from tc.frontend.model import compile_model
from tests.models import Inputs, entry, minilm_folder, padding_mask, shallow, zoo

pytestmark = pytest.mark.usefixtures("captured_once")

ENCODERS = tuple(e.name for e in zoo() if not e.causal and not e.name.startswith(("gpt", "llama")))
TEXT = tuple(name for name in ENCODERS if not name.startswith("vit"))
SHAPES = ((1, 1), (1, 2), (2, 7), (3, 16), (2, 17), (1, 33))


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@functools.cache
def trio(name: str) -> tuple[Any, Any, Any]:
    """A model of the zoo: compiled, as it is, and in float64."""
    model = shallow(name).build()
    double = copy.deepcopy(model).double()
    return tc.compile(model, threads=1, fallback="error"), model, double


def flat(value: Any) -> list[torch.Tensor]:
    """The tensors of a result in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [t for item in value for t in flat(item)] if isinstance(value, (tuple, list)) else []


def widened(value: Any) -> Any:
    """Floating-point tensors in float64, anything else as it is."""
    real = isinstance(value, torch.Tensor) and value.dtype.is_floating_point
    return value.double() if real else value


def agrees(name: str, ours: Any = None, **inputs: Any) -> Any:
    """Check one call against eager and float64; our result."""
    cm, model, double = trio(name)
    found = (ours or cm)(**inputs)
    close(found, model(**inputs), double(**{k: widened(v) for k, v in inputs.items()}))
    return found


def close(found: Any, eager: Any, exact: Any) -> None:
    """The same class, names, shapes and dtypes; values within the bound of this file."""
    assert type(found) is type(eager)
    if isinstance(eager, dict):
        assert list(found) == list(eager)
    ours, theirs, true = flat(found), flat(eager), flat(exact)
    assert len(ours) == len(theirs) > 0
    for mine, its, best in zip(ours, theirs, true, strict=True):
        assert (mine.shape, mine.dtype) == (its.shape, its.dtype)
        torch.testing.assert_close(mine.isnan(), its.isnan(), rtol=0, atol=0)
        scale = best.nan_to_num().abs().max()
        bound = max(1e-5 * scale, 2 * (its - best).nan_to_num().abs().max())
        assert (mine - best).nan_to_num().abs().max() <= bound


@pytest.mark.parametrize("name", ENCODERS)
def test_every_shape_through_one_compilation(name: str) -> None:
    cm, _, _ = trio(name)
    before = cm.stats()["compilations"]
    for seed, (batch, length) in enumerate(SHAPES):
        agrees(name, **shallow(name).inputs(batch, length, seed=seed))
    stats = cm.stats()
    assert stats["compilations"] == before
    assert stats["fallbacks"] == {}


@pytest.mark.parametrize("name", TEXT)
def test_masks_compile_nothing_and_hide_what_they_say(name: str) -> None:
    cm, _, _ = trio(name)
    inputs = shallow(name).inputs(3, 11)
    before = cm.stats()["compilations"]
    rows = inputs["attention_mask"].clone()
    rows[1] = 0
    holes = torch.ones_like(rows)
    holes[:, 2::3] = 0
    for mask in (padding_mask(3, 11, left=True), rows, torch.zeros_like(rows), holes):
        agrees(name, **(inputs | {"attention_mask": mask}))
    strided = {key: value.repeat(1, 2)[:, ::2] for key, value in inputs.items()}
    agrees(name, **strided)
    agrees(name, **{key: value[:1].expand(3, -1) for key, value in inputs.items()})
    assert cm.stats()["compilations"] == before


def variants(name: str) -> dict[str, Inputs]:
    """Argument sets beside the natural one, each a compilation of its own."""
    one = shallow(name)
    x: dict[str, Any] = dict(one.inputs(3, 11))
    if name.startswith("vit"):
        return {"hidden": {**x, "output_hidden_states": True}}
    ids, mask = x.pop("input_ids"), x["attention_mask"]
    embeds = trio(name)[1].get_input_embeddings()(ids)
    natural = {"input_ids": ids, **x}
    places = torch.arange(11).flip(0)[None]
    return {
        "ids": {"input_ids": ids},
        "embeds": {"inputs_embeds": embeds, **x},
        "hidden": {**natural, "output_hidden_states": True},
        "token types": {**natural, "token_type_ids": (places.expand(3, -1) > 4).long()},
        "tuple": {**natural, "return_dict": False},
        "positions": {**natural, "position_ids": places.expand(3, -1)},
        "float mask": {**natural, "attention_mask": mask.float()},
        "bool mask": {**natural, "attention_mask": mask.bool()},
        "square mask": {**natural, "attention_mask": torch.ones(3, 1, 11, 11).tril().bool()},
        "labels": {**natural, "labels": torch.where(mask == 1, ids, -100)},
        "classes": {**natural, "labels": torch.tensor([0, 1, 0])},
        "spans": {
            **natural,
            "start_positions": torch.tensor([0, 3, 100]),
            "end_positions": torch.tensor([1, 5, 7]),
        },
    }


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        *[("bert", v) for v in ("ids", "embeds", "hidden", "positions")],
        *[("bert", v) for v in ("tuple", "float mask", "bool mask", "square mask")],
        ("bert-sequence", "classes"),
        ("bert-qa", "spans"),
        ("bert-mlm", "labels"),
        ("albert", "token types"),
        ("roberta", "embeds"),
        ("t5-encoder", "hidden"),
        ("vit", "hidden"),
    ],
)
def test_an_argument_set_is_one_compilation(name: str, variant: str) -> None:
    cm, _, _ = trio(name)
    inputs = variants(name)[variant]
    before = cm.stats()["compilations"]
    agrees(name, **inputs)
    assert cm.stats()["compilations"] == before + 1
    agrees(name, **inputs)
    assert cm.stats()["compilations"] == before + 1
    assert cm.stats()["fallbacks"] == {}


def test_attention_weights() -> None:
    model = entry("bert").build()
    model.set_attn_implementation("eager")
    double = copy.deepcopy(model).double()
    cm: Any = compile_model(model, threads=1, natural=False)
    for shape in ((1, 1), (3, 9)):
        call: dict[str, Any] = {**shallow("bert").inputs(*shape), "output_attentions": True}
        found = cm(**call)
        assert len(found.attentions) == 2
        close(found, model(**call), double(**call))
    assert cm.stats()["fallbacks"] == {}


def test_changed_weights_are_noticed() -> None:
    model = shallow("bert").build()
    cm = tc.compile(model, threads=1)
    inputs = shallow("bert").inputs(2, 7)
    first = cm(**inputs).last_hidden_state
    kept = first.clone()
    saved = {key: value.clone() for key, value in model.state_dict().items()}
    model.encoder.layer[0].intermediate.dense.weight.mul_(1.5)
    second = cm(**inputs).last_hidden_state
    double = copy.deepcopy(model).double()
    close(second, model(**inputs).last_hidden_state, double(**inputs).last_hidden_state)
    assert not torch.allclose(second, first)
    # What a call returned is the caller's.
    assert torch.equal(first, kept)
    model.load_state_dict(saved)
    assert torch.equal(cm(**inputs).last_hidden_state, kept)
    assert cm.stats()["compilations"] == 1


def test_the_model_given_and_the_inputs_stay_as_they_are() -> None:
    model = shallow("bert-sequence").build().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    attributes = set(vars(model))
    cm = tc.compile(model, threads=1)
    inputs = shallow("bert-sequence").inputs(2, 7)
    given = {key: value.clone() for key, value in inputs.items()}
    cm(**inputs)
    assert model.training
    assert set(vars(model)) == attributes
    assert "forward" not in vars(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(torch.equal(given[key], value) for key, value in inputs.items())
    pairs = zip(cm.parameters(), model.parameters(), strict=True)
    assert all(ours is theirs for ours, theirs in pairs)


def test_training_is_refused() -> None:
    cm, _, _ = trio("bert")
    with pytest.raises(tc.UnsupportedError, match=r"train\(\).*torch.compile"):
        cm.train()
    assert cm.eval() is cm
    inputs = dict(shallow("bert").inputs(1, 3))
    embeds = torch.randn(1, 3, 32, requires_grad=True)
    with torch.enable_grad(), pytest.raises(tc.UnsupportedError, match="requires grad"):
        cm(inputs_embeds=embeds, attention_mask=inputs["attention_mask"])


@pytest.mark.parametrize("target", ["x86-64-v3", "generic"])
def test_other_targets_give_the_same(target: str) -> None:
    cm = tc.compile(trio("bert")[1], target=target, threads=1)
    for batch, length in ((1, 1), (3, 17)):
        agrees("bert", cm, **shallow("bert").inputs(batch, length))


def test_baked_shapes() -> None:
    one = shallow("bert")
    inputs = one.inputs(2, 9)
    cm = tc.compile(trio("bert")[1], threads=1, dynamic=False, example_inputs=inputs)
    assert cm.stats()["compilations"] == 1
    agrees("bert", cm, **inputs)
    assert cm.stats()["compilations"] == 1
    agrees("bert", cm, **one.inputs(1, 4))
    assert cm.stats()["compilations"] == 2


def test_host_threads_share_a_model() -> None:
    cm, _, _ = trio("bert-token")
    calls = [shallow("bert-token").inputs(1 + n % 3, 1 + 5 * n, seed=n) for n in range(6)]
    wanted = [cm(**inputs).logits for inputs in calls]

    def run(n: int) -> bool:
        with torch.no_grad():
            return torch.equal(cm(**calls[n % 6]).logits, wanted[n % 6])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(60)))


_LOAD = """
import json, sys
import numpy as np
import tc
folder = sys.argv[1]
arrays = dict(np.load(folder + "/inputs.npz"))
outputs = tc.load(folder + "/model.tc", threads=1)(**arrays)
np.savez(folder + "/outputs.npz", **outputs)
print(json.dumps(sorted(set(sys.modules) & {"torch", "transformers"})))
"""


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_saved_models_run_without_torch(name: str, tmp_path: Path) -> None:
    cm, _, _ = trio(name)
    cm.save(tmp_path / "model.tc")
    inputs = shallow(name).inputs(3, 17)
    np.savez(tmp_path / "inputs.npz", **{key: t.numpy() for key, t in inputs.items()})
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
    loaded = np.load(tmp_path / "outputs.npz")
    wanted = cm(**inputs)
    assert sorted(loaded) == sorted(wanted)
    for key, value in wanted.items():
        np.testing.assert_array_equal(loaded[key], value.numpy())


def test_minilm_and_its_pipeline() -> None:
    folder = minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    cm = tc.compile(model, threads=1, fallback="error")
    texts = ["One.", "A much longer sentence about nothing in particular.", "Cats sleep."]
    double = copy.deepcopy(model).double()
    for chosen in (texts, texts[:1]):
        batch = tokenizer(chosen, padding=True, return_tensors="pt")
        close(cm(**batch), model(**batch), double(**batch))
    ours = pipeline("feature-extraction", model=cm, tokenizer=tokenizer, device="cpu")(texts)
    eager = pipeline("feature-extraction", model=model, tokenizer=tokenizer, device="cpu")(texts)
    for mine, its in zip(ours, eager, strict=True):
        np.testing.assert_allclose(np.array(mine), np.array(its), atol=1e-5)
    assert cm.stats()["compilations"] == 1
    assert cm.stats()["fallbacks"] == {}
