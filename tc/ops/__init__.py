"""The operators that tc computes itself, one row each; importing this fills the table."""

from __future__ import annotations

from tc.ops import (  # noqa: F401  # imported for the rows that they enter
    activations,
    adaptive_pool,
    arrange,
    assertion,
    attention,
    binary,
    casts,
    channel_norms,
    choice,
    clamp,
    contraction,
    conv,
    conv_transpose,
    create,
    einsum,
    experts,
    gather,
    grid_sample,
    images,
    interpolate,
    joins,
    loops,
    loss,
    loss_elementwise,
    norms,
    order,
    padding,
    pool,
    put,
    quantize,
    reductions,
    reshape,
    scans,
    scatter,
    slices,
    softmax,
    sort,
    statistics,
    unary,
    views,
)
from tc.ops.table import Kind, Operator, Sample, by_aten, by_name, operators

__all__ = ["Kind", "Operator", "Sample", "by_aten", "by_name", "operators"]
