"""Generation in C: the greedy tokens of eager, on this machine and under qemu."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

import tc
from tc.autotune.records import Record, Records
from tc.autotune.space import Space
from tc.device.artifact import touched
from tc.errors import TcError, UnsupportedError
from tc.frontend import model as frontend
from tc.frontend.generate_capture import Calls
from tc.frontend.rules import rules_of
from tc.frontend.standalone import model_spec
from tc.pipeline import Workload, compile_graph, naive
from tc.standalone.model_c import place_weights
from tc.standalone.spec import Rules
from tests.standalone.exported import UNOPTIMISED, build_driver, foreign, need

IDS = (5, 17, 3, 2)
NEW = 8


def gpt2() -> PreTrainedModel:
    config = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=29, n_positions=16,
                        bos_token_id=1, eos_token_id=28)  # fmt: skip
    return GPT2LMHeadModel(config)


def llama() -> PreTrainedModel:
    config = LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, vocab_size=29,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16,
                         bos_token_id=1, eos_token_id=28)  # fmt: skip
    return LlamaForCausalLM(config)


def t5() -> PreTrainedModel:
    config = T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=29,
                      decoder_start_token_id=0, eos_token_id=28)  # fmt: skip
    return T5ForConditionalGeneration(config)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels without a schedule: little C, which a compiler with sanitizers is done with soon."""
    for name in ("pipeline", "pipeline_of_several"):
        monkeypatch.setattr(frontend, name, lambda graph, o: compile_graph(graph, o, naive))


def model(make: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = make().eval()
        for parameter in made.parameters():  # so that the tokens differ
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, 0, 0.5)
    return made


def eager(made: Any) -> str:
    ids = torch.tensor([IDS])
    tokens = made.generate(ids, max_new_tokens=NEW, do_sample=False)[0].tolist()
    return ",".join(map(str, tokens[1 if made.config.is_encoder_decoder else len(IDS) :]))


GENERATE = ("generate", "--ids", ",".join(map(str, IDS)), "--max-new-tokens", str(NEW))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("make", [llama, t5])
def test_the_tokens_of_eager(tmp_path: Path, make: Any) -> None:
    need("make", "cc")
    made = model(make)
    exported = tc.compile(made).export_c(tmp_path, max_batch=2, max_length=14)
    exported.build(flags=UNOPTIMISED)
    assert exported.command(*GENERATE).strip() == eager(made)
    assert exported.command("--private-weights", "1", *GENERATE).strip() == eager(made)
    with pytest.raises(TcError, match="private_weights: is 2, must be 0 or 1"):
        exported.command("--private-weights", "2", *GENERATE)
    assert "generates: yes" in exported.command("info")
    with pytest.raises(TcError, match="the limit is 14"):
        exported.command("generate", "--ids", "1,2,3", "--max-new-tokens", "99")
    with pytest.raises(TcError, match="holds id 29, the table has 0 to 28"):
        exported.command("generate", "--ids", "29", "--max-new-tokens", "1")
    if make is llama:
        program = build_driver(exported, "wrong")
        words = [str(program), str(tmp_path / "weights.bin")]
        assert subprocess.run(words, capture_output=True, check=False).stdout == b"0 wrong\n"


@pytest.mark.usefixtures("plain")
def test_the_tokens_of_eager_under_qemu(tmp_path: Path) -> None:
    need("make", "aarch64-linux-gnu-gcc", "qemu-aarch64")
    made = model(gpt2)
    exported = tc.compile(made, target="arm-neon").export_c(tmp_path, max_length=16, name="gpt2")
    assert foreign(tmp_path) == set()
    exported.build(flags="-O1 -Werror")
    assert exported.command(*GENERATE).strip() == eager(made)


EVEN = list(range(0, 29, 2))
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "llama": (
        {"repetition_penalty": 1.9, "no_repeat_ngram_size": 2, "forced_eos_token_id": [7, 9]},
        {"suppress_tokens": EVEN, "begin_suppress_tokens": [1, 3, 5, 7, 9, 11]},
        {"eos_token_id": list(range(24)), "min_new_tokens": 3},
    ),
    "t5": (
        {"forced_bos_token_id": 4, "begin_suppress_tokens": EVEN, "repetition_penalty": 0.5,
         "eos_token_id": list(range(25)), "min_length": 5},
    ),
}  # fmt: skip


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("make", [llama, t5])
def test_settings_of_generation_are_kept_to(tmp_path: Path, make: Any) -> None:
    need("make", "cc")
    made = model(make)
    plain, compiled = eager(made), tc.compile(made)
    own = made.generation_config
    for settings in SETTINGS[make.__name__]:
        made.generation_config = compiled.generation_config = copy.deepcopy(own)
        made.generation_config.update(**settings)
        exported = compiled.export_c(tmp_path, max_batch=2, max_length=14)
        exported.build(flags="-O0 -Werror")
        wanted = eager(made)
        assert wanted != plain, settings
        assert exported.command(*GENERATE).strip() == wanted, settings


def test_a_setting_that_is_not_kept_to_is_named() -> None:
    settings = GenerationConfig(bad_words_ids=[[3]], repetition_penalty=1.5)
    with pytest.raises(UnsupportedError, match=r"bad_words_ids=\[\[3\]\].*no such rule.*set it to"):
        rules_of("Llama", settings, 29)
    settings = GenerationConfig(do_sample=True, num_beams=4, top_k=3, suppress_tokens=[5, 40])
    assert rules_of("Llama", settings, 29) == Rules(never=(5,))
    assert rules_of("Llama", None, 29) == Rules()


@pytest.mark.usefixtures("plain")
def test_no_weight_is_stored_for_each_program(tmp_path: Path) -> None:
    made = model(gpt2)
    exported = tc.compile(made).export_c(tmp_path)
    weights = sum(p.nbytes for p in made.parameters())
    assert exported.weights < 1.5 * weights


@pytest.mark.usefixtures("plain")
def test_an_encoder_takes_rows_of_the_short_table_that_its_decoder_multiplies_with() -> None:
    made = frontend.compile_model(model(t5), target="arm-neon", precision="bf16", natural=False)
    artifact = frontend._encoder(made).runner.artifact
    read = {b for step in artifact.main for b in touched(step)}
    tables = {str(s.dtype) for n, s in enumerate(artifact.storages) if n in read
              and s.shape == made.shared.weight.shape}  # fmt: skip
    assert tables == {"bf16"}


def test_records_of_one_program_do_not_double_the_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TC_CACHE_DIR", str(tmp_path))
    found: list[str] = []

    def best(_records: Records, workload: Workload) -> Record | None:
        """Wider panels for what a step, of one position, does not compute."""
        space = Space(workload)
        knob = space.default.asked.get("vectors")
        if knob is None or len(workload.lowered.func.symbols) < 2:
            return None
        wider = space.make({"vectors": max(knob.values)})
        found.append(str(wider.schedule))
        return Record(found[-1], "another program's", 0.9)

    monkeypatch.setattr(Records, "_best", best)
    made = model(gpt2)
    compiled: Any = tc.compile(made, target="arm-neon")
    spec = model_spec(compiled.export_c.__self__._parts())
    packed = {text.partition("pack(")[2].partition(")")[0] for text in found}
    assert packed and all(text.endswith("32") for text in packed)
    weights = sum(p.nbytes for p in made.parameters())
    assert place_weights(spec).layout.bytes < 1.1 * weights


def test_a_model_that_hears_is_no_generation_over_ids() -> None:
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "num_mel_bins"), 1)
    config = WhisperConfig(
        d_model=8, encoder_attention_heads=1, decoder_attention_heads=1, vocab_size=9,
        pad_token_id=0, max_source_positions=4, **sizes,
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="it begins with input_features, not with ids"):
        Calls.of(WhisperForConditionalGeneration(config).eval())
