"""Layers of torch.nn while a model is traced, where PyTorch looks at more than a trace can know.

The shapes of what an LSTM, a GRU or a plain recurrent layer gives are found by going through the
sequence step by step, which holds for one length alone: they are told directly, and so is that of
an image read at the places of a map, found by computing with hundreds of shapes. Whether the mask
of a transformer is a causal one is found by looking at its values: the mask is taken as any other,
for the same result. A `TransformerEncoder` that may leave padding out of its work gives zeros
there where all padding is at the end, which eager finds by looking too and leaves undone while it
is traced: the trace asks the mask. A module that its model converts to what it is stays as it is.
This module must not change anything for threads that do not trace.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import torch
from torch import nn
from torch._decomp import decompositions
from torch.nn.modules import transformer

from tc.frontend.capture_experts import experts_functions
from tc.frontend.capture_grids import OF_SIZES

_ONE_AT_A_TIME: Final = threading.RLock()
_ENCODER: Final = nn.TransformerEncoder.forward
_TO: Final = nn.Module.to
Function = Callable[..., Any]


def _recurrent(x: torch.Tensor, states: Any, *args: Any, **_kwargs: Any) -> Any:
    """What a stack of recurrent layers gives, with undefined values."""
    h = states[0] if isinstance(states[0], torch.Tensor) else states[0][0]
    bidirectional = args[5]
    features = h.shape[-1] * (2 if bidirectional else 1)
    return x.new_empty((*x.shape[:-1], features)), list(states)


def _sampled(x: torch.Tensor, grid: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
    """What an image read at the places of a map has for a shape, with undefined values."""
    return x.new_empty((*x.shape[:2], *grid.shape[1:3]))


def _is_causal(_mask: Any, is_causal: bool | None = None, _size: int | None = None) -> bool:
    """Whether the caller has said that the mask is a causal one."""
    return is_causal is True


def _cdist(
    x1: torch.Tensor, x2: torch.Tensor, p: float = 2.0, compute_mode: str | None = None
) -> torch.Tensor:
    """Distances of all rows; PyTorch chooses a way to compute them by how many there are."""
    del compute_mode
    apart = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    norm: torch.Tensor = torch.linalg.vector_norm(apart, p, -1)
    return norm


def _encoder(
    self: nn.TransformerEncoder,
    src: torch.Tensor,
    mask: torch.Tensor | None = None,
    src_key_padding_mask: torch.Tensor | None = None,
    is_causal: bool | None = None,
) -> torch.Tensor:
    """An encoder's forward; zeros at the padding where eager computes on nested tensors."""
    if mask is not None or src_key_padding_mask is None or not _nests(self, src):
        result: torch.Tensor = _ENCODER(self, src, mask, src_key_padding_mask, is_causal)
        return result
    padding = src_key_padding_mask
    if padding.is_floating_point():
        padding = padding != 0
    lengths = (~padding).sum(1, keepdim=True)
    beyond = torch.arange(src.shape[1], device=src.device) >= lengths
    if self.mask_check:
        zeros = padding & (beyond == padding).all()
    else:  # how many are kept is all that is read from the mask
        padding = zeros = beyond
    for layer in self.layers:
        src = layer(src, src_key_padding_mask=padding, is_causal=is_causal is True)
    src = src.masked_fill(zeros.unsqueeze(2), 0)
    return src if self.norm is None else self.norm(src)


def _nests(encoder: nn.TransformerEncoder, src: torch.Tensor) -> bool:
    """Whether eager makes a nested tensor of padded input where no gradient is asked for."""
    allowed = torch.backends.mha.get_fastpath_enabled() and not torch.is_autocast_enabled()
    return allowed and encoder.use_nested_tensor and src.dim() == 3


def _to(self: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
    """A conversion of a module; one that changes nothing needs no other tensors, which a trace
    cannot put in a module."""
    found: Any = torch._C._nn._parse_to(*args, **kwargs)  # each of which may be None
    device, dtype, _, layout = found
    stays = layout is None and all(
        (device is None or t.device == device)
        and (dtype is None or not t.is_floating_point() or t.dtype is dtype)
        for t in (*self.parameters(), *self.buffers())
    )
    return self if stays else _TO(self, *args, **kwargs)


# (where a function is, its name, what stands in for it)
_FUNCTIONS: Final[tuple[tuple[Any, str, Function], ...]] = (
    (decompositions, "_rnn_helper", _recurrent),
    (decompositions, "_grid_sampler_2d", _sampled),
    (transformer, "_detect_is_causal_mask", _is_causal),
    (nn.TransformerEncoder, "forward", _encoder),
    (nn.Module, "to", _to),
    (torch, "cdist", _cdist),
    *OF_SIZES,
)


@contextlib.contextmanager
def any_values() -> Iterator[None]:
    """Let this thread's layers hold for every length and every mask."""
    with _ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        for module, name, ours in (*_FUNCTIONS, *experts_functions()):
            theirs = getattr(module, name, None)
            if theirs is not None:
                setattr(module, name, _for_this_thread(ours, theirs))
                stack.callback(setattr, module, name, theirs)
        yield


def _for_this_thread(ours: Function, theirs: Function) -> Function:
    thread = threading.get_ident()

    def function(*args: Any, **kwargs: Any) -> Any:
        return (ours if threading.get_ident() == thread else theirs)(*args, **kwargs)

    return function
