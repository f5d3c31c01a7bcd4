"""The operators that tc computes itself, one row each; importing this fills the table."""

from __future__ import annotations

from tc.ops import activations, binary, casts, choice, unary
from tc.ops.table import Kind, Operator, Sample, by_aten, by_name, operators

__all__ = [
    "Kind", "Operator", "Sample", "by_aten", "by_name", "operators",
    "activations", "binary", "casts", "choice", "unary",
]  # fmt: skip
