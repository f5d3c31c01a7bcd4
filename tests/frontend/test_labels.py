"""Calls with labels: one program, also where eager writes the kind of loss into the config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import tc

# What kernels compute is the same whatever their schedules.
pytestmark = pytest.mark.usefixtures("plain")

ONE, SEVERAL, NUMBERS = torch.tensor([0, 2]), torch.rand(2, 3).round(), torch.rand(2)


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def classifier(labels: int = 3) -> BertForSequenceClassification:
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        vocab_size=30,
        num_labels=labels,
    )
    return BertForSequenceClassification(config).eval()


def natural(length: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, 30, (2, length))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": torch.zeros_like(ids),
    }


def check(made: Any, model: Any, call: dict[str, torch.Tensor]) -> None:
    found, wanted = made(**call), model(**call)
    torch.testing.assert_close(found.logits, wanted.logits)
    torch.testing.assert_close(found.loss, wanted.loss)


@pytest.mark.parametrize(
    ("labels", "classes", "kind"),
    [
        (ONE, 3, "single_label_classification"),
        (SEVERAL, 3, "multi_label_classification"),
        (NUMBERS, 1, "regression"),
    ],
)
def test_a_kind_of_loss_that_eager_settles_makes_no_other_program(
    labels: torch.Tensor, classes: int, kind: str
) -> None:
    model = classifier(classes)
    made = tc.compile(model)
    for length in (5, 8):
        check(made, model, {**natural(length), "labels": labels})
        assert model.config.problem_type == kind  # by eager
        check(made, model, natural(length))
    assert made.stats()["compilations"] == 2


def test_the_compiled_model_leaves_the_config_as_it_is() -> None:
    model = classifier()
    made = tc.compile(model)
    made(**natural(5), labels=ONE)
    assert model.config.problem_type is None


def test_another_kind_of_loss_is_another_program() -> None:
    model = classifier(1)
    made = tc.compile(model)
    check(made, model, {**natural(5), "labels": NUMBERS})
    model.config.problem_type = "multi_label_classification"
    check(made, model, {**natural(5), "labels": NUMBERS[:, None]})
    model.config.problem_type = "regression"
    check(made, model, {**natural(5), "labels": NUMBERS})
    assert made.stats()["compilations"] == 3


def test_a_program_that_was_found_knows_what_was_settled() -> None:
    first = classifier()
    tc.compile(first)(**natural(5), labels=ONE)
    model = classifier()
    made = tc.compile(model)
    for _ in range(2):
        check(made, model, {**natural(5), "labels": ONE})
    assert made.stats()["compilations"] == 2
    assert made.stats()["cache_hits"] > 0


def test_labels_out_of_range_are_one_error_that_names_what_is_passed() -> None:
    made, call = tc.compile(classifier(), threads=1), natural(4)
    with pytest.raises(tc.TcError, match="index out of range .* check the values of .*labels"):
        made(**call, labels=torch.tensor([0, 7]))
