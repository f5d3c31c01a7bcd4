"""The contenders of the generation rows: each function prepares one framework for one case.

A case names a model of `zoo.GENERATIVE`, a precision, and how many tokens the prompt has and how
many are to follow; no end token stops any of them. A call gives the new tokens, chosen greedily.
Each function runs in a worker process of its own, and imports its framework there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.contenders import thread_count
from benchmarks.model_files import CT2, GGUF, HF, model_file, word
from benchmarks.protocol import Array, Case, UnavailableError
from benchmarks.worker import Prepared
from benchmarks.zoo import GENERATIVE, prompt_ids

CT2_TYPES = {"fp32": "float32", "int8": "int8"}


def torch_model(case: Case) -> tuple[Any, Any]:
    """The model, set to go on to the end, and its prompt."""
    import torch
    import transformers

    torch.set_num_threads(thread_count())
    folder = model_file(HF, str(case["model"]))
    name = GENERATIVE[str(case["model"])].name
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model, torch.from_numpy(prompt_ids(case))


def _generating(model: Any, ids: Any, case: Case) -> Prepared:
    import torch

    new = int(case["new"])

    def run() -> Any:
        with torch.no_grad():
            return model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
            )

    return Prepared(run, lambda tokens: tokens[:, -new:].numpy().copy())


def reference(case: Case) -> Prepared:
    """transformers' own generate on PyTorch eager, fp32, whatever the case's precision."""
    model, ids = torch_model(case)
    # What a token is computed with: tied tables once, the other tables and encoders not at all.
    weights = model.lm_head.weight.numel() + sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if not name.startswith(("encoder.", "lm_head.")) and "embed" not in name
        and not name.endswith(("wte.weight", "wpe.weight", "shared.weight"))
    )  # fmt: skip
    return replace(_generating(model, ids, case), facts={"decoder_weights": float(weights)})


def transformers(case: Case) -> Prepared:
    """transformers' own generate on PyTorch eager, in fp32 alone."""
    if case["precision"] != "fp32":
        raise UnavailableError("measured in fp32 only")
    return reference(case)


def tc(case: Case, **options: Any) -> Prepared:
    """tc.compile with its default options, but for `options`, at the case's precision."""
    import tc

    model, ids = torch_model(case)
    compiled: Any = tc.compile(model, precision=str(case["precision"]), **options)
    return _generating(compiled, ids, case)


def ctranslate2(case: Case) -> Prepared:
    """CTranslate2, its Generator or Translator."""
    import ctranslate2 as ct2

    precision, new = str(case["precision"]), int(case["new"])
    if precision not in CT2_TYPES:
        raise UnavailableError(f"no {precision} on this kind of CPU")
    path = str(model_file(CT2, str(case["model"])))
    options = {"compute_type": CT2_TYPES[precision], "inter_threads": 1,
               "intra_threads": thread_count()}  # fmt: skip
    words = [[word(token) for token in row] for row in prompt_ids(case).tolist()]
    if GENERATIVE[str(case["model"])].encodes:
        translator = ct2.Translator(path, device="cpu", **options)
        limits = {"max_decoding_length": new, "min_decoding_length": new, "beam_size": 1}
        return Prepared(
            lambda: translator.translate_batch(words, **limits),
            lambda found: _numbers([each.hypotheses[0] for each in found]),
        )
    generator = ct2.Generator(path, device="cpu", **options)
    return Prepared(
        lambda: generator.generate_batch(
            words,
            max_length=new,
            min_length=new,
            sampling_topk=1,
            include_prompt_in_result=False,
        ),
        lambda found: _numbers([each.sequences[0] for each in found]),
    )


def _numbers(rows: list[list[str]]) -> Array:
    return np.array([[int(text.removeprefix("t")) for text in row] for row in rows])


def llama_cpp(case: Case) -> Prepared:
    """llama.cpp, one sequence; its int8 is q8_0."""
    import llama_cpp

    if GENERATIVE[str(case["model"])].encodes:
        raise UnavailableError("compared on decoders only")
    new = int(case["new"])
    ids = prompt_ids(case)[0].tolist()
    model = llama_cpp.Llama(
        str(model_file(GGUF[str(case["precision"])], str(case["model"]))),
        n_ctx=len(ids) + new,
        n_threads=thread_count(),
        n_threads_batch=thread_count(),
        verbose=False,
    )

    def run() -> list[int]:
        model.reset()  # else it keeps what it knows of an equal prompt
        found: list[int] = []
        for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
            found.append(int(token))
            if len(found) == new:
                return found
        return found

    return Prepared(run, lambda found: np.array([found]))
