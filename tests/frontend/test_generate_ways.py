"""Generation by models whose Python goes one way or another by how long the text is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from tc.frontend.generate_cache import Session
from tc.frontend.model import compile_model
from tc.frontend.signature import Branch, Signature, Symbol, TensorSpec
from tc.frontend.signature_bind import is_for
from tests.models import VOCABULARY, shallow

_MOST = 8


class ByPrompt(LlamaForCausalLM):
    """Takes the least probable after a long prompt."""

    def forward(self, input_ids: Any = None, **given: Any) -> Any:
        out = super().forward(input_ids=input_ids, **given)
        if input_ids.shape[1] > _MOST:
            out.logits = -out.logits
        return out


class ByPast(LlamaForCausalLM):
    """Takes the least probable once the text is long."""

    def forward(self, input_ids: Any = None, past_key_values: Any = None, **given: Any) -> Any:
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        out = super().forward(input_ids=input_ids, past_key_values=past_key_values, **given)
        if past > _MOST:
            out.logits = -out.logits
        return out


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("kind", "served"), [(ByPrompt, [3]), (ByPast, [12])], ids=["by prompt", "by past"]
)
def test_tokens_are_those_of_the_model_whichever_way_it_goes(
    kind: Any, served: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = kind(shallow("llama-lm").build().config).eval()
    made: Any = compile_model(model, threads=1, natural=False)
    loops: list[int] = []
    start = Session.start

    def started(self: Session, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        loops.append(ids.shape[1])
        return start(self, ids, *rest)

    monkeypatch.setattr(Session, "start", started)
    for length in (3, 12):
        ids = torch.randint(3, VOCABULARY, (1, length))
        settings: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": None, "pad_token_id": 0}
        expected = model.generate(ids, do_sample=False, **settings)
        assert torch.equal(made.generate(ids, do_sample=False, **settings), expected)
    assert sorted(loops) == served  # the rest has gone through transformers' own loop


def test_which_sizes_a_program_is_for() -> None:
    program = Signature(
        inputs=(TensorSpec("ids", "int64", ("b", 4)), TensorSpec("mask", "bool", ("b", "n"))),
        outputs=(),
        names=(),
        symbols=(Symbol("b", "batch", 1, 8), Symbol("n", "reach", 0, None)),
        checks=(),
        mutated=(),
        branches=(Branch("n*m > 20", (("n", "mask", 1), ("m", "ids", 1))),),
    )
    assert is_for(program, {"batch": 1, "reach": 6})
    assert not is_for(program, {"batch": 1, "reach": 5})
    assert not is_for(program, {"batch": 9, "reach": 6})
    assert not is_for(program, {"batch": 0, "reach": 6})
    assert not is_for(program, {"batch": 1})
