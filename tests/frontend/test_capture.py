"""One captured graph serves every batch, length and padding: checked against eager, to 2e-6."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from tc.errors import CompileError, UnsupportedError
from tc.frontend import capture_tree as tree
from tc.frontend.capture import capture
from tc.frontend.capture_result import rebuild
from tc.frontend.captured import Captured, Request
from tc.frontend.signature import IdCheck, Signature, SizeCheck
from tc.frontend.signature_bind import ShapeMismatchError, bind
from tests.captures import captured as captured_model
from tests.captures import shared
from tests.models import MAX_POSITIONS, SHAPES, VOCABULARY, Entry, entry, shallow, zoo


def run(captured: Captured, **kwargs: Any) -> Any:
    """The captured graph, run operator by operator, on a call of the captured kind."""
    tensors: list[torch.Tensor] = []
    caches: list[Any] = []
    tree.flatten(([], kwargs), tensors, caches, "")
    bind(captured.signature, [tensor.shape for tensor in tensors])
    with torch.no_grad():
        outputs = captured.graph(*[weight.tensor for weight in captured.weights], *tensors)
    assert isinstance(captured.result, tree.SequenceNode)
    for node in captured.result.items[1].items:  # type: ignore[union-attr]  # a SequenceNode
        rebuild(node, outputs, tensors, caches)
    return rebuild(captured.result.items[0], outputs, tensors, caches)


def assert_same(result: Any, expected: Any) -> None:
    """Same classes all the way down, and values within 2e-6 (absolute)."""
    ours: list[torch.Tensor] = []
    theirs: list[torch.Tensor] = []
    assert type(result) is type(expected)
    assert tree.flatten(result, ours, [], "") == tree.flatten(expected, theirs, [], "")
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-6, equal_nan=True)


def captured_call(model: nn.Module, call: dict[str, Any]) -> Captured:
    """The capture of a call, which tests of the same call share."""
    return shared(Request.of(model, (), call))


def assert_serves(captured: Captured, model: nn.Module, calls: list[dict[str, Any]]) -> None:
    for call in calls:
        with torch.no_grad():
            expected = model(**copy.deepcopy(call))
        assert_same(run(captured, **copy.deepcopy(call)), expected)


@pytest.mark.parametrize("each", zoo(), ids=lambda each: each.name)
def test_one_graph_serves_every_batch_length_and_padding(each: Entry) -> None:
    assert_serves(captured_model(each.name), each.build(), list(each.variants()))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5-encoder"])
def test_hidden_states_are_captured(name: str) -> None:
    each, flag = shallow(name), {"output_hidden_states": True}
    model = each.build()
    captured = captured_call(model, {**each.inputs(2, 9), **flag})
    assert_serves(captured, model, [{**inputs, **flag} for inputs in each.variants()])


@pytest.mark.parametrize(
    ("attention", "name"),
    [
        *(("eager", name) for name in ("bert", "gpt2-lm", "t5")),
        *(("sdpa", name) for name in ("bert", "llama-lm", "vit")),
    ],
)
def test_attentions_are_captured_as_eager_gives_them(name: str, attention: str) -> None:
    each, flag = shallow(name), {"output_attentions": True}
    model = each.build()
    model.set_attn_implementation(attention)
    captured = captured_call(model, {**each.inputs(2, 9), **flag})
    assert_serves(captured, model, [{**inputs, **flag} for inputs in each.variants()])


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_tuples_instead_of_model_outputs(name: str) -> None:
    each, flag = shallow(name), {"return_dict": False}
    model = each.build()
    captured = captured_call(model, {**each.inputs(2, 9), **flag})
    assert_serves(captured, model, [{**inputs, **flag} for inputs in each.variants()])


@pytest.mark.parametrize("name", ["bert-mlm", "bert-token", "llama-lm", "t5"])
def test_token_labels_give_the_loss(name: str) -> None:
    each = shallow(name)
    model = each.build()
    classes = 3 if name == "bert-token" else VOCABULARY

    def call(batch: int, length: int) -> dict[str, torch.Tensor]:
        labels = torch.arange(batch * length).reshape(batch, length) % classes
        labels[:, 0] = -100 if length > 1 else labels[:, 0]
        inputs = each.inputs(batch, length)
        inputs.pop("decoder_input_ids", None)
        return {**inputs, "labels": labels}

    captured = captured_call(model, call(1, 7))
    assert_serves(captured, model, [call(*shape) for shape in ((1, 7), (2, 16), (3, 17))])


@pytest.mark.parametrize("name", ["bert-sequence", "vit-image"])
def test_class_labels_give_the_loss(name: str) -> None:
    each = entry(name)
    model = each.build()

    def call(batch: int) -> dict[str, torch.Tensor]:
        return {**each.inputs(batch, 9), "labels": torch.arange(batch) % 2}

    captured = captured_call(model, call(1))
    assert_serves(captured, model, [call(batch) for batch in (1, 2, 5)])


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5-encoder"])
def test_embeddings_instead_of_ids(name: str) -> None:
    each = shallow(name)
    model = each.build()

    def call(batch: int, length: int) -> dict[str, torch.Tensor]:
        inputs = each.inputs(batch, length)
        embeddings = model.get_input_embeddings()(inputs.pop("input_ids")).detach()
        return {**inputs, "inputs_embeds": embeddings}

    captured = captured_call(model, call(1, 7))
    assert_serves(captured, model, [call(*shape) for shape in SHAPES])


def test_positions_that_are_given() -> None:
    each = shallow("bert")
    model = each.build()

    def call(batch: int, length: int) -> dict[str, torch.Tensor]:
        positions = torch.arange(length).flip(0).expand(batch, -1).contiguous()
        return {**each.inputs(batch, length), "position_ids": positions}

    captured = captured_call(model, call(2, 7))
    assert_serves(captured, model, [call(*shape) for shape in SHAPES])


def decode_call(model: nn.Module, each: Entry, batch: int, past: int, new: int) -> dict[str, Any]:
    """A call that goes on from a prefill of `past` tokens with `new` more."""
    inputs = each.inputs(batch, past + new)
    with torch.no_grad():
        start = model(
            input_ids=inputs["input_ids"][:, :past],
            attention_mask=inputs["attention_mask"][:, :past],
            use_cache=True,
        )
    return {
        "input_ids": inputs["input_ids"][:, past:],
        "attention_mask": inputs["attention_mask"],
        "past_key_values": start.past_key_values,
        "use_cache": True,
    }


@pytest.mark.parametrize("name", ["gpt2-lm", "llama-lm", "qwen2-lm"])
def test_decoding_goes_on_from_any_past(name: str) -> None:
    each = entry(name)
    model = each.build()
    captured = captured_call(model, decode_call(model, each, 1, 6, 1))
    sizes = ((1, 6, 1), (1, 1, 1), (2, 9, 1), (3, 5, 4), (5, 20, 2))
    assert_serves(captured, model, [decode_call(model, each, *size) for size in sizes])


@pytest.mark.parametrize("name", ["gpt2-lm", "llama-lm"])
def test_an_empty_cache_is_filled_in_place(name: str) -> None:
    each = entry(name)
    model = each.build()
    inputs = each.inputs(2, 7)
    captured = captured_call(model, {**inputs, "past_key_values": DynamicCache()})
    given = DynamicCache(config=model.config)
    result = run(captured, **each.inputs(3, 11), past_key_values=given)
    assert result.past_key_values is given
    assert given.get_seq_length() == 11
    with torch.no_grad():
        expected = model(**each.inputs(3, 11), past_key_values=DynamicCache(config=model.config))
    assert_same(result.logits, expected.logits)


def test_a_given_cache_is_extended_even_when_the_result_leaves_it_out() -> None:
    each = shallow("llama-lm")
    model = each.build()
    call = decode_call(model, each, 2, 6, 1)
    captured = captured_call(model, {**call, "use_cache": False})
    ours, theirs = copy.deepcopy(call), copy.deepcopy(call)
    with torch.no_grad():
        model(**{**theirs, "use_cache": False})
    run(captured, **{**ours, "use_cache": False})
    assert_same(ours["past_key_values"], theirs["past_key_values"])


def t5_call(model: nn.Module, batch: int, length: int, past: int) -> dict[str, Any]:
    """A decoding step of T5 after `past` decoder tokens (0: the first step)."""
    inputs = entry("t5").inputs(batch, length)
    ids = torch.arange(batch * (past + 1)).reshape(batch, past + 1) % VOCABULARY
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    with torch.no_grad():
        states = model.get_encoder()(inputs["input_ids"], inputs["attention_mask"])[0]
        if past:
            cache = model(
                encoder_outputs=BaseModelOutput(states),
                attention_mask=inputs["attention_mask"],
                decoder_input_ids=ids[:, :past],
                past_key_values=cache,
            ).past_key_values
    return {
        "encoder_outputs": BaseModelOutput(states),
        "attention_mask": inputs["attention_mask"],
        "decoder_input_ids": ids[:, past:],
        "past_key_values": cache,
    }


@pytest.mark.parametrize("past", [0, 3])
def test_t5_decodes_over_given_encoder_outputs(past: int) -> None:
    model = entry("t5").build()
    captured = captured_call(model, t5_call(model, 1, 7, past))
    later = [t5_call(model, batch, length, past * 2) for batch, length in ((1, 1), (3, 17))]
    assert_serves(captured, model, [t5_call(model, 1, 7, past), *later])


def test_an_input_handed_back_is_no_output() -> None:
    model = entry("t5").build()
    call = t5_call(model, 2, 7, 0)
    captured = captured_call(model, call)
    result = run(captured, **call)
    assert result.encoder_last_hidden_state is call["encoder_outputs"].last_hidden_state
    names = dict(captured.signature.names)
    index = -1 - names["encoder_last_hidden_state"]
    assert captured.signature.inputs[index].name == "encoder_outputs.last_hidden_state"


def test_the_model_is_left_as_it_is() -> None:
    model = shallow("bert").build().train()
    before = {name: (id(t), t._version) for name, t in model.named_parameters()}
    flags = [module.training for module in model.modules()]
    attributes = set(vars(model))
    captured = capture(model, (), shallow("bert").inputs(2, 7))
    assert {name: (id(t), t._version) for name, t in model.named_parameters()} == before
    assert [module.training for module in model.modules()] == flags
    assert set(vars(model)) == attributes
    parameters = dict(model.named_parameters())
    for weight in captured.weights:
        if weight.name in parameters:
            assert weight.tensor is parameters[weight.name]


def test_graphs_hold_no_assertions_regions_or_in_place_operators() -> None:
    each = shallow("t5")
    inputs = each.inputs(2, 7)
    inputs["labels"] = inputs.pop("decoder_input_ids")
    captured = captured_call(each.build(), inputs)
    assert captured.signature.mutated == ()
    for node in captured.graph.graph.nodes:
        assert node.op in ("placeholder", "call_function", "output"), node.format_node()
        schema = getattr(node.target, "_schema", None)
        assert schema is None or not schema.is_mutable, node.format_node()
        assert "assert" not in str(node.target)


def test_symbols_are_labelled_and_dims_shared() -> None:
    captured = captured_model("bert")
    assert {symbol.label for symbol in captured.signature.symbols} == {"batch", "length"}
    assert len({spec.shape for spec in captured.signature.inputs}) == 1


def test_a_decoding_mask_is_as_long_as_past_and_length() -> None:
    each = entry("llama-lm")
    model = each.build()
    captured = captured_call(model, decode_call(model, each, 1, 4, 1))
    shapes = {spec.name: spec.shape for spec in captured.signature.inputs}
    keys, ids = shapes["past_key_values.0.keys"], shapes["input_ids"]
    assert set(str(shapes["attention_mask"][1]).split(" + ")) == {keys[2], ids[1]}


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta", "electra"])
def test_checks_name_the_vocabulary_and_the_positions(name: str) -> None:
    captured = captured_model(name)
    checks = captured.signature.checks
    assert IdCheck("input_ids", VOCABULARY) in checks
    assert any(isinstance(check, SizeCheck) and check.maximum == MAX_POSITIONS for check in checks)


def test_the_signature_survives_json() -> None:
    captured = captured_model("gpt2-lm")
    text = json.dumps(captured.signature.to_json())
    assert Signature.from_json(json.loads(text)) == captured.signature


def test_a_damaged_signature_is_refused() -> None:
    captured = capture(nn.Linear(3, 4), (torch.zeros(2, 3),), {})
    data = captured.signature.to_json()
    del data["inputs"][0]["shape"]
    with pytest.raises(CompileError, match="program signature: malformed"):
        Signature.from_json(data)


def test_baked_shapes() -> None:
    each = shallow("bert")
    captured = capture(each.build(), (), each.inputs(1, 7), dynamic=False)
    assert all(spec.shape == (1, 7) for spec in captured.signature.inputs)
    assert captured.signature.symbols == ()
    assert_serves(captured, each.build(), [each.inputs(1, 7, seed=5)])


def test_a_plain_module_with_positional_inputs() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8)).eval()
    captured = capture(model, (torch.randn(2, 5, 6),), {})
    given = torch.randn(7, 3, 6)
    outputs = captured.graph(*[weight.tensor for weight in captured.weights], given)
    torch.testing.assert_close(outputs[0], model(given))
    assert captured.signature.inputs[0].shape[2] == 6
    assert captured.signature.names == (("output", 0),)


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_data_dependent_control_flow_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match="model Branching: torch.export: cannot trace it"):
        capture(Branching(), (torch.ones(3),), {})
    assert capsys.readouterr().err == ""  # the error says it all


def test_an_argument_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="value of type builtins.object cannot be compiled"):
        capture(nn.Linear(3, 4), (object(),), {})


class WritesItsInput(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x[:, 1:].mul_(2)
        return x + y


def test_a_write_to_an_input_is_kept_and_told() -> None:
    captured = capture(WritesItsInput(), (torch.ones(3, 4), torch.ones(3, 4)), {})
    assert captured.signature.mutated == (0,)
    x, y = torch.ones(3, 4), torch.ones(3, 4)
    captured.graph(x, y)
    assert x[0].tolist() == [1, 2, 2, 2]


class WritesInside(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.new_zeros(x.shape)
        y[:, 1:] = x[:, :-1]
        y[:, 0] = 7
        return y.masked_fill_(y == 2, -1).add_(x) * y


def test_writes_to_inner_values_become_new_values() -> None:
    model, x = WritesInside(), torch.arange(12.0).reshape(3, 4)
    captured = capture(model, (x,), {})
    schemas = [getattr(node.target, "_schema", None) for node in captured.graph.graph.nodes]
    assert not any(schema.is_mutable for schema in schemas if schema is not None)
    (output,) = captured.graph(*[weight.tensor for weight in captured.weights], x)
    torch.testing.assert_close(output, model(x))


class SharesAView(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        row = y.view(-1)
        y.add_(1)
        return row + 1


def test_a_write_seen_through_another_view_keeps_its_value() -> None:
    model, x = SharesAView(), torch.arange(12.0).reshape(3, 4)
    captured = capture(model, (x,), {})
    (output,) = captured.graph(*[weight.tensor for weight in captured.weights], x)
    torch.testing.assert_close(output, model(x))


class _Asks(nn.Module):
    """Something that depends on whether the first size is one."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "branch":
            return x * 2 if x.shape[0] == 1 else x * 3
        return (x * 2).squeeze() if self.kind == "squeeze" else torch.relu(x)


@pytest.mark.parametrize("first", [1, 3])
def test_a_size_of_one_is_a_size_like_others(first: int) -> None:
    module = _Asks("nothing")
    captured = capture(module, (), {"x": torch.zeros(first, 4)})
    assert_serves(captured, module, [{"x": torch.randn(n, 4)} for n in (1, 2, 5)])


@pytest.mark.parametrize("kind", ["branch", "squeeze"])
@pytest.mark.parametrize("first", [1, 3])
def test_a_module_that_asks_for_one_has_a_graph_for_it(kind: str, first: int) -> None:
    module = _Asks(kind)
    captured = capture(module, (), {"x": torch.zeros(first, 4)})
    assert_serves(captured, module, [{"x": torch.randn(first, 4)}])
    with pytest.raises(ShapeMismatchError) as refused:
        run(captured, x=torch.zeros(4 - first, 4))
    # The caller may compile another program for this size.
    assert refused.value.another
