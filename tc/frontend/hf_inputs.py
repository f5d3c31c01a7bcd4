"""Tensors that a compiled model or a program of it does not take, and what to do instead.

This module must not know what a model is compiled to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tc.errors import DeviceError, UnsupportedError, describe
from tc.frontend.capture_tree import NoProgramError
from tc.frontend.captured import AutocastError


def refuse_grad(tensors: Sequence[torch.Tensor], model: torch.nn.Module) -> None:
    for tensor in tensors:
        if tensor.requires_grad:
            raise UnsupportedError(
                describe(
                    f"call of {type(model).__name__}",
                    why="an input requires grad, and a compiled model only infers",
                    way_out="detach it or call under torch.no_grad(), or use "
                    "torch.compile(model, backend='tc') for gradients",
                )
            )


def refuse_autocast(model: torch.nn.Module) -> None:
    """Raises AutocastError where PyTorch would compute in other types than a program does."""
    if torch.is_autocast_enabled("cpu"):
        raise AutocastError(
            describe(
                f"call of {type(model).__name__}",
                why="torch.autocast is on, and a program has types of its own",
                way_out="call it outside, compiled with precision='bf16' for products in bf16",
            )
        )


def refuse_device(tensors: Sequence[torch.Tensor], model: torch.nn.Module) -> None:
    first = next(iter(model.parameters()), None)
    for tensor in tensors:
        if tensor.layout is not torch.strided or tensor.is_quantized:
            raise UnsupportedError(
                describe(
                    f"call of {type(model).__name__}",
                    why=f"an input is {tensor.layout} of {tensor.dtype}, not dense",
                    way_out="pass it with .to_dense(), or .dequantize()",
                )
            )
        if first is not None and tensor.device != first.device:
            raise DeviceError(
                describe(
                    f"call of {type(model).__name__}",
                    why=f"an input is on {tensor.device}, the model on {first.device}",
                    way_out=f"move it with .to('{first.device}')",
                )
            )


def refuse_shared(
    tensors: Sequence[torch.Tensor], written: Sequence[int], names: Sequence[str]
) -> None:
    """Refuse a write to what another input reads: eager sees it there, a program need not.

    Raises:
        NoProgramError: two of the inputs share elements, and one of them is written to.
    """
    for number in written:
        for other, tensor in enumerate(tensors):
            if other != number and _share(tensors[number], tensor):
                raise NoProgramError(
                    describe(
                        f"input {names[number]}",
                        why=f"is written to, and shares memory with input {names[other]}",
                        way_out="pass a copy of one of them",
                    )
                )


def _share(a: torch.Tensor, b: torch.Tensor) -> bool:
    (start, end), (first, last) = _span(a), _span(b)
    if end <= first or last <= start:
        return False
    if (a.is_contiguous() and b.is_contiguous()) or a.element_size() != b.element_size():
        return True
    size, low = a.element_size(), min(start, first)
    touched = torch.zeros((max(end, last) - low) // size, dtype=torch.bool)
    touched.as_strided(a.shape, a.stride(), (start - low) // size).fill_(True)
    return bool(touched.as_strided(b.shape, b.stride(), (first - low) // size).any())


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """The addresses from and to which its elements lie; none for an empty one."""
    start = tensor.data_ptr()
    if not tensor.numel():
        return start, start
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return start, start + (1 + sum((n - 1) * s for n, s in steps)) * tensor.element_size()
