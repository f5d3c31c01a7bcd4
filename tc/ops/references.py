"""NumPy references in float64 that NumPy itself does not have in one call.

They say what an operator means in the plainest way; they are never on a fast path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Values: TypeAlias = Any  # NumPy arrays of any type, and numbers

erf = np.vectorize(math.erf, otypes=[np.float64])
erfc = np.vectorize(math.erfc, otypes=[np.float64])


def sign(x: Values) -> Values:
    """-1, 0 or 1; 0 for NaN as PyTorch has it."""
    if x.dtype == np.bool_:
        return x
    return ((x > 0).astype(np.int64) - (x < 0)).astype(x.dtype)


def sigmoid(x: Values) -> Values:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def mish(x: Values) -> Values:
    """x tanh(softplus(x))."""
    return x * np.tanh(np.log1p(np.exp(x)))


def log_sigmoid(x: Values) -> Values:
    """log(sigmoid(x))."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def gelu(x: Values, approximate: str = "none") -> Values:
    """x Φ(x), or its tanh approximation."""
    if approximate == "none":
        return 0.5 * x * (1 + erf(x / math.sqrt(2)))
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def trunc_div(a: Values, b: Values) -> Values:
    """a / b rounded towards zero."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind == "f" or b.dtype.kind == "f":
        return np.trunc(a / b)
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def logical(fn: Any) -> Any:  # a ufunc in, a function out
    """`fn` on what is not zero."""
    return lambda *xs: fn(*(np.asarray(x) != 0 for x in xs))


def softmax(x: Values, dim: int) -> Values:
    """exp(x) / Σ exp(x) along `dim`."""
    if x.size == 0 or x.ndim == 0:
        return np.ones_like(x)
    e = np.exp(x - x.max(dim, keepdims=True))
    return e / e.sum(dim, keepdims=True)


def log_softmax(x: Values, dim: int) -> Values:
    """log(softmax(x)) along `dim`."""
    if x.size == 0 or x.ndim == 0:
        return np.zeros_like(x)
    shifted = x - x.max(dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))


def normalised(x: Values, axes: Sequence[int], eps: float) -> Values:
    """(x - mean) / sqrt(var + eps) over `axes`."""
    mean = x.mean(tuple(axes), keepdims=True)
    var = x.var(tuple(axes), keepdims=True)
    return (x - mean) / np.sqrt(var + eps)
