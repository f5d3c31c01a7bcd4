"""Generation: tokens beside those of the model itself, and the cache's memory.

The models are tiny and compiled once; what they generate is compared with transformers' own loop
over the model that they were compiled from.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GPT2LMHeadModel,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria
from transformers.generation.streamers import BaseStreamer

import tc
from tc.device.artifact import Place
from tc.errors import TcError
from tc.frontend import generate_cache
from tc.frontend.generate_cache import Session
from tc.frontend.generate_loop import Choice, choose_tokens
from tc.frontend.generate_sample import keep_nucleus
from tc.frontend.hf import dispatcher_of
from tc.frontend.model import compile_model
from tests.models import MAX_POSITIONS, PAD, VOCABULARY, generating, sliding

pytestmark = pytest.mark.usefixtures("captured_once")

DECODERS = ("gpt2-lm", "llama-lm", "qwen2-lm")
# (batch, length, new tokens)
CALLS = ((1, 7, 12), (2, 5, 20), (3, 1, 9), (1, 1, 1), (16, 3, 4), (1, 17, 2))


@functools.cache
def pair(name: str) -> tuple[Any, Any]:
    """A model that no end of a text stops, and the same compiled."""
    model = generating(name)
    return model, tc.compile(model, threads=1)


def prompt(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(1, VOCABULARY, (batch, length), generator=made)


def padded(batch: int, length: int) -> dict[str, torch.Tensor]:
    """Prompts of different lengths, padded on the left."""
    ids = prompt(batch, length)
    mask = torch.ones_like(ids)
    for row in range(batch):
        mask[row, : (row * 2) % length] = 0
    return {"input_ids": ids.masked_fill(mask == 0, PAD), "attention_mask": mask}


class Watched:
    """The sessions of a test: how many there were, and the last one."""

    def __init__(self) -> None:
        self.count = 0
        self.last: Any = None
        self.pointers: set[tuple[int, ...]] = set()


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Counts the sessions, and notes where their buffers are at each step."""
    seen = Watched()
    start, step = Session.start, Session.step

    def started(self: Session, *args: Any) -> torch.Tensor:
        seen.count, seen.last = seen.count + 1, self
        return start(self, *args)

    def stepped(self: Session, tokens: torch.Tensor) -> torch.Tensor:
        found = step(self, tokens)
        seen.pointers.add(tuple(t.data_ptr() for t in (*self.keys, *self.values, found)))
        return found

    monkeypatch.setattr(Session, "start", started)
    monkeypatch.setattr(Session, "step", stepped)
    return seen


def both(name: str, seed: int | None = None, **call: Any) -> tuple[Any, Any]:
    """What the model generates and what the compiled one does."""
    found = []
    for model in pair(name):
        if seed is not None:
            torch.manual_seed(seed)
        found.append(model.generate(**call))
    return found[0], found[1]


# --- the same tokens


@pytest.mark.parametrize("name", DECODERS)
def test_greedy_tokens_are_those_of_the_model(name: str, sessions: Watched) -> None:
    for batch, length, new in CALLS:
        call = {"input_ids": prompt(batch, length, new), "max_new_tokens": new}
        wanted, found = both(name, do_sample=False, **call)
        assert torch.equal(wanted, found)
    assert sessions.count == len(CALLS)


@pytest.mark.parametrize("name", DECODERS)
def test_prompts_padded_on_the_left(name: str, sessions: Watched) -> None:
    wanted, found = both(name, **padded(5, 6), max_new_tokens=15, do_sample=False)
    assert torch.equal(wanted, found)
    assert sessions.count == 1


def test_a_sliding_window(sessions: Watched) -> None:
    model = sliding()
    made = tc.compile(model, threads=1, fallback="error")
    for call in ({"input_ids": prompt(2, 9)}, {"input_ids": prompt(1, 2)}, padded(3, 8)):
        wanted = model.generate(**call, max_new_tokens=14, do_sample=False)
        assert torch.equal(wanted, made.generate(**call, max_new_tokens=14, do_sample=False))
    assert sessions.count == 3


def ends_of(name: str, call: dict[str, Any], place: int, row: int = 0) -> int:
    """The token that a row has at a place, to be taken for the end of a text."""
    ids = pair(name)[0].generate(**call, max_new_tokens=place + 1, do_sample=False)
    return int(ids[row, -1])


@pytest.mark.parametrize("name", DECODERS)
def test_ends_of_texts(name: str, sessions: Watched) -> None:
    call: dict[str, Any] = padded(4, 5)
    first, second = ends_of(name, call, 3), ends_of(name, call, 6, row=2)
    for settings in (
        {"eos_token_id": first},
        {"eos_token_id": [first, second]},
        {"eos_token_id": [first, second], "min_new_tokens": 8},
        {"eos_token_id": first, "max_length": 9},
        {"eos_token_id": first, "pad_token_id": 7},
        {"eos_token_id": second, "pad_token_id": second},
    ):
        limit = {} if "max_length" in settings else {"max_new_tokens": 18}
        wanted, found = both(name, do_sample=False, **call, **settings, **limit)
        assert torch.equal(wanted, found), settings
    assert sessions.count == 6


@pytest.mark.parametrize("name", DECODERS[:2])
def test_least_lengths(name: str, sessions: Watched) -> None:
    """An end that is the most probable token is not taken before its time, and then is."""
    call: dict[str, Any] = padded(3, 5)
    end = ends_of(name, call, 2)
    calls = (
        {"min_new_tokens": 9},
        {"min_length": 11},
        {"min_length": 9, "min_new_tokens": 7},
        {"min_new_tokens": 6, "repetition_penalty": 1.3},
        {"min_new_tokens": 5, "output_logits": True},
        {"min_new_tokens": 5, "output_logits": True, "output_scores": True},
    )
    for settings in calls:
        for ends in (end, [end, VOCABULARY + 7]):
            given = {**call, **settings, "eos_token_id": ends, "max_new_tokens": 14}
            wanted, found = both(name, do_sample=False, return_dict_in_generate=True, **given)
            assert torch.equal(wanted.sequences, found.sequences), settings
            for kind in ("logits", "scores"):
                if settings.get(f"output_{kind}"):
                    for a, b in zip(found[kind], wanted[kind], strict=True):
                        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert sessions.count == 2 * len(calls)


def test_settings_that_change_scores(sessions: Watched) -> None:
    call = {"input_ids": prompt(2, 6), "max_new_tokens": 16, "do_sample": False}
    for settings in (
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[3], [5, 6]]},
        {"suppress_tokens": list(range(1, 50))},
    ):
        wanted, found = both("gpt2-lm", **call, **settings)
        assert torch.equal(wanted, found), settings
    assert sessions.count == 4


def test_processors_and_criteria_of_the_caller(sessions: Watched) -> None:
    class Even(LogitsProcessor):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            assert len(input_ids.view(-1)) % scores.shape[0] == 0
            scores[:, 1::2] = -torch.inf
            return scores

    class Nine(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
            return torch.full((len(input_ids),), int(input_ids.shape[1] >= 9))

    wanted, found = both(
        "gpt2-lm",
        input_ids=prompt(2, 3),
        max_new_tokens=20,
        do_sample=False,
        logits_processor=LogitsProcessorList([Even()]),
        stopping_criteria=StoppingCriteriaList([Nine()]),
        custom_generate=None,
    )
    assert torch.equal(wanted, found)
    assert found.shape == (2, 9)
    assert sessions.count == 1


def test_a_length_of_the_caller_comes_before_that_of_the_settings(sessions: Watched) -> None:
    longer = StoppingCriteriaList([MaxLengthCriteria(30)])
    call: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "stopping_criteria": longer}
    wanted, found = both("gpt2-lm", input_ids=prompt(2, 5), **call)
    assert torch.equal(wanted, found)
    assert found.shape == (2, 30)
    assert len(sessions.pointers) == 1


def test_a_length_without_end_takes_no_memory() -> None:
    """Nor does a text end before its last row has: the tokens are 1 until that is so."""
    end = EosTokenCriteria(3)
    choice = Choice((), (end,), False, torch.tensor(0), None, False, False)
    logits, steps = torch.eye(5)[[1, 3]], 0

    def after(_tokens: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 1500:
            logits[0, 3] = 2
        return logits

    found = choose_tokens(torch.ones(2, 1, dtype=torch.long), logits, after, choice, 1 << 60).ids
    assert found.shape == (2, 1502)
    assert found[0].tolist() == [1] * 1501 + [3]
    assert found[1].tolist() == [1, 3] + [0] * 1500


# --- sampling

SAMPLED = (
    {"top_k": 0},
    {"temperature": 0.6, "top_k": 9},
    {"top_p": 0.8, "repetition_penalty": 1.3},
    {"min_p": 0.05, "temperature": 1.5},
    {"num_return_sequences": 3},
)


@pytest.mark.parametrize("settings", SAMPLED, ids="-".join)
def test_the_same_draws_give_the_same_tokens(settings: Any, sessions: Watched) -> None:
    call: dict[str, Any] = {**padded(3, 5), "do_sample": True, "max_new_tokens": 20}
    wanted, found = both("llama-lm", seed=11, **call, **settings)
    assert torch.equal(wanted, found)
    assert sessions.count == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("least", [1, 7])
def test_a_nucleus_among_few_tokens_is_that_among_all(share: float, least: int) -> None:
    made = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 4096, generator=made) * 3
    warper = TopPLogitsWarper(share, min_tokens_to_keep=least)
    for count in (1, 5, 50, 4096):
        among = TopKLogitsWarper(count)(None, scores)
        assert torch.equal(keep_nucleus(warper, scores, among), warper(None, among))
    among = torch.full_like(scores, -torch.inf)
    among[:, 0], among[:, 1] = torch.nan, 1.0
    assert keep_nucleus(warper, scores, among)[:, 0].isnan().all()  # drawing then tells of it


def test_draws_are_distributed_as_the_model_says(sessions: Watched) -> None:
    model, made = pair("gpt2-lm")
    count = 4000
    call: dict[str, Any] = {"do_sample": True, "top_k": 5, "temperature": 1.3}
    found = made.generate(
        torch.tensor([[1, 3]]), **call, max_new_tokens=2, num_return_sequences=count
    )

    def agrees(drawn: torch.Tensor, *before: int) -> list[int]:
        """Check how often each token was drawn; those that may be."""
        with torch.no_grad():
            top, tokens = torch.topk(model(torch.tensor([before])).logits[0, -1] / 1.3, 5)
        assert set(drawn.tolist()) <= set(tokens.tolist())
        for token, wanted in zip(tokens, torch.softmax(top, -1), strict=True):
            share = (drawn == token).double().mean()
            assert abs(share - wanted) < 4 * (wanted / len(drawn)).sqrt() + 1e-3
        return tokens.tolist()

    for token in agrees(found[:, 2], 1, 3):
        agrees(found[found[:, 2] == token, 3], 1, 3, token)
    assert sessions.count == 1


# --- beams

BEAMS = (
    {"num_beams": 3},
    {"num_beams": 4, "num_return_sequences": 2, "length_penalty": 0.5, "early_stopping": True},
    {"num_beams": 2, "do_sample": True, "top_k": 20},
    {"num_beams": 3, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    {"num_beams": 2, "eos_token_id": list(range(1, 40)), "min_new_tokens": 3},
)


@pytest.mark.parametrize("settings", BEAMS, ids=lambda s: "-".join(s))
@pytest.mark.parametrize("name", ["llama-lm", "t5"])
def test_beams_are_those_of_the_model(name: str, settings: Any, sessions: Watched) -> None:
    for number, (batch, length) in enumerate(((2, 5), (1, 3), (3, 9))):
        call: dict[str, Any] = {"do_sample": False, "max_new_tokens": 12, **settings}
        wanted, found = both(name, seed=number, **padded(batch, length), **call)
        assert torch.equal(wanted, found)
    assert sessions.count == 3
    assert len(sessions.pointers) == 3


def test_scores_and_cache_of_beams(sessions: Watched) -> None:
    wanted, found = both(
        "gpt2-lm", input_ids=prompt(2, 5), max_new_tokens=7, do_sample=False, num_beams=3,
        return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    assert type(found) is type(wanted)
    assert torch.equal(found.sequences, wanted.sequences)
    torch.testing.assert_close(found.sequences_scores, wanted.sequences_scores)
    for a, b in zip(found.past_key_values.layers, wanted.past_key_values.layers, strict=True):
        torch.testing.assert_close(a.keys, b.keys)
        torch.testing.assert_close(a.values, b.values)
    assert sessions.count == 1


# --- models with an encoder


def test_an_encoder_and_a_decoder(sessions: Watched) -> None:
    calls: tuple[dict[str, Any], ...] = (
        {"input_ids": prompt(1, 7)},
        padded(4, 6),
        {**padded(2, 5), "decoder_input_ids": prompt(2, 3)},
        {**padded(3, 5), "do_sample": True},
    )
    for number, call in enumerate(calls):
        settings = {"do_sample": False, "max_new_tokens": 17, **call}
        wanted, found = both("t5", seed=number, **settings)
        assert torch.equal(wanted, found)
    assert sessions.count == len(calls)
    _, made = pair("t5")
    assert made.get_encoder() is not made.encoder  # it is compiled as well
    assert made.stats()["fallbacks"] == {}


def test_the_caches_of_a_decoder_are_given(sessions: Watched) -> None:
    wanted, found = both(
        "t5", input_ids=prompt(2, 7), max_new_tokens=6, do_sample=False,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert type(found) is type(wanted)
    assert found.past_key_values.is_updated == wanted.past_key_values.is_updated
    for part in ("self_attention_cache", "cross_attention_cache"):
        ours, theirs = (getattr(each.past_key_values, part).layers for each in (found, wanted))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.keys, b.keys, atol=1e-4, rtol=1e-5)
            torch.testing.assert_close(a.values, b.values, atol=1e-4, rtol=1e-5)
    assert sessions.count == 1


# --- what a call gives


def test_scores_logits_and_cache_are_given(sessions: Watched) -> None:
    wanted, found = both(
        "gpt2-lm", **padded(2, 5), max_new_tokens=7, do_sample=False, repetition_penalty=1.4,
        return_dict_in_generate=True, output_scores=True, output_logits=True,
    )  # fmt: skip
    assert type(found) is type(wanted)
    assert torch.equal(found.sequences, wanted.sequences)
    for name in ("scores", "logits"):
        assert len(found[name]) == len(wanted[name]) == 7
        for a, b in zip(found[name], wanted[name], strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    layers = zip(found.past_key_values.layers, wanted.past_key_values.layers, strict=True)
    mask = padded(2, 5)["attention_mask"].bool()
    for a, b in layers:
        assert a.keys.shape == b.keys.shape
        # Rows of padding see nothing, and hold what nobody reads.
        for x, y in ((a.keys, b.keys), (a.values, b.values)):
            kept = torch.cat([mask, torch.ones(2, x.shape[2] - 5, dtype=torch.bool)], 1)
            for row in range(2):
                torch.testing.assert_close(x[row][:, kept[row]], y[row][:, kept[row]])
    assert sessions.count == 1


class Listener(BaseStreamer):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.ended = 0

    def put(self, value: torch.Tensor) -> None:
        self.given.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended += 1


def test_a_streamer_is_given_each_token(sessions: Watched) -> None:
    heard = []
    for model in pair("gpt2-lm"):
        listener = Listener()
        model.generate(prompt(1, 4), max_new_tokens=6, do_sample=False, streamer=listener)
        heard.append((listener.given, listener.ended))
    assert heard[0] == heard[1]
    assert [len(part) for part in heard[1][0]] == [4, 1, 1, 1, 1, 1, 1]
    assert sessions.count == 1


# --- other settings go to transformers' own loop


def given_cache(model: Any) -> Any:
    return model(prompt(2, 3), use_cache=True).past_key_values


OTHERS: tuple[tuple[str, Callable[[Any], dict[str, Any]]], ...] = (
    ("no-cache", lambda _: {"use_cache": False}),
    ("a-cache-of-the-caller", lambda model: {"past_key_values": given_cache(model)}),
    ("a-static-cache", lambda _: {"cache_implementation": "static"}),
    ("chunks", lambda _: {"prefill_chunk_size": 2}),
    ("attentions", lambda _: {"output_attentions": True, "return_dict_in_generate": True}),
    ("types", lambda _: {"token_type_ids": torch.zeros(2, 5, dtype=torch.long)}),
    ("lookup", lambda _: {"prompt_lookup_num_tokens": 2}),
)


@pytest.mark.parametrize(("what", "settings"), OTHERS, ids=[name for name, _ in OTHERS])
@pytest.mark.filterwarnings("ignore")
def test_other_settings_run_as_ever(
    what: str, settings: Any, sessions: Watched, request: pytest.FixtureRequest
) -> None:
    model, made = pair("gpt2-lm")
    batch = 1 if what == "lookup" else 2
    if what == "attentions":
        request.getfixturevalue("plain")
        # Kernels of scaled_dot_product_attention have none to give.
        model = copy.deepcopy(model)
        model.set_attn_implementation("eager")
        made = compile_model(model, threads=1, natural=False)
    call: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False}
    found = [each.generate(prompt(batch, 5), **call, **settings(model)) for each in (model, made)]
    if what == "attentions":
        assert torch.equal(found[0].sequences, found[1].sequences)
        assert len(found[1].attentions) == 5
    else:
        assert torch.equal(*found)
    assert sessions.count == 0


def test_calls_that_the_loop_does_not_serve_go_to_the_models_own(
    sessions: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = pair("gpt2-lm")
    monkeypatch.setattr(GPT2LMHeadModel, "_sample", lambda _self, input_ids, **_: input_ids)
    ids = prompt(2, 3).int()  # which an embedding takes as well
    assert made.generate(ids, max_new_tokens=2, do_sample=False) is ids
    hook = made.register_forward_hook(lambda *_: None)
    try:
        assert made.generate(ids.long(), max_new_tokens=2, do_sample=False).shape == (2, 3)
    finally:
        hook.remove()
    assert sessions.count == 0


@pytest.mark.usefixtures("plain")
def test_a_model_that_prepares_its_inputs_itself(sessions: Watched) -> None:
    class Shifted(GPT2LMHeadModel):
        def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> Any:
            made = super().prepare_inputs_for_generation(*args, **kwargs)
            made["position_ids"] = made["position_ids"] + 2
            return made

    torch.manual_seed(0)
    model = Shifted(generating("gpt2-lm").config).eval()
    made = compile_model(model, threads=1, natural=False)
    call: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(model.generate(prompt(2, 4), **call), made.generate(prompt(2, 4), **call))
    assert sessions.count == 0


def test_mistakes_are_told_as_ever() -> None:
    model, made = pair("gpt2-lm")
    for each in (model, made):
        with pytest.raises(ValueError, match="unknown_setting"):
            each.generate(prompt(1, 3), unknown_setting=3)
        with pytest.raises(ValueError, match="temperature"):
            each.generate(prompt(1, 3), do_sample=True, temperature=-1.0)
        with pytest.raises(ValueError, match="streamer"):
            each.generate(prompt(1, 3), do_sample=False, num_beams=2, streamer=Listener())


# --- memory


def test_rows_are_written_in_place(sessions: Watched) -> None:
    _, made = pair("llama-lm")
    made.generate(prompt(2, 4), max_new_tokens=30, do_sample=False)
    assert len(sessions.pointers) == 1  # the same buffers at every step
    for runner in made.generate.runners:
        artifact = runner.program.artifact
        assert len(artifact.mutated) == 2 * len(sessions.last.keys)
        capacity = artifact.inputs[artifact.mutated[0]].shape[2]
        assert isinstance(capacity, str)
        # No copy of a buffer anywhere: nothing but the inputs has its size.
        sizes = [s for s in artifact.storages if s.place is not Place.INPUT]
        assert not [s for s in sizes if capacity in s.shape]


def test_buffers_grow_by_blocks(sessions: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_cache, "BLOCK", 8)
    wanted, found = both("llama-lm", **padded(3, 5), max_new_tokens=40, do_sample=False)
    assert torch.equal(wanted, found)
    assert 2 < len(sessions.pointers) < 8
    assert sessions.last.capacity <= 45


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is asked for holds NaN."""
    empty = torch.empty

    def full(*shape: Any, **options: Any) -> torch.Tensor:
        made = empty(*shape, **options)
        return made.fill_(torch.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch, "empty", full)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("name", DECODERS)
def test_no_row_is_read_before_it_is_written(name: str, sessions: Watched) -> None:
    for call in (padded(3, 5), {"input_ids": prompt(1, 9)}):
        wanted, found = both(name, **call, max_new_tokens=21, do_sample=False)
        assert torch.equal(wanted, found)
    assert sessions.count == 2


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_does_not_grow() -> None:
    _, made = pair("gpt2-lm")

    def run() -> None:
        for number in range(40):
            made.generate(prompt(1 + number % 5, 1 + number % 11), max_new_tokens=12)

    run()
    before = resident()
    for _ in range(4):
        run()
    assert resident() - before < 4 << 20


def test_generations_share_plans_and_arenas() -> None:
    _, made = pair("gpt2-lm")
    call: dict[str, Any] = {"input_ids": prompt(2, 5), "max_new_tokens": 6, "do_sample": False}
    made.generate(**call)
    program = made.generate.runners[1].program
    plans, arenas = program._step_plans((2, 11, 11)), len(program.stats.counters)
    values = len(program._values)
    for _ in range(5):
        made.generate(**call)
    assert program._step_plans((2, 11, 11)) is plans
    assert len(program.stats.counters) == arenas
    assert len(program._values) == values


# --- weights, limits, other uses


def test_changes_of_weights_are_seen() -> None:
    torch.manual_seed(1)
    model = generating("gpt2-lm")
    made = tc.compile(model, threads=1)
    call: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False}
    before = made.generate(prompt(1, 5), **call)
    with torch.no_grad():
        for block in model.transformer.h:
            block.mlp.c_fc.weight.mul_(-3)
    wanted = model.generate(prompt(1, 5), **call)
    assert not torch.equal(before, wanted)
    assert torch.equal(made.generate(prompt(1, 5), **call), wanted)


def test_positions_that_the_model_has_not_are_refused() -> None:
    _, made = pair("gpt2-lm")
    ids = prompt(1, MAX_POSITIONS - 2)
    assert made.generate(ids, max_new_tokens=3).shape == (1, MAX_POSITIONS + 1)
    with pytest.raises(TcError, match="position_ids"):
        made.generate(ids, max_new_tokens=5)
    with pytest.raises(TcError, match="input_ids"):
        made.generate(torch.tensor([[VOCABULARY]]), max_new_tokens=2)


def test_the_programs_are_counted_and_explained() -> None:
    model = generating("llama-lm")
    made = tc.compile(model, threads=1)
    before = made.stats()["compilations"]
    made.generate(prompt(2, 4), max_new_tokens=5)
    stats = made.stats()
    assert stats["compilations"] == before + 2
    assert stats["calls"] == 5
    assert stats["fallbacks"] == {}
    assert "slice_write" in str(made.explain())


def test_generations_in_several_threads_do_not_meet() -> None:
    model, made = pair("gpt2-lm")
    calls = [{"input_ids": prompt(1 + n % 3, 3 + n, n), "max_new_tokens": 25} for n in range(6)]
    wanted = [model.generate(**call, do_sample=False) for call in calls]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda call: made.generate(**call, do_sample=False), calls * 3))
    for number, ids in enumerate(found):
        assert torch.equal(ids, wanted[number % len(calls)])


def test_a_copy_generates_with_its_own_weights() -> None:
    model, made = pair("qwen2-lm")
    other = copy.deepcopy(made)
    call: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    with torch.no_grad():
        for layer in other.model.layers:
            layer.mlp.up_proj.weight.mul_(-2)
    wanted = model.generate(prompt(1, 5), **call)
    assert not torch.equal(other.generate(prompt(1, 5), **call), wanted)
    assert torch.equal(made.generate(prompt(1, 5), **call), wanted)


@pytest.mark.parametrize("name", DECODERS)
def test_all_programs_share_what_is_prepared_of_the_weights(name: str) -> None:
    _, made = pair(name)
    made.generate(prompt(1, 4), max_new_tokens=2)
    dispatcher = dispatcher_of(made)
    assert dispatcher is not None
    runners = [*(program.runner for program in dispatcher.programs), *made.generate.runners]
    held = [
        {block.address for block in runner.program._weights.blocks.values()} for runner in runners
    ]
    natural, *_, of_prompt, of_step = held
    assert len(natural) > 4
    assert natural == of_prompt == of_step
