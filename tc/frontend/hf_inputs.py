"""Tensors that a compiled model does not take, and what to do instead.

This module must not know what a model is compiled to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tc.errors import DeviceError, UnsupportedError, describe


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
