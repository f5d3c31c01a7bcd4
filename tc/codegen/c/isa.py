"""Which table of vector instructions a target has.

This module must not write C.
"""

from __future__ import annotations

from tc.codegen.c.avx2 import avx2
from tc.codegen.c.avx512 import avx512
from tc.codegen.c.instructions import Isa
from tc.codegen.c.neon import neon
from tc.codegen.c.plain import plain
from tc.codegen.c.sse4 import sse4
from tc.target import Target


def isa_of(target: Target) -> Isa | None:
    """The table of `target`; None: C alone."""
    if target.arch == "aarch64":
        return neon(target)
    if target.has("avx512bw") and target.vector_bits >= 512:
        return avx512(target)
    if target.has("avx2") and target.has("fma"):
        return avx2(target)
    if target.has("sse4.1"):
        return sse4(target)
    return None if target.level == "generic-c99" else plain(target)
