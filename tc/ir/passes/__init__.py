"""The passes between a scheduled kernel and flat vector IR, each a function Func -> Func.

`kernel_passes` is their order, with the reason of each place. The code generators take what the
last one gives. The passes must not know any code generator.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

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

# Versions and unrolling come last: the passes before them work on one copy of each loop body, and
# unrolling keeps shared what the copies share.
_PASSES: Final[tuple[tuple[str, Pass], ...]] = (
    ("guard_loads", guard_loads),
    ("vectorize", vectorize),
    ("flatten", flatten),
    # A fused loop's m // n * n + m % n meets in the flat index, and only there.
    ("simplify_indices", simplify_indices),
    ("bound_scratch", bound_scratch),
    # What lies side by side in memory shows in simple flat indices; unrolling copies the result.
    ("dots", dots),
    ("expand_math", expand_math),
    ("versions", versions),
    ("unroll", unroll),
)


def kernel_passes(fused: bool = True) -> tuple[tuple[str, Pass], ...]:
    """Each pass with its name; `fused`: see `expand_updates`."""
    return (("expand_updates", partial(expand_updates, fused=fused)), *_PASSES)


def run_passes(func: Func, fused: bool = True) -> Func:
    """All of `kernel_passes` in their order."""
    for _, apply in kernel_passes(fused):
        func = apply(func)
    return func


__all__ = ["Pass", "kernel_passes", "place_scratch", "run_passes"]
