"""Shapes of common operators' results while a model is traced, told rather than worked out.

PyTorch finds what a linear layer or a normalisation gives by taking it apart into a dozen
operators, with the rules of each for free sizes and strides; that was half the time of a trace.
Where the operands are contiguous the answer is known. Whatever is not plain goes PyTorch's way.
This module must not change what a graph computes, nor anything for threads that do not trace.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
from torch._decomp import decomposition_table
from torch._prims_common import is_contiguous_or_false
from torch._subclasses import fake_impls
from torch._subclasses.fake_tensor import FakeTensor, in_kernel_invocation_manager

Function = Callable[..., Any]
_ATEN: Final = torch.ops.aten
_COMPOSITE: Final = torch._C.DispatchKey.CompositeImplicitAutograd


def _contiguous(like: FakeTensor, shape: Sequence[Any]) -> FakeTensor:
    """An undefined tensor of the dtype and device of another."""
    with in_kernel_invocation_manager(like.fake_mode):
        storage = torch.empty(shape, dtype=like.dtype, device="meta")
    return FakeTensor(like.fake_mode, storage, like.device)


def _plain(*tensors: Any) -> bool:
    """Whether they are traced tensors of one dtype."""
    first = tensors[0]
    return all(type(each) is FakeTensor and each.dtype == first.dtype for each in tensors)


def _fits(tensor: Any, *sizes: Any) -> bool:
    """Whether these are a tensor's last sizes, known without a question to a free one."""
    own = tensor.shape[-len(sizes) :]
    return len(own) == len(sizes) and all(
        type(a) is int and type(b) is int and a == b for a, b in zip(own, sizes, strict=True)
    )


def _linear(theirs: Function, x: Any, weight: Any, bias: Any = None) -> Any:
    if _plain(x, weight) and x.dim() > 1 and weight.dim() == 2:
        rows, columns = weight.shape
        if _fits(x, columns) and (bias is None or (bias.dim() == 1 and _fits(bias, rows))):
            return _contiguous(x, (*x.shape[:-1], rows))
    return theirs(x, weight, bias)


def _layer_norm(theirs: Function, x: Any, normalized: Sequence[Any], *rest: Any) -> Any:
    scales = [each for each in rest[:2] if each is not None]
    known = _plain(x, *scales) and len(normalized) > 0 and is_contiguous_or_false(x)
    if known and all(_fits(each, *normalized) for each in (x, *scales)):
        return _contiguous(x, x.shape)
    return theirs(x, normalized, *rest)


def _dropout(theirs: Function, x: Any, p: float, train: bool) -> Any:
    return theirs(x, p, train) if train else x


def _addmm(theirs: Function, bias: Any, x: Any, weight: Any, **scales: Any) -> Any:
    if _plain(bias, x, weight) and bias.dim() == 1 and x.dim() == weight.dim() == 2:
        rows, columns = weight.shape
        if _fits(x, rows) and _fits(bias, columns):
            return _contiguous(x, (x.shape[0], columns))
    return theirs(bias, x, weight, **scales)


def _pointwise(theirs: Function, x: Any, *numbers: float, **options: Any) -> Any:
    real = all(isinstance(each, int | float) for each in numbers)
    if real and _plain(x) and x.dtype.is_floating_point and is_contiguous_or_false(x):
        return _contiguous(x, x.shape)
    return theirs(x, *numbers, **options)


def _view(theirs: Function, mode: Any, function: Any, x: Any, *shape: Any, **options: Any) -> Any:
    """A contiguous tensor has a view of any shape: no need to walk along both shapes."""
    if x.dim() and is_contiguous_or_false(x):
        return fake_impls._view_unbacked_meta(x, shape, **options)
    return theirs(mode, function, x, *shape, **options)


# Taken apart into other operators by PyTorch, before a traced tensor meets them.
_COMPOSITES: Final[tuple[tuple[Any, Function], ...]] = (
    (_ATEN.linear.default, _linear),
    (_ATEN.layer_norm.default, _layer_norm),
    (_ATEN.dropout.default, _dropout),
)
# Taken apart when a traced tensor meets them.
_DECOMPOSED: Final[tuple[tuple[Any, Function], ...]] = (
    (_ATEN.addmm.default, _addmm),
    *(
        (getattr(_ATEN, name).default, _pointwise)
        for name in ("gelu", "silu", "relu", "tanh", "sigmoid", "rsqrt", "exp", "neg", "sin", "cos")
    ),
    (_ATEN.pow.Tensor_Scalar, _pointwise),
)
_VIEWS: Final = (_ATEN.view.default, _ATEN._unsafe_view.default)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let this thread's traced tensors know their shapes; one thread at a time may ask for it."""
    with contextlib.ExitStack() as stack:
        for operator, ours in _COMPOSITES:
            stack.enter_context(_as_kernel(operator, ours))
        for operator, ours in _DECOMPOSED:
            stack.enter_context(_as_rule(operator, ours))
        for operator in _VIEWS:
            theirs = fake_impls.op_implementations_dict[operator]
            fake_impls.op_implementations_dict[operator] = _for_this_thread(_view, theirs)
            stack.callback(fake_impls.op_implementations_dict.__setitem__, operator, theirs)
        yield


@contextlib.contextmanager
def _as_kernel(operator: Any, ours: Function) -> Iterator[None]:
    """Let `ours` stand in for how PyTorch takes an operator apart."""
    kernels = operator.py_kernels
    usual = kernels.get(_COMPOSITE)

    def theirs(*args: Any, **kwargs: Any) -> Any:
        return operator._op_dk(_COMPOSITE, *args, **kwargs)

    kernels[_COMPOSITE] = _for_this_thread(ours, usual or theirs)
    operator._dispatch_cache.clear()
    try:
        yield
    finally:
        del kernels[_COMPOSITE]
        if usual is not None:
            kernels[_COMPOSITE] = usual
        operator._dispatch_cache.clear()


@contextlib.contextmanager
def _as_rule(operator: Any, ours: Function) -> Iterator[None]:
    """Let `ours` stand in for the rule of traced tensors for an operator."""
    decomposed = decomposition_table.get(operator)
    rules = fake_impls.get_fast_op_impls()
    if decomposed is None or operator in rules:
        yield
        return
    told = _for_this_thread(ours, decomposed)

    def rule(mode: Any, *args: Any, **kwargs: Any) -> Any:
        with mode:
            return told(*args, **kwargs)

    rules[operator] = rule
    try:
        yield
    finally:
        del rules[operator]


def _for_this_thread(ours: Function, theirs: Function) -> Function:
    thread = threading.get_ident()

    def function(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread:
            return ours(theirs, *args, **kwargs)
        return theirs(*args, **kwargs)

    return function
