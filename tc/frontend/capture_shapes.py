"""Which dims of an input vary together, and sizes to trace a model at.

A Hugging Face model names its inputs, so the meaning of their dims is known from one table. This
module must not run a model nor look at tensor values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim

from tc.frozen import frozen

BATCH = "batch"
LENGTH = "length"
TARGET = "target"
PAST = "past"
WINDOW = "window"
ENCODER = "encoder"
CHOICES = "choices"
# Of a cache that is written in place: its rows, and how many are used after the call.
CAPACITY = "capacity"
REACH = "reach"
# Lengths that are sums: the mask covers what the cache holds and the new positions.
TOTAL = "past+length"
TARGET_TOTAL = "past+target"

_DIMS: Mapping[tuple[str, int], tuple[str | None, ...]] = {
    ("input_ids", 2): (BATCH, LENGTH),
    # Multiple choice: every question has the same number of answers.
    ("input_ids", 3): (BATCH, CHOICES, LENGTH),
    ("token_type_ids", 3): (BATCH, CHOICES, LENGTH),
    ("attention_mask", 3): (BATCH, CHOICES, LENGTH),
    ("inputs_embeds", 3): (BATCH, LENGTH, None),
    ("token_type_ids", 2): (BATCH, LENGTH),
    ("position_ids", 2): (BATCH, LENGTH),
    ("attention_mask", 2): (BATCH, TOTAL),
    ("attention_mask", 4): (BATCH, None, LENGTH, TOTAL),
    ("cache_position", 1): (LENGTH,),
    ("lang_ids", 1): (BATCH,),
    ("labels", 1): (BATCH,),
    ("labels", 2): (BATCH, LENGTH),
    ("start_positions", 1): (BATCH,),
    ("end_positions", 1): (BATCH,),
    ("next_sentence_label", 1): (BATCH,),
    ("sentence_order_label", 1): (BATCH,),
    ("pixel_values", 4): (BATCH, None, None, None),
    ("bool_masked_pos", 2): (BATCH, None),
    ("encoder_hidden_states", 3): (BATCH, ENCODER, None),
    ("encoder_attention_mask", 2): (BATCH, ENCODER),
}
_ENCODER_DECODER_DIMS: Mapping[tuple[str, int], tuple[str | None, ...]] = {
    ("attention_mask", 2): (BATCH, LENGTH),
    ("labels", 2): (BATCH, TARGET),
    ("decoder_input_ids", 2): (BATCH, TARGET),
    ("decoder_inputs_embeds", 3): (BATCH, TARGET, None),
    ("decoder_position_ids", 2): (BATCH, TARGET),
    ("decoder_attention_mask", 2): (BATCH, TARGET_TOTAL),
    ("cache_position", 1): (TARGET,),
}

# Sizes to trace at: none is 0 or 1, which a trace bakes in, no two are equal, no sum equals a size.
TRACE_SIZES: Mapping[str, int] = {
    BATCH: 3, LENGTH: 5, TARGET: 4, PAST: 7, WINDOW: 9, ENCODER: 6, CHOICES: 2, CAPACITY: 23,
    REACH: 17,
}  # fmt: skip


@frozen
class Dims:
    """The labels of one input's dims; None stands for a dim that stays as it is given."""

    name: str
    labels: tuple[str | None, ...]


def label_dims(
    names: Sequence[str], tensors: Sequence[torch.Tensor], encoder_decoder: bool
) -> list[Dims] | None:
    """The labels of every input's dims, or None where an input has a name that is not known.

    Args:
        names: dotted names as `capture_tree.leaves` gives them.
        tensors: the inputs of the call, whose sizes settle what the name leaves open.
        encoder_decoder: whether the model has an encoder and a decoder of different lengths.
    """
    labelled = []
    for name, tensor in zip(names, tensors, strict=True):
        labels = _labels(name, tensor.dim(), encoder_decoder)
        if labels is None:
            return None
        labelled.append(Dims(name, labels))
    has_past = any(PAST in each.labels for each in labelled)
    settled = [Dims(d.name, tuple(_without_past(x, has_past) for x in d.labels)) for d in labelled]
    return _settle_by_size(settled, tensors)


def _labels(name: str, rank: int, encoder_decoder: bool) -> tuple[str | None, ...] | None:
    head, _, rest = name.partition(".")
    if head == "past_key_values" and rank == 4:
        length = WINDOW if ".window." in rest else PAST
        if "cross_attention" in rest:
            length = LENGTH if encoder_decoder else ENCODER
        return (BATCH, None, length, None)
    if head == "past_key_values" and rest.endswith("seen"):
        return (PAST, None)
    if head == "encoder_outputs" and rank == 3:
        return (BATCH, LENGTH, None)
    if encoder_decoder and (head, rank) in _ENCODER_DECODER_DIMS:
        return _ENCODER_DECODER_DIMS[head, rank]
    return _DIMS.get((head, rank))


def _without_past(label: str | None, has_past: bool) -> str | None:
    if label in (TOTAL, TARGET_TOTAL) and not has_past:
        return LENGTH if label == TOTAL else TARGET
    return label


def _settle_by_size(dims: list[Dims], tensors: Sequence[torch.Tensor]) -> list[Dims]:
    """Unlabel the dims whose given size is not the size of their label.

    A dim of size 1 beside a larger batch is broadcast; labels of (batch, classes) are not
    (batch, length). What remains wrong is the model's to refuse.
    """
    sizes: dict[str, int] = {}
    for each, tensor in zip(dims, tensors, strict=True):
        for label, size in zip(each.labels, tensor.shape, strict=True):
            if label is not None:
                sizes[label] = (
                    max(size, sizes.get(label, 0)) if label == BATCH else (sizes.get(label, size))
                )
    return [
        Dims(
            each.name,
            tuple(
                label if label is None or sizes[label] == size else None
                for label, size in zip(each.labels, tensor.shape, strict=True)
            ),
        )
        for each, tensor in zip(dims, tensors, strict=True)
    ]


def trace_size(label: str) -> int:
    """The size to trace a dim of that label at."""
    return sum(TRACE_SIZES[part] for part in label.split("+"))


def trace_tensor(tensor: torch.Tensor, dims: Dims) -> torch.Tensor:
    """A tensor of the traced sizes, same dtype and device; holds no memory of that size."""
    shape = [
        size if label is None else trace_size(label)
        for label, size in zip(dims.labels, tensor.shape, strict=True)
    ]
    return torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)


def samples(
    tensors: Sequence[torch.Tensor], dims: Sequence[Dims]
) -> tuple[list[torch.Tensor], list[dict[int, Any]]]:
    """Tensors to trace with, and the free axes of each: those that have a label."""
    made = [trace_tensor(t, d) for t, d in zip(tensors, dims, strict=True)]
    free = [
        {i: Dim.AUTO for i, label in enumerate(each.labels) if label is not None} for each in dims
    ]
    return made, free
