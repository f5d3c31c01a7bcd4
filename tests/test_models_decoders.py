"""Decoders end to end: values beside eager and float64, generation, caches, refusals.

Every program here is compiled code. A model is compiled once and shared by the tests of this
file, so they also show that no shape or earlier refusal disturbs what comes later.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import (
    Cache,
    EncoderDecoderCache,
    StaticCache,
)
from transformers.cache_utils import DynamicSlidingWindowLayer

import tc
from tc.errors import TcError, UnsupportedError
from tc.frontend import dynamo
from tc.frontend.capture_windows import whole_windows
from tc.frontend.tensors import FallbackWarning
from tests.models import (
    MAX_POSITIONS,
    VOCABULARY,
    entry,
    generating,
    shallow,
    sliding,
    text_inputs,
)

pytestmark = pytest.mark.usefixtures("captured_once")

DECODERS = ("gpt2-lm", "llama-lm", "qwen2-lm")
# Every batch has padding: generate leaves a mask of ones alone out of the call.
SHAPES = ((2, 9), (3, 17), (4, 3), (5, 8))


@functools.cache
def models(name: str) -> tuple[Any, Any, Any]:
    """A model, the same in float64, and the compiled one."""
    model = generating(name)
    return model, copy.deepcopy(model).double(), tc.compile(model, threads=1)


def compilations(made: Any) -> int:
    count: int = made.stats()["compilations"]
    return count


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of a result in order, those of caches too."""
    match value:
        case torch.Tensor():
            yield value
        case EncoderDecoderCache():
            yield from tensors(value.self_attention_cache)
            yield from tensors(value.cross_attention_cache)
        case Cache():
            for layer in value.layers:
                yield from (layer.keys, layer.values)
        case dict():
            for item in value.values():
                yield from tensors(item)
        case tuple() | list():
            for item in value:
                yield from tensors(item)


def double(value: Any) -> Any:
    """A copy with every float tensor in float64."""
    if isinstance(value, torch.Tensor):
        return value.double() if value.is_floating_point() else value
    made = copy.deepcopy(value)
    parts = (
        (made.self_attention_cache, made.cross_attention_cache)
        if isinstance(made, EncoderDecoderCache)
        else (made,)
    )
    for part in parts if isinstance(made, Cache) else ():
        for layer in part.layers:
            if layer.keys is not None:
                layer.keys, layer.values = layer.keys.double(), layer.values.double()
                layer.dtype = torch.float64
    return made


def check(name: str, call: dict[str, Any]) -> Any:
    """The compiled model's result, which is as near to float64 as eager's own."""
    model, exact, made = models(name)
    with torch.no_grad():
        wanted = model(**copy.deepcopy(call))
        true = exact(**{key: double(value) for key, value in call.items()})
        found = made(**copy.deepcopy(call))
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
    for ours, theirs, best in zip(*map(tensors, (found, wanted, true)), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        scale = float(best.abs().max())
        error, eager = (float((x - best).abs().max()) for x in (ours, theirs))
        assert error <= max(1e-5 * scale, 2 * eager)
    assert made.stats()["fallbacks"] == {}
    return found


def decoding(name: str, batch: int, past: int, new: int) -> dict[str, Any]:
    """A call that goes on from `past` tokens, padded on the left, with `new` more."""
    inputs = text_inputs(batch, past + new, seed=past, left=True)
    with torch.no_grad():
        start = models(name)[0](
            input_ids=inputs["input_ids"][:, :past],
            attention_mask=inputs["attention_mask"][:, :past],
            use_cache=True,
        )
    return {
        "input_ids": inputs["input_ids"][:, past:],
        "attention_mask": inputs["attention_mask"],
        "past_key_values": start.past_key_values,
    }


@pytest.mark.parametrize("name", DECODERS)
def test_generation_gives_the_tokens_of_eager_through_two_programs(name: str) -> None:
    model, _, made = models(name)
    before = compilations(made)
    for seed, shape in enumerate(SHAPES):
        inputs = text_inputs(*shape, seed=seed, left=True)
        for options in ({"max_new_tokens": 20}, {"max_new_tokens": 6, "num_beams": 3}):
            wanted = model.generate(**inputs, **options, do_sample=False)
            assert torch.equal(made.generate(**inputs, **options, do_sample=False), wanted)
    assert compilations(made) <= before + 2
    assert made.stats()["fallbacks"] == {}


def test_generation_of_t5() -> None:
    model, _, made = models("t5")
    before = compilations(made)
    for seed, shape in enumerate(SHAPES):
        inputs = text_inputs(*shape, seed=seed)
        for options in ({"max_new_tokens": 20}, {"max_new_tokens": 6, "num_beams": 3}):
            wanted = model.generate(**inputs, **options, do_sample=False)
            assert torch.equal(made.generate(**inputs, **options, do_sample=False), wanted)
    assert compilations(made) <= before + 3  # of the encoder, the prompt and the step
    assert made.stats()["fallbacks"] == {}


@pytest.mark.parametrize("name", [*DECODERS, "t5"])
def test_the_natural_set(name: str) -> None:
    before = compilations(models(name)[2])
    for inputs in entry(name).variants():
        check(name, inputs)
    assert compilations(models(name)[2]) == before


def test_decoding_by_hand() -> None:
    made = models("llama-lm")[2]
    before = compilations(made)
    for sizes in ((2, 6, 1), (3, 5, 4), (1, 1, 1), (2, 30, 17)):
        call = decoding("llama-lm", *sizes)
        result = check("llama-lm", call)
        assert result.past_key_values.get_seq_length() == sizes[1] + sizes[2]
    assert compilations(made) == before + 1


def test_a_given_cache_is_the_one_that_is_filled() -> None:
    made = models("llama-lm")[2]
    call = decoding("llama-lm", 2, 5, 2)
    cache = call["past_key_values"]
    with torch.no_grad():
        assert made(**call).past_key_values is cache
    assert cache.get_seq_length() == 7


def test_losses_states_and_positions() -> None:
    for shape in ((3, 9), (1, 5)):
        inputs = text_inputs(*shape, left=True)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        labels = ids.masked_fill(mask == 0, -100)
        extra = {"position_ids": positions, "labels": labels, "output_hidden_states": True}
        result = check("llama-lm", {**inputs, **extra})
        assert len(result.hidden_states) == 3
        assert result.loss.dim() == 0


def test_embeddings_attentions_and_no_cache() -> None:
    embedded = models("gpt2-lm")[0].get_input_embeddings()
    for shape in ((3, 9), (1, 5)):
        inputs = text_inputs(*shape, left=True)
        call = {
            "inputs_embeds": embedded(inputs["input_ids"]).detach(),
            "attention_mask": inputs["attention_mask"],
            "output_attentions": True,
            "use_cache": False,
        }
        assert check("gpt2-lm", call).past_key_values is None


def test_labels_of_t5() -> None:
    for shape in ((3, 9), (1, 5)):
        inputs = text_inputs(*shape)
        labels = inputs["input_ids"][:, :4].masked_fill(inputs["attention_mask"][:, :4] == 0, -100)
        assert check("t5", {**inputs, "labels": labels}).loss.dim() == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_ids": torch.full((2, 5), VOCABULARY)}, f"id {VOCABULARY}"),
        ({"input_ids": torch.full((2, 5), -1)}, "id -1"),
        ({"input_ids": torch.ones(2, MAX_POSITIONS + 1, dtype=torch.long)}, str(MAX_POSITIONS)),
        ({"input_ids": torch.ones(2, 5)}, "input_ids|Expected tensor|dtype"),
        ({"attention_mask": torch.ones(3, 5, dtype=torch.long)}, "attention_mask"),
    ],
)
def test_a_bad_call_is_one_error_and_the_next_call_works(change: dict[str, Any], said: str) -> None:
    made = models("gpt2-lm")[2]
    good = text_inputs(2, 5)
    call = {**good, **change}
    if call["input_ids"].shape[1] != 5:
        call["attention_mask"] = torch.ones_like(call["input_ids"])
    with pytest.raises(TcError, match=said), torch.no_grad():
        made(**call)
    check("gpt2-lm", good)


def test_a_missing_argument_is_one_error() -> None:
    made = models("gpt2-lm")[2]
    with pytest.raises(TcError, match="input_ids or inputs_embeds"), torch.no_grad():
        made(attention_mask=torch.ones(2, 5, dtype=torch.long))


def test_a_static_cache_runs_eagerly_with_one_warning() -> None:
    model = generating("llama-lm")
    made = tc.compile(model, threads=1)
    inputs = text_inputs(2, 6, left=True)
    options = {"max_new_tokens": 4, "do_sample": False, "cache_implementation": "static"}
    wanted = model.generate(**inputs, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = made.generate(**inputs, **options)
    assert torch.equal(found, wanted)
    said = [str(w.message) for w in caught if w.category is FallbackWarning]
    assert len(said) == 1
    assert "StaticCache" in said[0]
    assert made.stats()["fallbacks"] == {"LlamaForCausalLM.forward": 4}


@pytest.fixture(scope="module")
def windowed() -> tuple[Any, Any]:
    """A model whose layers see six positions, and the compiled one."""
    model = sliding()
    return model, tc.compile(model, threads=1, fallback="error")


def held(cache: Cache) -> list[tuple[torch.Size, int]]:
    return [(layer.keys.shape, layer.get_seq_length()) for layer in cache.layers]


def test_a_cache_of_a_sliding_window_is_as_in_eager(windowed: tuple[Any, Any]) -> None:
    model, made = windowed
    before = compilations(made)
    with torch.no_grad():
        # Prompts and steps that end before, at and behind the window's edge.
        for batch, *lengths in (
            (2, 3, 1, 1, 1, 1, 5, 1),
            (3, 9, 1, 2),
            (1, 1, 1),
            (1, 5, 1),
            (2, 6, 1),
        ):
            mask, caches = torch.ones(batch, 0, dtype=torch.long), [None, None]
            for seed, length in enumerate(lengths):
                inputs = text_inputs(batch, length, seed=seed, left=True)
                mask = torch.cat([mask, inputs["attention_mask"]], 1)
                found, wanted = (
                    each(inputs["input_ids"], attention_mask=mask, past_key_values=cache)
                    for each, cache in zip((made, model), caches, strict=True)
                )
                torch.testing.assert_close(found.logits, wanted.logits, rtol=0, atol=1e-5)
                assert caches[0] in (None, found.past_key_values)
                caches = [found.past_key_values, wanted.past_key_values]
                assert held(caches[0]) == held(caches[1])
                for ours, theirs in zip(*map(tensors, caches), strict=True):
                    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert compilations(made) == before + 1  # the steps; the prompt is the natural set


@torch.no_grad()
def test_a_saved_decoder_goes_on_from_what_it_gave(
    windowed: tuple[Any, Any], tmp_path: Path
) -> None:
    """Each output that belongs to the cache is an input of the next step, by the same name."""
    model, made = windowed
    first = text_inputs(2, 9, left=True)
    steps = [text_inputs(2, n, seed=n)["input_ids"] for n in (1, 2)]
    masks = [functional.pad(first["attention_mask"], (0, n), value=1) for n in (1, 3)]
    wanted = model(**first)
    made(steps[0], attention_mask=masks[0], past_key_values=made(**first).past_key_values)
    made.save(tmp_path / "sliding.tc")
    loaded = tc.load(tmp_path / "sliding.tc", threads=1)
    found = loaded(**{name: tensor.numpy() for name, tensor in first.items()})
    for ids, mask in zip(steps, masks, strict=True):
        wanted = model(ids, attention_mask=mask, past_key_values=wanted.past_key_values)
        cache = {n: a for n, a in found.items() if n.startswith("past_key_values.")}
        found = loaded(input_ids=ids.numpy(), attention_mask=mask.numpy(), **cache)
        torch.testing.assert_close(
            torch.from_numpy(found["logits"]), wanted.logits, rtol=0, atol=1e-5
        )


def test_layers_of_a_window_are_their_own_again_after_a_trace() -> None:
    layer = DynamicSlidingWindowLayer(sliding_window=4)
    rows = torch.ones(1, 2, 3, 8)
    with whole_windows():
        with ThreadPoolExecutor(1) as pool:
            pool.submit(layer.update, rows, rows).result()
            pool.submit(layer.update, rows, rows).result()
        assert layer.keys.shape[2] == 3  # of another thread, which does not trace
        assert layer.update(rows, rows)[0].shape[2] == layer.keys.shape[2] == 6
    layer.update(rows, rows)
    assert (layer.keys.shape[2], layer.get_seq_length()) == (3, 12)


def test_eager_calls_can_be_forbidden() -> None:
    model = sliding()
    made = tc.compile(model, threads=1, fallback="error")
    cache = StaticCache(config=model.config, max_cache_len=8)
    with pytest.raises(UnsupportedError, match="use_cache=False"), torch.no_grad():
        made(**text_inputs(2, 5), past_key_values=cache)


class Attend(nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("sizes", [(1, 1, 8), (5, 1, 8), (1, 5, 8), (5, 7, 1)])
def test_attention_over_baked_single_places(sizes: tuple[int, int, int]) -> None:
    rows, columns, width = sizes
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, rows, width, generator=generator)
    k, v = torch.randn(2, 2, 4, columns, width, generator=generator)
    made = tc.compile(Attend(), dynamic=False, threads=1)
    with torch.no_grad():
        torch.testing.assert_close(made(q, k, v), Attend()(q, k, v), rtol=1e-5, atol=1e-6)


def test_training_through_torch_compile() -> None:
    ours, theirs = shallow("llama-lm").build(), shallow("llama-lm").build()
    inputs = text_inputs(2, 7, left=True)
    torch._dynamo.reset()
    dynamo._WARNED.clear()
    counted = dict(tc.stats())["fallbacks"]
    assert isinstance(counted, dict)
    compiled = torch.compile(ours, backend="tc")
    with pytest.warns(FallbackWarning, match="gradients"):
        loss = compiled(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    wanted = theirs(**inputs, labels=inputs["input_ids"]).loss
    wanted.backward()
    torch._dynamo.reset()
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-6)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-5, atol=1e-6)
    after: Any = tc.stats()["fallbacks"]
    assert after["eager graph"] >= counted.get("eager graph", 0) + 2
