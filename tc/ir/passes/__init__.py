"""The passes between a scheduled kernel and flat vector IR, each a function Func -> Func.

`kernel_passes` is their order, with the reason of each place. The code generators take what the
last one gives. The passes must not know any code generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from tc.ir.loop import Func
from tc.ir.passes.bound_scratch import bound_scratch
from tc.ir.passes.dots import dots
from tc.ir.passes.expand_math import expand_math
from tc.ir.passes.expand_updates import expand_updates
from tc.ir.passes.flatten import flatten
from tc.ir.passes.guard_loads import guard_loads
from tc.ir.passes.place_scratch import place_scratch
from tc.ir.passes.simplify_indices import simplify_indices
from tc.ir.passes.unroll import unroll
from tc.ir.passes.vectorize import vectorize
from tc.ir.passes.versions import versions

Pass: TypeAlias = Callable[[Func], Func]


def kernel_passes(fused: bool = True) -> tuple[tuple[str, Pass], ...]:
    """Each pass with its name.

    Args:
        fused: an instruction multiplies and adds with a single rounding; without it a function
            would do so, which takes twenty times as long.
    """
    # Versions and unrolling come last: the passes before them work on one copy of each loop body,
    # and unrolling keeps shared what the copies share.
    return (
        ("expand_updates", partial(expand_updates, fused=fused)),
        ("guard_loads", guard_loads),
        ("vectorize", vectorize),
        ("flatten", flatten),
        # A fused loop's m // n * n + m % n meets in the flat index, and only there.
        ("simplify_indices", simplify_indices),
        ("bound_scratch", bound_scratch),
        # What lies side by side in memory shows in simple flat indices; unrolling copies the
        # result.
        ("dots", dots),
        ("expand_math", partial(expand_math, fused=fused)),
        ("versions", versions),
        ("unroll", unroll),
    )


def run_passes(func: Func, fused: bool = True) -> Func:
    """All of `kernel_passes` in their order."""
    for _, apply in kernel_passes(fused):
        func = apply(func)
    return func


__all__ = ["Pass", "kernel_passes", "place_scratch", "run_passes"]
