"""The generative models as files, for the peers that read files: made once and kept.

A Hugging Face folder, CTranslate2's format made of that by its own converter, and GGUF, all with
the same weights. The conversions run in a process of their own (`python -m benchmarks.model_files
KIND MODEL PATH`), so that torch never enters the process that is timed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.gguf_file import write_gguf
from benchmarks.kept import kept
from benchmarks.zoo import GENERATIVE

HF, CT2 = "hf", "ct2"
GGUF = {"fp32": "gguf-f32", "bf16": "gguf-bf16", "int8": "gguf-q8_0"}
"""Kind of file by precision; q8_0 is llama.cpp's int8."""


def model_file(kind: str, model: str) -> Path:
    """The folder or file of a model, made now if it is not there. Raises UnavailableError."""
    needed = {HF: (), CT2: ("ctranslate2",)}.get(kind, ("gguf",))
    command = ["-m", "benchmarks.model_files", kind, model]
    return kept(f"{model}-{kind}", command, ("torch", "transformers", *needed))


def word(token: int) -> str:
    """The token's text in the vocabularies made here, which have no other meaning."""
    return f"t{token}"


def save_folder(model: str, path: Path) -> None:
    """The model as save_pretrained writes it, with a tokenizer of made-up words."""
    import tokenizers
    import transformers

    module = GENERATIVE[model].build()
    module.save_pretrained(path)
    words = {word(token): token for token in range(module.config.vocab_size)}
    special = module.config
    named = {"bos_token": 0, "eos_token": 1, "unk_token": 2, "pad_token": 0}
    for name in named:
        known = getattr(special, f"{name}_id", None)
        named[name] = known if isinstance(known, int) else named[name]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, word(named["unk_token"])))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, **{name: word(token) for name, token in named.items()}
    )
    tokenizer.save_pretrained(path)


def convert_ct2(model: str, path: Path) -> None:
    """CTranslate2's format, weights in float32: its runtime quantises them when it loads them."""
    import ctranslate2

    converter: Any = ctranslate2.converters.TransformersConverter(str(model_file(HF, model)))
    converter.convert(str(path), quantization="float32", force=True)


def main(kind: str, model: str, path: Path) -> None:
    """Make one file or folder at `path`."""
    match kind:
        case "hf":
            save_folder(model, path)
        case "ct2":
            convert_ct2(model, path)
        case _:
            write_gguf(GENERATIVE[model].build(), kind.removeprefix("gguf-"), path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
