"""The default schedule of maps: the innermost axis in lanes, the outer ones between threads."""

from __future__ import annotations

from itertools import chain, islice

from tc.ir.expr import Binary, Unary, Var
from tc.ir.math.expand import EXPANDED
from tc.ir.tensor import Compute, Tensor
from tc.ir.tensor_walk import bodies, reads
from tc.ir.visit import sub_exprs
from tc.schedule.defaults.plan import Plan, fixed

CHUNK = 1024  # elements of a flat map that one iteration of the parallel loop does
LIGHT = 4  # vectors at once of short steps: two hardware threads share few branches
SHORT = 64  # nodes of an expression at most whose steps are short
STRIP = 64  # columns of a transposed matrix that one iteration of the parallel loop writes


def schedule_pointwise(plan: Plan, tensors: list[Tensor], outputs: tuple[Tensor, ...]) -> None:
    """Add the steps for tensors without any reduction."""
    out_names = {t.name for t in outputs}
    for t in tensors:
        if t.name not in out_names:
            plan.do("inline", plan.buffer_of(t))
    maps = [t for t in tensors if t.name in out_names and isinstance(t, Compute)]
    nests = [plan.loops_of(t, t.axes) for t in maps]
    if any(t.shape != outputs[0].shape for t in outputs):
        for nest in nests:
            if nest:
                plan.vectorize(nest[-1])
        return
    axes = nests[0]
    for other in nests[1:]:
        for first, second in zip(axes, other, strict=True):
            plan.do("merge", first, second)
    if not axes:
        return
    bits = max(outputs[-1].dtype.bits, 32)
    along = _read_along(maps)
    if along is not None and all(plan.has(a) for a in axes):
        _transpose(plan, axes, axes[along], bits)
    else:
        most = 1 if any(map(_is_heavy, tensors)) else LIGHT
        _one_nest(plan, axes, all(_is_flat(t) for t in tensors), bits, most)


def _is_flat(t: Tensor) -> bool:
    """Whether every operand is read at the very point that is computed."""
    return isinstance(t, Compute) and all(
        r.indices == t.axes and r.tensor.shape == t.shape for r in reads(t)
    )


def _is_heavy(t: Tensor) -> bool:
    """Whether an element takes a polynomial or more, which fills the pipelines by itself."""
    nodes = list(islice(chain.from_iterable(map(sub_exprs, bodies(t))), SHORT + 1))
    return len(nodes) > SHORT or any(
        isinstance(x, Unary | Binary) and x.op in EXPANDED for x in nodes
    )


def _read_along(maps: list[Compute]) -> int | None:
    """The number of the axis along which all operands lie in memory, where it is not the last."""
    found = set()
    for t in maps:
        for read in reads(t):
            last = read.indices[-1] if read.indices else None
            found.add(t.axes.index(last) if isinstance(last, Var) and last in t.axes else None)
    if len(found) != 1 or len({len(t.axes) for t in maps}) != 1:
        return None
    (axis,) = found
    return axis if axis is not None and axis != len(maps[0].axes) - 1 else None


def _transpose(plan: Plan, axes: list[str], along: str, bits: int) -> None:
    """A block of as many rows as lanes is read side by side: each cache line is used up at once.

    Row after row would come back to a line when a power of two of others have pushed it out.
    """
    outer, last = [a for a in axes[:-1] if a != along], axes[-1]
    if not outer and (fixed(plan.extent(last)) or STRIP) >= STRIP:
        plan.do("split", last, plan.pick("strip", STRIP, (16, 32, 64, 128, 256)), tail="ragged")
        plan.do("reorder", last + "0", along)
        outer, last = [last + "0"], last + "1"
    if outer and axes[-2] != along:
        plan.do("reorder", *outer, along)
    plan.divide(outer or [along])
    plan.vectorize(last, bits)
    if outer and plan.has(last):
        plan.do("reorder", last, along)


def _one_nest(plan: Plan, axes: list[str], flat: bool, bits: int, most: int) -> None:
    axes = [a for a in axes if plan.has(a)]
    lanes = plan.lanes(bits)
    if flat and len(axes) > 1:
        whole = plan.fuse_all(axes, "e")
        axes = [] if whole is None else [whole]
    while len(axes) > 1 and (fixed(plan.extent(axes[-1])) or lanes) < lanes:
        # A short last axis leaves lanes empty; together with its neighbour it fills them.
        plan.do("fuse", axes[-2], axes[-1], axes[-1] + "f")
        axes = [*axes[:-2], axes[-1] + "f"]
    if len(axes) == 1:
        chunk = plan.pick("chunk", CHUNK, (256, 512, 1024, 2048, 4096, 8192, 16384))
        plan.do("split", axes[0], chunk, tail="ragged")
        axes = [axes[0] + "0", axes[0] + "1"]
    plan.divide(axes[: plan.pick("divided", len(axes) - 1, range(1, len(axes)))])
    plan.vectorize_map(axes[-1], bits, most)
